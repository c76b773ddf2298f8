"""The ledger says which commit, file and object hold a record, and what was committed when."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from audit.locate import Location, locate
from audit.verify import snapshots
from core.batch import KAFKA, KINESIS, Position, Stretch
from sinks.delta import ledger
from tests.support.brokers import Broker
from tests.support.pairs import A, B, Pair
from tests.support.processes import Home, kafka_home, payloads, stop, until

COUNT = 40


@pytest.fixture(params=[KAFKA, KINESIS], ids=lambda c: c.kind)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    """Thirty records of each of two partitions, in three commits and three objects of each."""
    made = Pair(str(tmp_path), request.param)
    batches = [made.log.batch({A: (n, n + 10), B: (n, n + 10)}) for n in (0, 10, 20)]
    made.write(*batches)
    made.archived(*batches)
    return made


def located(pair: Pair, n: int, index: int = A) -> Location:
    """Where the nth record of a partition is."""
    end = pair.log.position(n + 1)
    assert end is not None
    kafka = pair.coordinates is KAFKA
    start = Position(n) if kafka else pair.coordinates.before(end.number, end.sub)
    record = Stretch(start, end)
    return locate(*snapshots(pair.tables), [pair.archive], pair.log.partition(index), record)


@pytest.mark.parametrize(("n", "stage"), [(0, "rejected"), (13, "clean"), (29, "clean")])
def test_a_record_is_found_with_its_commit_file_and_object(pair: Pair, n: int, stage: str) -> None:
    found = located(pair, n)
    [place] = found.places
    assert place.table == pair.uri(stage)
    assert place.row[pair.coordinates.key] == f"key-{n}"
    assert (
        pl.read_parquet(place.file.removeprefix("file://"))[pair.coordinates.key]
        .is_in([f"key-{n}"])
        .any()
    )
    [version] = [v for v, commit in enumerate((9, 19, 29), 1) if commit - 10 < n <= commit]
    assert found.version == version
    assert found.objects == (str(pair.objects(A)[version - 1]),)


def test_a_compacted_record_is_found_in_its_new_file(pair: Pair) -> None:
    pair.table("clean").optimize.compact()
    found = located(pair, 13)
    [file] = pair.table("clean").file_uris()
    assert [place.file.removeprefix("file://") for place in found.places] == [file]
    assert found.version == 2


def test_a_lost_record_is_in_no_table_but_its_commit_is_known(pair: Pair) -> None:
    pair.drop("clean", A, 13)
    found = located(pair, 13)
    assert (found.places, found.version) == ((), 2)
    assert found.objects == (str(pair.objects(A)[1]),)


def test_a_record_that_was_not_read_yet_is_nowhere(pair: Pair) -> None:
    found = located(pair, 31)
    assert (found.places, found.version, found.objects) == ((), None, ())
    assert found.position == pair.log.position(30)


def test_an_expired_entry_leaves_the_row(pair: Pair) -> None:
    pair.forget("clean")
    found = located(pair, 13)
    assert (found.version, len(found.places)) == (None, 1)


# --- the command


@pytest.fixture(scope="module")
def home(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Write a whole topic to a live table."""
    topic = broker.create_topic()
    broker.produce(topic, payloads(COUNT))
    made = kafka_home(tmp_path_factory.mktemp("ledger"), broker, topic)
    with made.running("consume", "user") as consumer:
        until(lambda: made.rows() >= COUNT, "all rows")
        assert stop(consumer) == 0
    return made


def asked(home: Home, *arguments: str) -> Any:
    """Return the JSON that the ledger prints."""
    done = home.run("inspect", "user", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.process
def test_the_newest_commits_are_listed_without_a_question(home: Home) -> None:
    rows = asked(home)
    clean = [row for row in rows if row["table"] == home.uri("user")]
    assert sum(row["read"] for row in clean) == COUNT
    assert sum(row["clean"] for row in clean) == COUNT - 1
    assert {r["partition"].rpartition("/")[2] for row in clean for r in row["ranges"]} == set(
        "0123"
    )
    assert "0 start-10" in home.run("inspect", "user").stdout


@pytest.mark.process
def test_commits_are_found_by_their_time(home: Home) -> None:
    rows = asked(home)
    [newest, *_] = [row["committed_at"] for row in rows]
    assert asked(home, "--since", "2000-01-01", "--until", "2000-01-02") == []
    assert asked(home, "--since", "2000-01-01") == rows
    later = asked(home, "--since", newest[:19])
    assert newest in [row["committed_at"] for row in later]


@pytest.mark.process
def test_a_record_is_asked_for_by_partition_and_offset(home: Home) -> None:
    tree = asked(home, "--offset", "2:5")
    assert tree["outcome"] == "clean"
    assert tree["places"][0]["row"]["ind"] == 22
    assert tree["version"] >= 1
    assert asked(home, "--offset", "0:0")["outcome"] == "quarantined"
    assert asked(home, "--offset", "0:99")["outcome"] == "not read yet: the table is at 10"
    assert "22" in home.run("inspect", "user", "--offset", "2:5").stdout


@pytest.mark.process
@pytest.mark.parametrize("offset", ["x:5", "5", "2:x", "2:", ":"])
def test_what_is_no_record_is_wrong_usage(home: Home, offset: str) -> None:
    done = home.run("inspect", "user", "--offset", offset)
    assert done.returncode == 2
    assert "PARTITION:OFFSET" in done.stderr


def test_a_range_of_the_ledger_takes_little_memory() -> None:
    """All ranges of a table are held at once: a model of pydantic took 1,500 bytes each."""
    entries = [entry_text(n) for n in range(1_000)]
    tracemalloc.start()
    try:
        held = [ledger.decode(text) for text in entries]
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken / sum(len(entry.ranges) for entry in held) < 600


def entry_text(nth: int) -> str:
    """Make the ledger entry of a commit with four ranges of twelve records."""
    start, end = Position(nth * 12), Position(nth * 12 + 12)
    ranges = tuple(
        ledger.CommitRange(
            source="demo",
            partition=str(n),
            start=start,
            end=end,
            read=12,
            clean=12,
            quarantined=0,
        )
        for n in range(4)
    )
    return ledger.encode(ledger.Entry(app="a", version="1", event_time=None, ranges=ranges))
