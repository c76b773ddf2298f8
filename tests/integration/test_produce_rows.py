"""`pinpip produce --from`: rows of files go by HTTP or direct to where a pipeline reads."""

import gzip
import io
import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest
import yaml
from pyarrow import parquet

from gateway.server import kinesis_client
from tests.support.aws import TestAws
from tests.support.brokers import Broker
from tests.support.commands import change, invoke, tree_of
from tests.support.gateways import everything, running
from tests.support.processes import Home

BOARDS = [{"board": "Oslo", "pins": 4}, {"board": 'é, "x"', "pins": 0}]


@pytest.fixture
def home(tmp_path: Path, mock_broker: Broker) -> Iterator[Home]:
    """Yield a configuration with a gateway that runs, and topics that nobody else uses."""
    own = f"p{uuid4().hex[:8]}"
    board = {
        "source": {"topics": [f"{own}.boards"]},
        "schema": "tests.support.boards:SCHEMA",
        "transform": "tests.support.boards:clean",
        "sinks": [{"delta": "boards"}],
    }
    by_pattern = {**board, "source": {"topics": [f"^{own}\\.x.*"]}, "sinks": [{"delta": "x"}]}
    topics = [f"{own}.{name}" for name in ("boards", "x1", "pin", "geo", "user")]
    with running(mock_broker.properties, served=topics) as url:
        tree = {
            "id": own,
            "kafka": {"bootstrap.servers": mock_broker.bootstrap},
            "producer": {"gateway_url": f"{url}/test", "retries": 0, "patience": 0},
            "pipelines": {"boards": board, "x": by_pattern},
        }
        home = Home(tmp_path)
        home.config_path.write_text(yaml.safe_dump(tree), encoding="utf-8")
        yield home


def wire(broker: Broker, topic: str) -> list[tuple[Any, Any]]:
    """Return the keys and the values of a topic, in no order."""
    found = [(r.key, json.loads(r.value or b"")) for r in everything(broker.bootstrap, topic)]
    return sorted(found, key=str)


def stored(home: Home, *arguments: str) -> dict[str, int]:
    """Run `pinpip produce`; return how many records each target stored."""
    done = invoke(home, "produce", "--json", *arguments)
    assert done.exit_code == 0, done.output + repr(done.exception)
    return {row["target"]: row["stored"] for row in json.loads(done.stdout)}


def refused(home: Home, *arguments: str) -> tuple[str, str]:
    """Run `pinpip produce`; return the message of its error, and what it printed."""
    done = invoke(home, "produce", "--json", *arguments)
    assert done.exit_code != 0
    return str(done.exception), done.stdout


def in_topic(home: Home, name: str) -> str:
    return f"{tree_of(home)['id']}.{name}"


@pytest.mark.parametrize("direct", [[], ["--direct"]], ids=["gateway", "direct"])
def test_rows_of_a_pipeline_go_to_its_topic_with_the_key_of_its_schema(
    home: Home, mock_broker: Broker, direct: list[str]
) -> None:
    path, topic = home.folder / "boards.ndjson", in_topic(home, "boards")
    path.write_text("\n".join(map(json.dumps, BOARDS)), encoding="utf-8")
    assert stored(home, "--pipeline", "boards", "--from", str(path), *direct) == {topic: 2}
    expected = [(str(row["board"]).encode(), row) for row in BOARDS]
    assert wire(mock_broker, topic) == sorted(expected, key=str)


def test_floats_of_parquet_and_csv_are_integers_on_the_wire(
    home: Home, mock_broker: Broker
) -> None:
    rows = {"ind": [4.0, 107.0], "first_name": ["Ada", None], "age": [36.0, 25.0]}
    parquet.write_table(pa.table(rows), home.folder / "users.parquet")
    (home.folder / "geos.csv").write_text(",ind,country\n0,5.0,Peru\n", encoding="utf-8")
    topics = in_topic(home, "user"), in_topic(home, "geo")
    places = (str(home.folder / "users.parquet"), str(home.folder / "geos.csv"))
    done = stored(home, "--route", "kafka", "--from", places[0], "--from", places[1])
    assert done == {topics[0]: 2, topics[1]: 1}
    [first, second] = [everything(mock_broker.bootstrap, topic) for topic in topics]
    texts = sorted([(each.key, each.value) for each in first])
    assert texts == [
        (b"107", b'{"ind":107,"first_name":null,"age":25}'),
        (b"4", b'{"ind":4,"first_name":"Ada","age":36}'),
    ]
    assert [(each.key, each.value) for each in second] == [(b"5", b'{"ind":5,"country":"Peru"}')]


def test_a_bad_row_stops_before_it_and_all_rows_before_it_are_stored(
    home: Home, mock_broker: Broker
) -> None:
    path = home.folder / "rows.csv"
    rows = "".join(f"{n},Peru\n" for n in range(5))
    path.write_text(f"ind,country\n{rows}4.7,Peru\n6,Peru\n", encoding="utf-8")
    said, printed = refused(home, "--route", "kafka", "--from", str(path))
    assert f"{path}, row 6 (line 7), column 'ind': \"4.7\" is not a whole number" in said
    [row] = json.loads(printed)
    assert (row["stored"], row["rejected"]) == (5, 0)
    assert len(wire(mock_broker, in_topic(home, "geo"))) == 5


def test_a_bad_row_does_not_hide_that_a_row_before_it_is_not_stored(home: Home) -> None:
    path = home.folder / "boards.ndjson"
    rows = [BOARDS[0], {"board": "x" * 3_000_000, "pins": 1}, {"board": "y", "pins": 4.7}]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    said, printed = refused(home, "--pipeline", "boards", "--from", str(path))
    assert "row 3 (line 3), column 'pins': 4.7 is not a whole number" in said
    assert "1 records were refused" in said
    assert "the rows before it are sent" not in said
    [row] = json.loads(printed)
    assert (row["stored"], row["rejected"]) == (1, 1)


def test_files_of_kafka_connect_go_to_their_topic_or_by_their_fields(
    home: Home, mock_broker: Broker
) -> None:
    boards = in_topic(home, "boards")
    for topic, row in ((boards, BOARDS[0]), ("other.geo", {"ind": 1, "country": "Peru"})):
        folder = home.folder / "topics" / topic / "partition=0"
        folder.mkdir(parents=True)
        text = json.dumps(row).encode()
        (folder / f"{topic}+0+0000000000.json.gz").write_bytes(gzip.compress(text))
    done = invoke(
        home, "produce", "--json", "--route", "kafka", "--from", str(home.folder / "topics")
    )
    assert done.exit_code == 0, done.output
    assert (
        "note:  no pipeline reads the topic other.geo: its rows go by their fields" in done.stderr
    )
    geo = in_topic(home, "geo")
    assert {r["target"]: r["stored"] for r in json.loads(done.stdout)} == {boards: 1, geo: 1}
    assert wire(mock_broker, boards) == [(b"Oslo", BOARDS[0])]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--pipeline", "x"], "reads several topics"),
        (["--pipeline", "x", "--topic", "y"], "does not read the topic y"),
        (["--pipeline", "bords"], "did you mean 'boards'"),
        (["--pipeline", "boards", "--route", "kinesis"], "cannot be reached by --route kinesis"),
    ],
)
def test_a_pipeline_without_one_target_is_a_clear_error(
    home: Home, arguments: list[str], complaint: str
) -> None:
    path = home.folder / "boards.json"
    path.write_text(json.dumps(BOARDS), encoding="utf-8")
    said, printed = refused(home, "--from", str(path), *arguments)
    assert complaint in said
    assert printed == ""


def test_a_topic_of_a_pattern_is_named(home: Home, mock_broker: Broker) -> None:
    path, topic = home.folder / "boards.json", in_topic(home, "x1")
    path.write_text(json.dumps(BOARDS), encoding="utf-8")
    assert stored(home, "--pipeline", "x", "--topic", topic, "--from", str(path)) == {topic: 2}
    assert len(wire(mock_broker, topic)) == 2


def test_objects_of_a_bucket_go_to_the_stream_of_a_pipeline(home: Home, aws: TestAws) -> None:
    bucket, stream = aws.bucket(), aws.stream()
    change(home, "pipelines/boards/source", {"stream": stream})
    change(home, "aws", {"endpoint_url": aws.endpoint, "region": "us-east-1"})
    for key in ("access_key_id", "secret_access_key"):
        change(home, f"aws/{key}", "local")
    table = io.BytesIO()
    parquet.write_table(pa.table({"board": ["p"], "pins": [7.0]}), table)
    objects = {"in/a%20b [x]/1.json": json.dumps(BOARDS).encode(), "in/a b/2.json": b"{}"}
    objects |= {"in/a%20b [x]/2.parquet": table.getvalue(), "in/a%20b [x]y/3.json": b"{}"}
    for key, body in objects.items():
        aws.client("s3").put_object(Bucket=bucket, Key=key, Body=body)
    place = f"s3://{bucket}/in/a%20b [x]"
    with running({"bootstrap.servers": "127.0.0.1:9"}, kinesis=kinesis_client(aws.config)) as url:
        change(home, "producer/gateway_url", f"{url}/test")
        assert stored(home, "--pipeline", "boards", "--from", place) == {stream: 3}
        said, _ = refused(home, "--pipeline", "boards", "--from", f"s3://{bucket}/none")
    assert f"no objects at s3://{bucket}/none" in said
    kinesis = aws.client("kinesis")
    shards = kinesis.list_shards(StreamName=stream)["Shards"]
    found = []
    for shard in shards:
        start = kinesis.get_shard_iterator(
            StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )
        found += kinesis.get_records(ShardIterator=start["ShardIterator"])["Records"]
    expected = [(row["board"], row) for row in [*BOARDS, {"board": "p", "pins": 7}]]
    assert sorted([(r["PartitionKey"], json.loads(r["Data"])) for r in found], key=str) == sorted(
        expected, key=str
    )


def test_a_key_that_kinesis_does_not_take_is_refused_before_the_request(
    home: Home,
) -> None:
    change(home, "pipelines/boards/source", {"stream": "any"})
    path = home.folder / "boards.json"
    path.write_text(json.dumps([{"board": "b" * 257, "pins": 1}]), encoding="utf-8")
    said, printed = refused(home, "--pipeline", "boards", "--from", str(path))
    assert "row 1 (line 1), column 'board': a key for Kinesis has 1 to 256 characters" in said
    assert json.loads(printed or "[]") == []


def test_a_signal_ends_the_rows_with_an_error_that_counts_what_is_sent(home: Home) -> None:
    fifo, log = home.folder / "rows.fifo", home.folder / "process.log"
    os.mkfifo(fifo)
    arguments = ["--pipeline", "boards", "--format", "json", "--from", str(fifo)]
    with home.running("produce", *arguments) as process, fifo.open("w", encoding="utf-8") as into:
        into.write("\n".join(map(json.dumps, BOARDS * 300)))
        into.flush()
        process.send_signal(signal.SIGTERM)
        into.write("\n" + json.dumps(BOARDS[0]))
        into.close()
        assert process.wait(30) == 1
    said = log.read_text(encoding="utf-8")
    assert re.search(r"error: stopped by a signal: the first [0-9,]+ rows are sent", said)
