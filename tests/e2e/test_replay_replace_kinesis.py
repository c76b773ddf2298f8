"""A replay in place of a stream, by the command: from Kinesis or its archive, killed, refused."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from moto.kinesis.models import kinesis_backends

from tests.support.archives import change_pipeline
from tests.support.aws import TestAws
from tests.support.processes import (
    Home,
    kinesis_home,
    payloads,
    put,
    stop,
    until,
)
from tests.support.replays import (
    YESTERDAY,
    assert_as_fresh,
    assert_rebuilt,
    fix,
    killed_between,
    replaced,
    the_finding,
    transform,
    versions,
)

COUNT = 3000
pytestmark = pytest.mark.process


@pytest.fixture
def stream(aws: TestAws) -> str:
    name = aws.stream()
    put(aws, name, payloads(COUNT))
    return name


@pytest.fixture
def home(aws: TestAws, stream: str, tmp_path: Path) -> Home:
    """Return a home whose table and archive the transform of yesterday has filled."""
    made = kinesis_home(tmp_path, aws, stream)
    archive = {"parquet": str(tmp_path / "archive"), "stage": "raw", "flush": {"seconds": 0}}
    change_pipeline(made, sinks=[{"delta": "user"}, archive])
    transform(made, "yesterday", YESTERDAY)
    consumed(made)
    return made


def consumed(home: Home) -> None:
    done = home.run("consume", "user", "--until-end")
    assert done.returncode == 0, done.stderr


def again(aws: TestAws, stream: str, values: list[bytes]) -> None:
    """Delete the stream, and create another one of its name."""
    client = aws.client("kinesis")
    client.delete_stream(StreamName=stream)
    client.get_waiter("stream_not_exists").wait(StreamName=stream, WaiterConfig={"Delay": 1})
    client.create_stream(StreamName=stream, ShardCount=2)
    client.get_waiter("stream_exists").wait(StreamName=stream, WaiterConfig={"Delay": 1})
    put(aws, stream, values)


def expire(stream: str, shard: int, count: int) -> None:
    """Let retention take the first records of a shard, as moto never does."""
    found = kinesis_backends["123456789012"]["us-east-1"].streams[stream]
    records = list(found.shards.values())[shard].records
    for number in list(records)[:count]:
        del records[number]


def refused(home: Home, *options: str) -> str:
    """Return what a replay in place says that changes nothing."""
    before = versions(home)
    done = home.run("replay", "user", "--replace", *options)
    assert done.returncode in {1, 2}, done.stdout
    assert versions(home) == before
    return " ".join(done.stderr.replace("│", " ").split())


def test_the_live_tables_become_those_of_todays_transform_and_a_second_run_changes_nothing(
    home: Home,
) -> None:
    fix(home)
    before = versions(home)
    planned = home.run("replay", "user", "--replace", "--dry-run", "--json")
    [first, second] = json.loads(planned.stdout)
    assert (first["offsets"], first["rows"] + second["rows"]) == (None, COUNT)
    compared = replaced(home, "--diff")
    assert versions(home) == before
    done = replaced(home)
    assert done["tables"] == compared["tables"]
    assert versions(home) == [version + 1 for version in before]
    assert_rebuilt(home)
    swapped = versions(home)
    replaced(home)
    assert versions(home) == swapped


def test_killed_between_both_tables_beside_a_consumer_the_same_command_finishes_it(
    home: Home, aws: TestAws, stream: str
) -> None:
    fix(home)
    with home.running("consume", "user", log="live.log") as consumer:
        killed_between(home)
        assert "pinpip replay user --replace (" in the_finding(home)
        put(aws, stream, payloads(1000, COUNT))
        clean, rejected = (home.table(name).height for name in ("user", "user_quarantine"))
        until(lambda: home.rows() > clean + rejected, "the records that came meanwhile")
        replaced(home)
        put(aws, stream, payloads(1000, COUNT + 1000))
        last = pl.col("ind") >= COUNT + 1990
        until(lambda: home.table().filter(last).height > 0, "the last records")
        assert stop(consumer) == 0
    consumed(home)
    assert_rebuilt(home)


def test_a_range_of_time_alone_is_replaced(home: Home, aws: TestAws, stream: str) -> None:
    began = datetime.now(UTC)
    until(lambda: datetime.now(UTC) - began > timedelta(seconds=1), "the next second")
    since = datetime.now(UTC).replace(microsecond=0)
    put(aws, stream, payloads(1000, COUNT))
    consumed(home)
    before = home.table()
    fix(home)
    replaced(home, "--from-time", f"{since:%Y-%m-%dT%H:%M:%S}")
    within = pl.col("_timestamp") >= since
    after = home.table()
    assert after.filter(~within).equals(before.filter(~within))
    assert 0 < after.filter(within).height < before.filter(within).height
    told = home.verify()
    assert (told["findings"], told["unknown"]) == ([], [])


def test_the_archive_gives_what_kinesis_gives_and_no_stream_is_needed(
    home: Home, aws: TestAws, stream: str
) -> None:
    fix(home)
    aws.client("kinesis").delete_stream(StreamName=stream)
    killed_between(home, "--from-archive")
    replaced(home, "--from-archive")
    assert_as_fresh(home, "--from-archive")


def test_rows_of_another_stream_of_the_same_name_never_replace_any(
    home: Home, aws: TestAws, stream: str
) -> None:
    fix(home)
    again(aws, stream, payloads(COUNT, 50_000))
    assert "deleted and created again" in refused(home)


def test_offsets_are_refused_before_anything_is_read(home: Home) -> None:
    assert "Kinesis has no offsets" in refused(home, "--from-offset", "3")
    assert not list((home.folder / "lake").glob("user_replacing_*"))


@pytest.mark.parametrize(
    ("count", "said"), [(10, "some have expired"), (COUNT, "the source gives no record of")]
)
def test_records_that_the_stream_no_longer_holds_are_never_taken_from_the_table(
    home: Home, stream: str, count: int, said: str
) -> None:
    fix(home)
    expire(stream, 1, count)
    assert said in refused(home)
    replaced(home, "--from-archive")
    assert_as_fresh(home, "--from-archive")


def test_an_archive_of_clean_rows_is_said_not_to_be_compared_once_rows_were_replaced(
    aws: TestAws, stream: str, tmp_path: Path
) -> None:
    home = kinesis_home(tmp_path, aws, stream)
    archive = {"parquet": str(tmp_path / "archive"), "stage": "clean", "flush": {"seconds": 0}}
    change_pipeline(home, sinks=[{"delta": "user"}, archive])
    transform(home, "yesterday", YESTERDAY)
    consumed(home)
    assert (told := home.verify("--reread"))["findings"] == told["unknown"] == []
    fix(home)
    replaced(home)
    told = home.verify("--reread")
    assert told["findings"] == []
    [unknown] = told["unknown"]
    assert f"{tmp_path}/archive: an archive of stage clean keeps its rows" in unknown["detail"]
    assert home.verify()["unknown"] == []
