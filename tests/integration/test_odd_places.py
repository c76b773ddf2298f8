"""Every command reads a lake of an odd name where the consumer wrote it, and says why it has none.

The archive and a replayed table are looked for by plain means as well.
"""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core import paths
from core.errors import ConfigError, FatalError
from pinpip.pipelines import tables_of
from sinks.delta.scan import TableReader
from sinks.delta.table import find
from tests.support.archives import change_pipeline
from tests.support.aws import TestAws
from tests.support.brokers import Broker
from tests.support.commands import change, invoke
from tests.support.consuming import consumed
from tests.support.processes import Home, environment, kafka_home, payloads

ODD = "a b#c?[x] *{y}'100% ü"
AGAIN = "again #1 [x]"
RECORDS = [*payloads(8, since=1), b"no json", b"nor this"]
WHOLE = (8, 2)
in_folder = pytest.mark.parametrize("home", ["folder"], indirect=True)
REPLAY = ["replay", "user", "--into", "x"]


@pytest.fixture(scope="module", params=["folder", "bucket"])
def home(
    request: pytest.FixtureRequest, broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> Home:
    """Consume ten records of one partition into a lake and an archive of odd names."""
    topic = broker.create_topic(1)
    broker.produce(topic, RECORDS)
    folder = tmp_path_factory.mktemp("odd") / ODD
    made = kafka_home(folder, broker, topic)
    root = str(folder)
    if request.param == "bucket":
        aws: TestAws = request.getfixturevalue("aws")
        root = f"s3://{aws.bucket()}/{ODD}"
        keys = {"access_key_id": "local", "secret_access_key": "local"}
        change(made, "aws", {"endpoint_url": aws.endpoint, **keys})
        change(made, "lake/root", f"{root}/lake")
    change_pipeline(made, sinks=[{"delta": "user"}, {"parquet": f"{root}/archive"}])
    return consumed(made, lambda: _rows(made) == sum(WHOLE))


def _rows(home: Home) -> int:
    """Return the rows of both tables, by their logs; none before they are there."""
    tables = tables_of(home.config, "user")
    found = [find(uri, tables.options) for uri in (tables.clean, tables.quarantine)]
    return sum(TableReader(table, tables.options).count() for table in found if table)


def _told(home: Home, *arguments: str) -> dict[str, Any]:
    """Return the one thing that a command tells as JSON."""
    done = invoke(home, *arguments, "--json")
    assert done.exit_code == 0, done.output
    [tree] = json.loads(done.stdout.strip().splitlines()[-1])
    return dict(tree)


def _objects(home: Home, request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield all that is in the lake's folder or bucket, by names below the odd one."""
    root = home.config.lake.root
    parted = paths.bucket(root)
    if parted is None:
        folder = Path(root).parent
        yield from (str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
        return
    client = request.getfixturevalue("aws").client("s3")
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=parted[0]):
        yield from (o["Key"].removeprefix(f"{ODD}/") for o in page["Contents"])


def test_every_way_to_verify_finds_all_that_was_written(home: Home) -> None:
    for arguments in ([], ["--offline"], ["--reread"], ["--sample", "2"]):
        verdict = _told(home, "verify", "--grace", "0", *arguments)
        assert (verdict["findings"], verdict["unknown"]) == ([], [])
        assert (verdict["clean"], verdict["quarantined"]) == WHOLE
        assert [chain["records"] for chain in verdict["archives"]] == [10]


def test_the_rejects_the_commits_and_a_record_are_found(home: Home) -> None:
    rejects = json.loads(
        invoke(home, "quarantine", "list", "user", "--newest", "9", "--json").stdout
    )
    assert sorted(row["value"] for row in rejects) == ["no json", "nor this"]
    commits = json.loads(invoke(home, "inspect", "--json").stdout)
    assert sum(c["read"] for c in commits if c["table"].endswith("user")) == 10
    found = json.loads(invoke(home, "inspect", "user", "--offset", "0:3", "--json").stdout)
    assert found["outcome"] == "clean"
    assert len(found["archived_in"]) == 1


def test_all_objects_are_below_the_places_that_were_named(
    home: Home, request: pytest.FixtureRequest
) -> None:
    first = _told(home, "replay", "user", "--into", AGAIN)
    assert (first["clean"], first["quarantined"], first["why"]) == (*WHOLE, "")
    [topic] = home.config.pipeline("user").reads
    own = {f"lake/{name}" for name in ("user", "user_quarantine", AGAIN, f"{AGAIN}_quarantine")}
    tops = {"/".join(key.split("/")[:2]) for key in _objects(home, request)}
    config = {"config.yaml"} if paths.bucket(home.config.lake.root) is None else set()
    assert tops == own | {f"archive/{topic}", "archive/.pinpip-probe"} | config


@in_folder
def test_a_replay_of_nothing_says_why(home: Home) -> None:
    def why(*arguments: str) -> str:
        row = _told(home, "replay", "user", "--into", f"none{arguments[-1][:4]}", *arguments)
        assert (row["clean"], row["quarantined"]) == (0, 0)
        return str(row["why"])

    assert why("--from-offset", "900") == "the range begins at offset 900, the source ends at 10"
    assert why("--from-offset", "3", "--until-offset", "3") == "the range from 3 until 3 is empty"
    assert "which is in the future" in why("--from-time", "2999-01-01")
    assert why("--until-time", "1999-01-01") == "the source has no record in the range"
    _told(home, "replay", "user", "--into", "done", "--until-offset", "5")
    again = invoke(home, "replay", "user", "--into", "done", "--until-offset", "5")
    assert again.stdout.splitlines()[-1].startswith(
        "0 rows: nothing was left to do: an earlier run"
    )


@in_folder
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([*REPLAY, "--from-offset", "9", "--until-offset", "3"], "is after --until-offset"),
        ([*REPLAY, "--from-offset", "-1"], "from-offset"),
        (["inspect", "--since", "2026-02-01", "--until", "2026-01-01"], "--since is after --until"),
        (["inspect", "user", "--offset", "user:x"], "is no PARTITION:OFFSET"),
    ],
)
def test_a_range_that_is_none_is_a_usage_error(home: Home, arguments: list[str], said: str) -> None:
    done = invoke(home, *arguments)
    assert done.exit_code == 2
    assert said in " ".join(done.output.replace("│", " ").split())


@in_folder
def test_a_partition_that_the_table_has_not_read_is_named(home: Home) -> None:
    for offset in ("9:1", "another/0:1"):
        done = invoke(home, "inspect", "user", "--offset", offset)
        assert isinstance(done.exception, FatalError)
        assert "has read nothing of" in done.exception.message
        assert done.exception.message.endswith("/0")
    assert (
        "no commit of user in that time" in invoke(home, "inspect", "--since", "2999-01-01").stdout
    )


@in_folder
@pytest.mark.parametrize(
    "into",
    [
        "../../etc",
        "a/../../b",
        "/etc/x",
        "s3://other/x",
        ".",
        "",
        "./user",
        "user/",
        "user_quarantine",
    ],
)
def test_a_replay_stays_below_the_root_and_beside_live_tables(home: Home, into: str) -> None:
    done = invoke(home, "replay", "user", "--into", into)
    assert isinstance(done.exception, ConfigError)
    assert "live table" in done.exception.message or "not a table below" in done.exception.message


def _standard_error(home: Home, *arguments: str) -> str:
    """Return what a command shows on a terminal beside its output."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "pinpip", "-c", str(home.config_path), *arguments]
    env = environment() | {"TERM": "xterm"}
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=theirs, env=env, check=True)
    os.close(theirs)
    found = b""
    try:
        while some := os.read(ours, 65536):
            found += some
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(ours)
    return found.decode()


@in_folder
def test_long_work_shows_a_bar_on_a_terminal_and_no_program_sees_it(home: Home) -> None:
    assert "━" in _standard_error(home, "verify", "--offline")
    assert home.run("verify", "--offline").stderr == ""
