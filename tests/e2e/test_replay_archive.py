"""Replays from the raw archive, of a topic whose retention is over."""

import json
import shlex
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from core.batch import KAFKA
from core.errors import RecordsExpired, SourceError
from sinks.storage.store import FolderStore
from tests.support.archives import archived, change_pipeline
from tests.support.aws import TestAws
from tests.support.brokers import Broker
from tests.support.commands import invoke
from tests.support.connect_folder import export
from tests.support.places import ROOT
from tests.support.processes import (
    Home,
    assert_same_tables,
    kinesis_home,
    payloads,
    put,
    stop,
    until,
    version,
)
from tests.support.topics import trim

COUNT = 60_000
pytestmark = pytest.mark.process


def consumed(home: Home, count: int) -> Home:
    """`home` after its live consumer has taken everything and was stopped."""
    with home.running("consume", "user") as consumer:
        until(lambda: home.rows() >= count, "all rows")
        assert stop(consumer) == 0
    return home


@pytest.fixture(scope="module")
def live(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Write a topic to a table and an archive, then expire all of it."""
    topic = broker.create_topic()
    broker.produce(topic, payloads(COUNT), key=b"key")
    home = consumed(archived(tmp_path_factory.mktemp("archived"), broker, topic), COUNT)
    for partition in range(4):
        trim(broker, topic, COUNT // 4, partition)
    return home


def replayed(home: Home, into: str, *options: str) -> dict[str, Any]:
    """Replay from the archive; return what the command says."""
    done = invoke(home, "replay", "user", "--into", into, "--from-archive", "--json", *options)
    assert done.exit_code == 0, done.output
    [row] = json.loads(done.stdout.strip().splitlines()[-1])
    return dict(row)


def page_commands(page: str) -> list[list[str]]:
    """Return the words after `pinpip` of the commands of a page."""
    blocks = [part.split("```")[0] for part in (ROOT / page).read_text("utf-8").split("```sh")[1:]]
    return [shlex.split(line, comments=True)[1:] for b in blocks for line in b.strip().splitlines()]


def objects(home: Home) -> list[Path]:
    """Return the archive's objects in order."""
    return sorted((home.folder / "archive").rglob("*.parquet"))


@pytest.mark.real_broker
def test_a_replay_from_the_archive_equals_the_live_table(live: Home) -> None:
    row = replayed(live, "whole")
    assert (row["clean"] + row["quarantined"], row["expired"], row["remark"]) == (COUNT, 0, "")
    assert_same_tables(live, "user", "whole")
    before = version(live.uri("whole"))
    assert replayed(live, "whole")["why"].startswith("nothing was left to do")
    assert version(live.uri("whole")) == before


@pytest.mark.real_broker
def test_a_replay_from_the_archive_that_was_killed_goes_on_where_it_was(live: Home) -> None:
    arguments = ("replay", "user", "--into", "killed", "--from-archive")
    with live.running(*arguments) as process:
        until(lambda: live.files("killed/_delta_log/*.json") >= 2, "a commit with rows")
        process.kill()
        process.wait()
    assert 0 < live.table("killed").height < COUNT - COUNT // 50
    replayed(live, "killed")
    assert_same_tables(live, "user", "killed")


@pytest.mark.real_broker
def test_a_range_of_offsets_is_the_same_as_of_the_topic(live: Home) -> None:
    replayed(live, "offsets", "--from-offset", "1000", "--until-offset", "2500")
    for suffix in ("", "_quarantine"):
        within = pl.col(KAFKA.number).is_between(1000, 2500, closed="left")
        assert live.table("user" + suffix).filter(within).equals(live.table("offsets" + suffix))


@pytest.mark.real_broker
def test_a_range_of_times_is_cut_by_each_records_own_timestamp(live: Home) -> None:
    times = live.table()["_timestamp"].sort()
    first, last = times[len(times) // 3], times[2 * len(times) // 3]
    form = "%Y-%m-%dT%H:%M:%S"
    bounds = ("--from-time", first.strftime(form), "--until-time", last.strftime(form))
    replayed(live, "times", *bounds)
    first, last = (at.replace(microsecond=0) for at in (first, last))
    wanted = live.table().filter(pl.col("_timestamp").is_between(first, last, closed="left"))
    found = replayed(live, "times", *bounds)
    assert found["clean"] == 0
    if wanted.height:
        assert live.table("times").equals(wanted)


@pytest.mark.real_broker
def test_a_range_beyond_the_archive_says_where_it_ends(live: Home) -> None:
    row = replayed(live, "beyond", "--from-offset", str(COUNT))
    assert row["why"] == f"the range begins at offset {COUNT}, the source ends at {COUNT // 4}"


@pytest.mark.real_broker
def test_the_topic_goes_on_where_the_archive_ended(broker: Broker, tmp_path: Path) -> None:
    topic = broker.create_topic()
    broker.produce(topic, payloads(400))
    home = consumed(archived(tmp_path, broker, topic), 400)
    for partition in range(4):
        trim(broker, topic, 70, partition)
    broker.produce(topic, payloads(400, since=400))
    replayed(home, "both")
    done = home.run("replay", "user", "--into", "both", "--json")
    assert done.returncode == 0, done.stderr
    assert home.table("both").height == 800 - 16
    consumed(home, 800)
    assert_same_tables(home, "user", "both")
    [row] = json.loads(done.stdout)
    assert row["clean"] + row["quarantined"] == 400


@pytest.mark.real_broker
def test_the_commands_of_the_page_are_run(broker: Broker, tmp_path: Path) -> None:
    topic, values = broker.create_topic(), payloads(400)
    broker.produce(topic, values)
    home = consumed(archived(tmp_path, broker, topic), 400)
    export(FolderStore(tmp_path / "topics"), topic, [values[n::4] for n in range(4)])
    found = page_commands("docs/replay.md")
    for words in found:
        done = home.run(*("user" if word == "pin" else word for word in words))
        assert done.returncode == 0, done.stderr
    assert_same_tables(home, "user", "pin_again")
    assert_same_tables(home, "user", "pin_rebuilt")
    assert home.table("pin_history").height == home.table().height


@pytest.mark.real_broker
def test_an_archive_that_lacks_objects_is_refused_and_nothing_is_written(
    broker: Broker, tmp_path: Path
) -> None:
    topic = broker.create_topic(1)
    home = archived(tmp_path, broker, topic)
    for since in range(0, 400, 100):
        broker.produce(topic, payloads(100, since=since))
        consumed(home, since + 100)
    first, second, *_, last = objects(home)
    kept = second.read_bytes()
    second.unlink()
    done = invoke(home, "replay", "user", "--into", "hole", "--from-archive")
    assert isinstance(done.exception, SourceError)
    assert f"{first.name} ends at" in done.exception.message
    assert not (tmp_path / "lake" / "hole").exists()
    second.write_bytes(kept[:-100])
    done = invoke(home, "replay", "user", "--into", "damaged", "--from-archive")
    assert isinstance(done.exception, SourceError)
    assert second.name in done.exception.message
    assert not (tmp_path / "lake" / "damaged").exists()
    second.write_bytes(kept)
    last.unlink()
    row = replayed(home, "short")
    assert row["remark"].startswith("the archive ends before the table of user: ")
    first.unlink()
    done = invoke(home, "replay", "user", "--into", "front", "--from-archive", "--from-offset", "2")
    assert isinstance(done.exception, RecordsExpired)
    row = replayed(home, "front", "--until-offset", "150")
    begin = int(second.stem.rpartition("+")[2])
    assert row["partitions"] == [
        {"partition": f"{topic}/0", "first_offset": begin, "expired": begin}
    ]


def test_a_pipeline_without_a_raw_archive_is_refused(aws: TestAws, tmp_path: Path) -> None:
    home = kinesis_home(tmp_path, aws, aws.stream())
    refused = home.run("replay", "user", "--into", "x", "--from-archive")
    assert refused.returncode == 1
    assert "user keeps no raw archive" in refused.stderr


def test_the_archive_of_a_stream_in_a_bucket(aws: TestAws, tmp_path: Path) -> None:
    name = aws.stream()
    put(aws, name, payloads(1000))
    home = kinesis_home(tmp_path, aws, name)
    place = f"s3://{aws.bucket()}/raw"
    archive = {"parquet": place, "flush": {"seconds": 0.5}}
    change_pipeline(home, sinks=[{"delta": "user"}, archive])
    consumed(home, 1000)
    refused = home.run("replay", "user", "--into", "x", "--from-archive", "--from-offset", "5")
    assert "Kinesis has no offsets" in refused.stderr
    assert replayed(home, "whole")["expired"] == 0
    assert_same_tables(home, "user", "whole")
