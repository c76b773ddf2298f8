"""Bad input: one clear error of one or two lines, exit code 1, and nothing is lost."""

import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import polars as pl
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from tests.support.aws import TestAws
from tests.support.brokers import Broker
from tests.support.commands import change, the_error
from tests.support.processes import (
    Home,
    assert_holds_once,
    kafka_home,
    kinesis_home,
    payloads,
    stop,
    until,
)

NOWHERE = "127.0.0.1:1"
VALUES = payloads(100)


@pytest.fixture
def home(tmp_path: Path, mock_broker: Broker) -> Home:
    """Configure a pipeline whose topic has records and whose table does not exist yet."""
    topic = mock_broker.create_topic()
    mock_broker.produce(topic, VALUES)
    return kafka_home(tmp_path, mock_broker, topic)


def consume(home: Home, arrived: Callable[[], bool]) -> None:
    """Run a consumer until `arrived` holds, then stop it; it must end without an error."""
    with home.running("consume") as consumer:
        until(lambda: arrived() or consumer.poll() is not None, "the rows")
        assert stop(consumer) == 0, (home.folder / "process.log").read_text(encoding="utf-8")


def consume_all(home: Home) -> None:
    consume(home, lambda: home.rows() == len(VALUES))


# --- The configuration


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        ("batching/max_record", 5, "unknown key 'batching.max_record' (did you mean 'max_records'"),
        ("gateway/port", "eighty", "gateway.port: "),
        ("kafka", 3, "kafka: "),
        ("batching", [1], "batching: must be a mapping of keys"),
        ("pipelines", {}, "pipelines: "),
        ("pipelines/user/transform", "transforms.user:cleen", "'transforms.user:cleen' cannot be"),
        ("pipelines/user/schema", "absent:SCHEMA", "'absent:SCHEMA' cannot be loaded"),
        ("kafka/fetch.wait.mx.ms", 5, 'No such configuration property: "fetch.wait.mx.ms"'),
        ("kafka/enable.auto.commit", True, "kafka.enable.auto.commit must be false"),
        ("lake/root", "gs://bucket/lake", "'gs://bucket/lake' is neither a folder nor a bucket"),
    ],
)
def test_what_is_wrong_in_the_configuration_is_named(
    home: Home, where: str, value: object, said: str
) -> None:
    change(home, where, value)
    assert said in the_error(home.run("consume"))


@pytest.mark.parametrize("text", [b"id: [1", b"id: a\n\tb: c\n", b"\xff\xfe", b"- a list", b""])
def test_a_file_that_holds_no_configuration_is_named(home: Home, text: bytes) -> None:
    home.config_path.write_bytes(text)
    assert str(home.config_path) in the_error(home.run("config", "check"))


def test_a_missing_configuration_is_named(home: Home) -> None:
    home.config_path.unlink()
    assert f"{home.config_path} cannot be read: No such file" in the_error(home.run("consume"))


def test_an_unknown_pipeline_is_answered_with_the_nearest_name(home: Home) -> None:
    said = the_error(home.run("consume", "usr"))
    assert "no pipeline is called 'usr' (did you mean 'user'?)" in said


def test_an_embedded_stack_that_does_not_run_is_asked_for(home: Home) -> None:
    change(home, "kafka", {"bootstrap.servers": "local"})
    assert f"pinpip -c {home.config_path} local up" in the_error(home.run("consume"))


# --- Sources


def test_an_unreachable_broker_is_named_soon(home: Home) -> None:
    change(home, "kafka/bootstrap.servers", NOWHERE)
    began = time.monotonic()
    assert f"no broker of {NOWHERE} can be reached" in the_error(home.run("consume"))
    assert time.monotonic() - began < 20
    assert not (home.folder / "lake").exists()


def test_a_missing_stream_is_named(tmp_path: Path, aws: TestAws) -> None:
    home = kinesis_home(tmp_path, aws, "absent-stream")
    assert "create the stream" in the_error(home.run("consume"))


def test_an_unreachable_kinesis_is_named(tmp_path: Path, aws: TestAws) -> None:
    home = kinesis_home(tmp_path, aws, "any-stream")
    change(home, "aws/endpoint_url", f"http://{NOWHERE}")
    assert "aws.endpoint_url" in the_error(home.run("consume"))


# --- Tables


def test_a_lake_that_is_a_file_is_named_and_left_alone(home: Home) -> None:
    lake = home.folder / "lake"
    lake.write_text("in the way", encoding="utf-8")
    assert f"{lake}/user" in the_error(home.run("consume"))
    assert lake.read_text(encoding="utf-8") == "in the way"
    lake.unlink()
    consume_all(home)
    assert_holds_once(home, VALUES)


def test_a_table_of_another_schema_is_refused_and_left_alone(home: Home) -> None:
    pl.DataFrame({"a": [1]}).write_delta(home.uri("user"))
    for command in ("consume", "verify", "status"):
        assert "has another schema" in the_error(home.run(command))
    assert pl.read_delta(home.uri("user")).to_dicts() == [{"a": 1}]
    shutil.move(home.uri("user"), home.uri("theirs"))
    consume_all(home)
    assert_holds_once(home, VALUES)


def test_a_damaged_log_stops_the_consumer_and_mended_nothing_is_lost(
    home: Home, mock_broker: Broker
) -> None:
    consume_all(home)
    more = payloads(50, since=len(VALUES))
    [topic] = home.table().get_column("_topic").unique().to_list()
    mock_broker.produce(topic, more)
    newest = max(Path(home.uri("user"), "_delta_log").glob("*.json"))
    whole = newest.read_bytes()
    newest.write_bytes(b"garbage" + whole)
    for command in ("consume", "verify", "status"):
        assert f"the log of table {home.uri('user')} is damaged" in the_error(home.run(command))
    newest.write_bytes(whole)
    consume(home, lambda: home.rows() == len(VALUES) + len(more))
    assert_holds_once(home, [*VALUES, *more])


def test_there_is_nothing_to_verify_where_there_are_no_tables(home: Home) -> None:
    said = the_error(home.run("verify", "--offline"))
    assert "there is nothing to verify" in said


# --- S3


def in_bucket(home: Home, aws: TestAws, bucket: str) -> None:
    """Put the lake of `home` into a bucket."""
    change(home, "aws", {"access_key_id": "local", "secret_access_key": "local"})
    change(home, "aws/endpoint_url", aws.endpoint)
    change(home, "lake/root", f"s3://{bucket}/lake")


def rows_in(aws: TestAws, bucket: str) -> int:
    """Rows of the table and its quarantine in a bucket, by their logs."""
    tables = [f"s3://{bucket}/lake/{name}" for name in ("user", "user_quarantine")]
    try:
        return sum(DeltaTable(uri, storage_options=aws.storage_options()).count() for uri in tables)
    except TableNotFoundError:
        return 0


def test_a_missing_bucket_is_named_and_once_it_is_made_all_rows_come(
    home: Home, aws: TestAws
) -> None:
    bucket = f"b-{uuid4().hex[:12]}"
    in_bucket(home, aws, bucket)
    for command in ("consume", "verify"):
        assert "NoSuchBucket" in the_error(home.run(command))
    aws.client("s3").create_bucket(Bucket=bucket)
    consume(home, lambda: rows_in(aws, bucket) == len(VALUES))
    verdict = home.verify("--grace", "0")
    assert verdict["findings"] == []
    assert (verdict["clean"], verdict["quarantined"]) == (98, 2)


def test_a_missing_bucket_of_the_archive_is_named_before_anything_is_written(
    home: Home, aws: TestAws
) -> None:
    change(home, "aws", {"endpoint_url": aws.endpoint})
    change(home, "aws/access_key_id", "local")
    change(home, "aws/secret_access_key", "local")
    sinks = [{"delta": "user"}, {"parquet": "s3://absent-bucket/archive"}]
    change(home, "pipelines/user/sinks", sinks)
    said = the_error(home.run("consume"))
    assert "NoSuchBucket" in said
    assert "aws s3 mb s3://absent-bucket" in said
    assert home.rows() == 0


def test_an_unreachable_s3_is_named_soon(home: Home, aws: TestAws) -> None:
    in_bucket(home, aws, "any-bucket")
    change(home, "aws/endpoint_url", f"http://{NOWHERE}")
    began = time.monotonic()
    assert "storage of s3://any-bucket does not answer" in the_error(home.run("verify"))
    assert time.monotonic() - began < 15


# --- The gateway and the metrics


def test_a_port_in_use_is_named(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        change(home, "gateway", {"port": port})
        assert f"cannot listen on 127.0.0.1:{port}" in the_error(home.run("gateway"))
        said = the_error(home.run("consume", "--metrics-port", str(port)))
        assert f"the status page cannot be served on 127.0.0.1:{port}" in said


def test_a_gateway_that_is_not_there_is_named(home: Home) -> None:
    change(home, "producer", {"gateway_url": f"http://{NOWHERE}/test", "retries": 0, "patience": 0})
    said = the_error(home.run("produce", "--count", "3"))
    assert f"no gateway answers at http://{NOWHERE}/test" in said


def test_a_gateway_that_says_nothing_is_sent_nothing(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}/test"
        change(home, "producer", {"gateway_url": url, "timeout": 0.5, "retries": 0, "patience": 0})
        said = the_error(home.run("produce", "--count", "1", "--route", "kafka"))
    assert "took none of 1 records" in said
    assert f"no gateway answers at {url}" in said
