"""The lake is there and the stack is not: a command needs only what it uses."""

import json
from pathlib import Path

import pytest
from typer.testing import Result

from tests.support.brokers import Broker
from tests.support.commands import change, invoke
from tests.support.consuming import consumed
from tests.support.processes import Home, kafka_home, payloads

RECORDS = 60
BAD = 2  # every fiftieth payload is not JSON


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, mock_broker: Broker) -> Home:
    """Consume a topic into a folder lake, then name an embedded stack that does not run."""
    topic = mock_broker.create_topic()
    mock_broker.produce(topic, payloads(RECORDS))
    home = kafka_home(tmp_path_factory.mktemp("lake"), mock_broker, topic)
    consumed(home, lambda: home.rows() == RECORDS)
    change(home, "kafka/bootstrap.servers", "local")
    change(home, "aws", {"endpoint_url": "local"})
    archive = {"parquet": "s3://archive/x", "stage": "raw"}
    change(home, "pipelines/user/sinks", [{"delta": "user"}, archive])
    return home


def answer(home: Home, *arguments: str, code: int = 0) -> list[dict[str, object]]:
    done = invoke(home, *arguments, "--json")
    assert done.exit_code == code, (done.output, done.exception)
    return list(json.loads(done.stdout))


def test_the_quarantine_is_in_the_lake(home: Home) -> None:
    counts = [row["rows"] for row in answer(home, "quarantine", "list", "user")]
    assert sum(counts) == BAD  # type: ignore[arg-type]


def test_status_calls_the_ends_unknown_and_shows_the_tables(home: Home) -> None:
    [tree] = answer(home, "status")
    assert (tree["clean"], tree["quarantined"], tree["lag"]) == (RECORDS - BAD, BAD, None)
    positions = [row["position"] for row in tree["partitions"]]  # type: ignore[attr-defined]
    assert sum(map(int, positions)) == RECORDS
    [reason] = tree["unknown"].values()  # type: ignore[attr-defined]
    assert "the embedded stack is not running" in reason
    said = invoke(home, "status")
    assert said.exit_code == 0
    assert "unknown" in said.stdout.partition("\nunknown: ")[0]


@pytest.mark.parametrize("options", [["--offline"], []])
def test_verify_proves_the_tables_and_calls_the_rest_unknown(
    home: Home, options: list[str]
) -> None:
    [tree] = answer(home, "verify", *options, code=4)
    assert (tree["clean"], tree["quarantined"], tree["findings"]) == (RECORDS - BAD, BAD, [])
    unknown = {row["where"] for row in tree["unknown"]}  # type: ignore[attr-defined]
    topics = set() if options else {home.config.pipeline("user").reads[0]}
    assert unknown >= {"s3://archive/x", *topics}


def test_inspect_finds_a_record_in_the_tables(home: Home) -> None:
    assert answer(home, "inspect")
    topic = home.config.pipeline("user").reads[0]
    [tree] = [json.loads(invoke(home, "inspect", "--offset", f"{topic}/0:0", "--json").stdout)]
    assert tree["outcome"] in {"clean", "quarantined"}
    assert "s3://archive/x" in tree["unknown"][0]


@pytest.mark.parametrize(
    "command",
    [
        ["consume"],
        ["consume", "user", "--accept-gap"],
        ["replay", "user", "--into", "again"],
        ["verify", "--reread"],
        ["produce", "--direct", "--route", "kafka"],
        ["gateway"],
    ],
)
def test_a_command_that_uses_the_stack_says_that_it_does_not_run(
    home: Home, command: list[str]
) -> None:
    done: Result = invoke(home, *command)
    assert done.exit_code == 1
    assert "the embedded stack is not running" in str(done.exception) + done.stderr


def test_a_stream_is_consumed_without_the_section_kafka(home: Home, tmp_path: Path) -> None:
    other = Home(tmp_path)
    other.config_path.write_text(home.config_path.read_text(encoding="utf-8"), encoding="utf-8")
    change(other, "pipelines/user/source", {"stream": "a"})
    change(other, "kafka", None)
    done = invoke(other, "consume")
    assert "aws is `local`" in str(done.exception) + done.stderr
