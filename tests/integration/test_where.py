"""Three pipelines of one topic or stream, told apart by key, header or partition key."""

import json
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl
import pytest
from structlog.testing import capture_logs

from audit.verify import verify
from consumers.kinesis.kpl import UserRecord
from pinpip.pipelines import tables_of
from pinpip.verify.examine import examine
from pinpip.verify.verdict import RereadPlan
from producers import emulator
from producers.delivery import compact
from tests.support.aggregates import aggregate
from tests.support.aws import TestAws
from tests.support.brokers import Broker
from tests.support.commands import change, invoke
from tests.support.consuming import consuming
from tests.support.processes import Home, kafka_home, kinesis_home, payloads, until

TYPES = ("pin", "geo", "user")
EVENTS = 40
NOBODYS = 6
TOTAL = EVENTS * len(TYPES) + NOBODYS
SHARDS = 2
ROWS = [event.rows for event in islice(emulator.events(7), EVENTS)]
VALUES = {name: [compact(rows[name]).encode() for rows in ROWS] for name in TYPES}
OTHERS = [b'{"ind": 1, "index": 1, "title": "of no type"}'] * NOBODYS


def three(home: Home, tests: dict[str, Any], source: dict[str, Any]) -> Home:
    """Give the home a pipeline for each type, all of one source."""
    for name in TYPES:
        pipeline = {
            "source": source | {"where": tests[name]},
            "schema": f"transforms.{name}:SCHEMA",
            "transform": f"transforms.{name}:clean",
            "sinks": [{"delta": name}, {"parquet": str(home.folder / "archive" / name)}],
        }
        change(home, f"pipelines/{name}", pipeline)
    return home


def topic_of(broker: Broker, folder: Path) -> Home:
    """Make a topic with records of all types, some of no type and some without a key."""
    topic = broker.create_topic(SHARDS)
    typed = {name: [("type", b"x"), ("type", name.encode())] for name in TYPES}
    for first in (0, EVENTS // 2):
        for name in TYPES:
            values = VALUES[name][first : first + EVENTS // 2]
            broker.produce(topic, values, key=name, headers=typed[name])
    broker.produce(topic, OTHERS[:3], key="other")
    broker.produce(topic, OTHERS[3:])
    tests = {
        "pin": {"key": "pin"},
        "geo": {"header": {"type": ["geo", "geography"]}},
        "user": {"key": {"prefix": "us"}},
    }
    return three(kafka_home(folder, broker, topic), tests, {"topics": [topic]})


def stream_of(aws: TestAws, folder: Path) -> Home:
    """Make a stream with the records of all types, half of them packed by the KPL."""
    client, stream = aws.client("kinesis"), f"s{uuid4().hex[:8]}"
    client.create_stream(StreamName=stream, ShardCount=SHARDS)
    half = EVENTS // 2
    plain = [(name, value) for name in TYPES for value in VALUES[name][:half]]
    packed = [UserRecord(name, VALUES[name][n]) for n in range(half, EVENTS) for name in TYPES]
    records = [
        *[{"Data": value, "PartitionKey": name} for name, value in plain],
        {"Data": aggregate(packed), "PartitionKey": "pin"},
        *[{"Data": value, "PartitionKey": f"other {n}"} for n, value in enumerate(OTHERS)],
    ]
    assert client.put_records(StreamName=stream, Records=records)["FailedRecordCount"] == 0
    tests = {name: {"partition_key": name} for name in TYPES}
    return three(kinesis_home(folder, aws, stream), tests, {"stream": stream})


@pytest.fixture(params=["kafka", "kinesis"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    """Three pipelines of one topic or stream."""
    if request.param == "kinesis":
        return stream_of(request.getfixturevalue("aws"), tmp_path)
    return topic_of(request.getfixturevalue("broker"), tmp_path)


def read(home: Home, name: str) -> int:
    """How many records the pipeline has read, by its tables."""
    return sum(tally.read for tally in verify(tables_of(home.config, name)).tallies)


def test_each_record_is_in_the_tables_of_the_one_pipeline_that_takes_it(shared: Home) -> None:
    with ExitStack() as running:
        for name in TYPES:
            running.enter_context(consuming(shared, name))
        until(lambda: all(read(shared, name) == TOTAL for name in TYPES), "all records to be read")
    for name in TYPES:
        told = examine(shared.config, name, 0.0, RereadPlan()).tree()
        assert (told["findings"], told["unknown"]) == ([], [])
        assert (told["read"], told["clean"], told["quarantined"]) == (TOTAL, EVENTS, 0)
        assert told["filtered"] == told["left_out"] == TOTAL - EVENTS
        assert told["reread"]["rows"] == EVENTS
        assert sum(chain["records"] for chain in told["archives"]) == EVENTS
        archived = pl.read_parquet(shared.folder / "archive" / name / "**/*.parquet")
        assert sorted(archived["_value"]) == sorted(VALUES[name])
    trees = {t["pipeline"]: t for t in json.loads(invoke(shared, "status", "--json").stdout)}
    assert {(t["left_out"], t["unclaimed"]) for t in map(trees.get, TYPES) if t} == {
        (TOTAL - EVENTS, NOBODYS)
    }
    again = invoke(shared, "replay", "geo", "--into", "again", "--json")
    assert json.loads(again.stdout)[0]["clean"] == EVENTS
    assert shared.table("again").equals(shared.table("geo"))


def test_rows_are_compared_with_the_where_that_was_in_force(broker: Broker, tmp_path: Path) -> None:
    topic = broker.create_topic(1)
    home = kafka_home(tmp_path, broker, topic)
    parts = [payloads(6, since=n) for n in range(1, 28, 6)]
    wheres: list[dict[str, Any] | None] = [None, {"key": "a"}, {"header": {"type": "b"}}, None]
    for n, where in enumerate(wheres):
        change(home, "pipelines/user/source/where", where)
        for key in "ab":
            broker.produce(topic, parts[n][:3], key=key, headers=[("type", key.encode())])
        with capture_logs() as told, consuming(home):
            until(lambda n=n: read(home, "user") == 6 * (n + 1), "all records to be read")  # type: ignore[misc]
        assert [line["event"] for line in told].count("where_changed") == (n > 0)
    verdict = home.examined(plan=RereadPlan())
    assert (verdict["findings"], verdict["unknown"]) == ([], [])
    assert (verdict["clean"], verdict["left_out"]) == (6 + 3 + 3 + 6, 6)
    assert verdict["reread"]["rows"] == 18
    assert verdict["former_where"] == [
        '{"header": {"type": {"in": ["b"]}}}',
        '{"key": {"in": ["a"]}}',
    ]
    change(home, "pipelines/user/source/where", {"key": "b"})
    verdict = home.examined(plan=RereadPlan())
    assert (verdict["findings"], len(verdict["former_where"])) == ([], 3)
