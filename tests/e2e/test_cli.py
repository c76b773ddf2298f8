"""The command line: help, exit codes, and what its answers look like."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.request import urlopen
from uuid import uuid4

import polars as pl
import pytest
import yaml
from deltalake import DeltaTable
from typer import Typer

from pinpip.cli import app
from pinpip.cli.tables import show
from pinpip.local.java import free_port
from producers import emulator
from tests.support.aws import TestAws
from tests.support.brokers import Broker
from tests.support.commands import change, invoke, the_error, tree_of
from tests.support.database import fill
from tests.support.processes import Home, count, environment, kinesis_home, stop, until

EVENTS = 60
HEAVY = ["polars", "deltalake", "boto3", "confluent_kafka", "pyarrow", "requests"]
RECORDS = ("pin", "geo", "user")


def commands(app: Typer, name: str = "pinpip") -> Iterator[tuple[str, str]]:
    """Every command by the words that call it, and its docstring."""
    for command in app.registered_commands:
        assert command.callback is not None
        word = command.name or command.callback.__name__
        yield f"{name} {word}", str(command.callback.__doc__)
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from commands(group.typer_instance, f"{name} {group.name}")


@dataclass(frozen=True)
class Shop(Home):
    """Three Kafka pipelines that have consumed all there was."""

    metrics: str = ""


def configuration(broker: Broker, folder: Path) -> dict[str, Any]:
    """Pipelines over topics that nobody else uses."""
    pipelines = {
        record: {
            "source": {"topics": [f"{{id}}.{record}"]},
            "schema": f"transforms.{record}:SCHEMA",
            "transform": f"transforms.{record}:clean",
            "sinks": [{"delta": record}],
        }
        for record in RECORDS
    }
    return {
        "id": f"c{uuid4().hex[:8]}",
        "kafka": {"bootstrap.servers": broker.bootstrap, "session.timeout.ms": 6000},
        "lake": {"root": str(folder / "lake")},
        "batching": {"max_wait": 0.1},
        "pipelines": pipelines,
    }


@pytest.fixture
def empty(tmp_path: Path, mock_broker: Broker) -> Home:
    """Pipelines before their first record."""
    home = Home(tmp_path)
    tree = configuration(mock_broker, tmp_path)
    home.config_path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return home


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, mock_broker: Broker) -> Shop:
    """Emulated events, some bad, sent straight to Kafka and consumed by one process."""
    folder = tmp_path_factory.mktemp("shop")
    tree = configuration(mock_broker, folder)
    (folder / "config.yaml").write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    home, port = Home(folder), free_port()
    sent = home.run(*PRODUCE, "--count", str(EVENTS), "--bad", "0.1", "--json")
    assert sent.returncode == 0, sent.stderr
    stored = {row["target"].split(".")[1]: row["stored"] for row in json.loads(sent.stdout)}
    assert min(stored.values()) >= EVENTS
    with home.running("consume", *RECORDS, "--metrics-port", str(port)) as consumer:
        until(lambda: all(held(home, name) == n for name, n in stored.items()), "the rows")
        until(lambda: counted(port) == sum(stored.values()), "the rows in the metrics")
        metrics = scraped(port)
        assert stop(consumer) == 0
    return Shop(folder, metrics)


PRODUCE = ["produce", "--direct", "--route", "kafka"]


def scraped(port: int) -> str:
    """Return the metrics as Prometheus would read them."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        return str(answer.read().decode())


def counted(port: int) -> float:
    """Sum the records of all pipelines and outcomes in the metrics."""
    lines = re.findall(r"^pinpip_records_total\{.*\} (.+)$", scraped(port), re.MULTILINE)
    return sum(map(float, lines))


def held(home: Home, name: str) -> int:
    """Rows of a table and its quarantine."""
    return count(home.uri(name)) + count(home.uri(f"{name}_quarantine"))


def answer(home: Home, *arguments: str) -> Any:
    """Return the JSON that a command prints."""
    done = home.run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# --- Help and usage


def test_the_help_of_every_command_has_an_example_that_calls_it() -> None:
    found = dict(commands(app))
    assert len(found) == 24
    for name, text in found.items():
        assert f"Example: {name}" in text, name


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom pinpip.cli import app\n"
        "app(['consume', '--help'], standalone_mode=False)\n"
        f"sys.exit(','.join(m for m in {HEAVY} if m in sys.modules) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Example: pinpip consume pin geo" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["produce", "--count", "3", "--forever"],
        ["produce", "--from", "a.csv", "--from-database", "sqlite:///a.db"],
        ["produce", "--rate", "0"],
        ["produce", "--pipeline", "pin"],
        ["report", "10"],
        ["report", "--out", "answers"],
        ["report", "--format", "csv"],
        ["table", "pin", "--out", "pins.xls"],
        ["table", "pin", "--out", "s3://bucket/pins.csv"],
        ["consume", "--unknown"],
        ["unknown"],
    ],
)
def test_wrong_usage_exits_with_2(empty: Home, arguments: list[str]) -> None:
    done = empty.run(*arguments)
    assert done.returncode == 2
    assert "Usage:" in done.stderr


def test_the_version_is_shown_without_a_configuration(tmp_path: Path) -> None:
    assert re.fullmatch(r"pinpip \d+\.\d+\.\d+\n", Home(tmp_path).run("--version").stdout)


# --- The configuration


def test_config_check_says_what_would_run(shop: Shop) -> None:
    said = shop.run("config", "check").stdout
    assert f"{shop.config.id}.geo" in said
    assert "transforms.geo:clean" in said


def test_secrets_are_never_shown(tmp_path: Path, aws: TestAws) -> None:
    home = kinesis_home(tmp_path, aws, "any")
    keys = {"access_key_id": "hush-1", "secret_access_key": "hush-2"}
    change(home, "aws", {"endpoint_url": "http://127.0.0.1:1", **keys})
    change(home, "kafka/sasl.password", "hush-3")
    change(home, "producer", {"api_key": "hush-5"})
    for arguments in (["config", "check", "--json"], ["--debug", "consume"]):
        done = home.run(*arguments)
        assert done.stdout + done.stderr
        assert "hush" not in done.stdout + done.stderr


def test_debug_shows_the_traceback(empty: Home) -> None:
    done = empty.run("--debug", "consume", "pni")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "no pipeline is called 'pni'" in done.stderr


# --- Consumed


def test_one_process_consumes_several_pipelines_and_says_how_much(shop: Shop) -> None:
    log = (shop.folder / "process.log").read_text(encoding="utf-8")
    for name in RECORDS:
        clean, bad = count(shop.uri(name)), count(shop.uri(f"{name}_quarantine"))
        assert f"{name}: {clean:,} clean, {bad:,} quarantined" in log


def test_a_consumer_serves_its_metrics(shop: Shop) -> None:
    for name in RECORDS:
        clean = count(shop.uri(name))
        line = f'pinpip_records_total{{outcome="clean",pipeline="{name}"}} {clean:.1f}'
        assert line in shop.metrics


def test_verify_proves_that_each_record_is_there_once(shop: Shop) -> None:
    trees = answer(shop, "verify", "--grace", "0")
    assert [tree["pipeline"] for tree in trees] == list(RECORDS)
    for tree in trees:
        counts = {"read", "clean", "quarantined", "filtered", "expired", "held_back", "waiting"}
        said = {"pipeline", "transform", "partitions", "findings", "unknown", "offline"}
        counts |= {"accepted_gaps", "left_out", "former_where", "unarchived", "flushed"}
        assert tree.keys() == counts | said | {
            "by_partition",
            "archives",
            "reread",
            "tables",
            "latest",
        }
        assert tree["read"] == tree["clean"] + tree["quarantined"]
        assert [tree[key] for key in ("filtered", "expired", "held_back", "waiting")] == [0] * 4
        assert (tree["findings"], tree["unknown"], tree["offline"]) == ([], [], False)
    assert "none missing, none twice" in shop.run("verify").stdout


def test_verify_names_a_lost_row_and_exits_with_3(shop: Shop, tmp_path: Path) -> None:
    damaged = Home(tmp_path)
    damaged.config_path.write_text(yaml.safe_dump(tree_of(shop)), encoding="utf-8")
    change(damaged, "lake", {"root": str(tmp_path / "lake")})
    shutil.copytree(shop.uri("pin"), damaged.uri("pin"))
    shutil.copytree(shop.uri("pin_quarantine"), damaged.uri("pin_quarantine"))
    row = pl.read_delta(damaged.uri("pin")).row(0, named=True)
    where = f"_partition = {row['_partition']} AND _offset = {row['_offset']}"
    assert DeltaTable(damaged.uri("pin")).delete(where)["num_deleted_rows"] == 1
    done = damaged.run("verify", "pin")
    assert done.returncode == 3
    assert "missing" in done.stdout
    assert f"{row['_topic']}/{row['_partition']}" in done.stdout
    assert "1 differences found" in done.stdout


def mergeable(shop: Shop) -> int:
    """Return how many files `pinpip maintain` would merge."""
    return sum(one["merged"] for one in answer(shop, "maintain", "pin", "--dry-run"))


def test_status_of_a_consumed_topic_has_no_lag(shop: Shop) -> None:
    [tree] = answer(shop, "status", "pin")
    partitions = tree.pop("partitions")
    assert tree == {
        "pipeline": "pin",
        "table": shop.uri("pin"),
        "clean": count(shop.uri("pin")),
        "quarantined": count(shop.uri("pin_quarantine")),
        "left_out": 0,
        "unclaimed": 0,
        "lag": 0,
        "unknown": {},
        "small_files": mergeable(shop),
    }
    assert [p["partition"] for p in partitions] == [f"{shop.config.id}.pin/{n}" for n in range(4)]
    assert all(p["position"] == p["end"] for p in partitions if p["position"] is not None)
    assert sum(int(p["end"]) for p in partitions) == tree["clean"] + tree["quarantined"]


def test_status_shows_what_waits_to_be_consumed(empty: Home) -> None:
    assert empty.run(*PRODUCE, "--count", "7").returncode == 0
    trees = answer(empty, "status")
    assert [(t["pipeline"], t["clean"], t["lag"]) for t in trees] == [
        (record, 0, 7) for record in RECORDS
    ]


def test_status_of_a_stream_lists_its_shards(tmp_path: Path, aws: TestAws) -> None:
    stream = aws.stream(2)
    [tree] = answer(kinesis_home(tmp_path, aws, stream), "status")
    assert tree["lag"] is None
    assert tree["partitions"] == [
        {"partition": f"{stream}/shardId-{n:012d}"}
        | dict.fromkeys(["position", "end", "lag", "gone", "held_back"])
        | {"expired": 0, "accepted_gaps": 0, "left_out": 0, "unclaimed": 0, "recreated": False}
        for n in range(2)
    ]


def test_the_quarantine_is_listed_with_reasons_and_coordinates(shop: Shop) -> None:
    rows = answer(shop, "quarantine", "list", "pin", "--newest", "3")
    assert len(rows) == min(3, count(shop.uri("pin_quarantine")))
    keys = ["_timestamp", "_topic", "_partition", "_offset", "reason", "detail", "value"]
    assert rows
    assert all(list(row) == keys for row in rows)
    assert all(row["reason"] for row in rows)
    reasons = answer(shop, "quarantine", "list", "pin")
    assert sum(row["rows"] for row in reasons) == count(shop.uri("pin_quarantine"))


def test_the_report_answers_the_questions_asked(shop: Shop) -> None:
    found = answer(shop, "report", "2", "6")
    assert {tree["number"] for tree in found} == {2, 6}
    keys = {"number", "label", "title", "definitions", "rows"}
    assert all(tree.keys() == keys for tree in found)
    said = shop.run("report", "6").stdout
    assert re.search(r"\b20[12]\d\b", said)
    assert not re.search(r"\b2,0[12]\d\b", said)


def test_the_current_view_has_each_key_once(shop: Shop) -> None:
    done = invoke(shop, "table", "pin", "--latest", "--format", "json")
    assert done.exit_code == 0, done.output
    keys = [row["ind"] for row in json.loads(done.stdout)]
    assert sorted(keys) == sorted(set(pl.read_delta(shop.uri("pin"))["ind"]))


def test_the_rows_of_a_table_become_a_file_which_is_replaced(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "geo.parquet"
    for said in (f"rows in {path}\n", f"rows in {path}, replaced\n"):
        assert said in invoke(shop, "table", "geo", "--out", str(path)).stdout
    columns = pl.read_delta(shop.uri("geo")).columns
    assert pl.read_parquet(path).columns == columns
    assert len(pl.read_parquet(path)) == count(shop.uri("geo"))


def test_the_answers_become_a_file_for_each_query(shop: Shop, tmp_path: Path) -> None:
    folder = tmp_path / "answers"
    done = invoke(shop, "report", "--format", "csv", "--out", str(folder))
    assert "12 files in" in done.stdout
    coverage = pl.read_csv(folder / "q0_coverage.csv").row(0)
    said = invoke(shop, "report", "1").stdout
    assert said.startswith(f"{coverage[0]:,} pins, {coverage[1]:,} with a geo")
    assert "A post counts once" in said


def test_a_report_says_how_many_rows_it_does_not_show(shop: Shop) -> None:
    rows = len(json.loads(invoke(shop, "report", "1", "--json").stdout)[0]["rows"])
    few = invoke(shop, "report", "1", "--limit", "1").stdout
    assert f"(first 1 of {rows}; --limit 0 shows all)" in few
    every = invoke(shop, "report", "1", "--limit", "0").stdout
    assert "first" not in every
    assert every.count("\n") == few.count("\n") + rows - 1


def test_numbers_that_count_are_grouped_and_numbers_that_name_are_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    row = {"post_year": 2018, "ind": 12345, "_offset": 54321, "clean": 98765}
    show("Numbers", [row], as_json=False)
    said = capsys.readouterr().out
    for text in ("2018", "12345", "54321", "98,765"):
        assert text in said


# --- Records from files and databases


def test_rows_of_a_file_are_sent(empty: Home) -> None:
    rows = [event.rows["pin"] for event in islice(emulator.events(1), 5)]
    path = empty.folder / "rows.ndjson"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    [row] = answer(empty, *PRODUCE, "--from", str(path))
    assert row == {
        "target": f"{empty.config.id}.pin",
        "stored": 5,
        "rejected": 0,
        "unknown": 0,
        "bad": 0,
    }


def test_rows_of_a_database_are_sent(empty: Home) -> None:
    fill(empty.folder / "pins.db", 5)
    url = f"sqlite:///{empty.folder / 'pins.db'}"
    rows = answer(empty, *PRODUCE, "--from-database", url, "--count", "9")
    assert [row["stored"] for row in rows] == [9, 9, 9]


def test_a_file_that_is_not_there_is_named(empty: Home) -> None:
    assert "absent.ndjson" in the_error(empty.run("produce", "--from", "absent.ndjson"))
