"""An archive's oldest objects are removed, and no others: time passes at the store."""

from datetime import timedelta
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from audit.archive import Archive
from audit.invariants import FindingKind
from audit.reread import Comparison
from audit.verify import Report, verify
from core.batch import KAFKA, KINESIS, Batch, Coordinates, Partition, Position, Stretch
from core.errors import StalePosition
from sinks.parquet import chain, expire
from sinks.parquet.expire import Old
from sinks.parquet.sink import ParquetSink
from sinks.parquet.walk import walk
from sinks.storage.options import options_at
from tests.support.aged_store import AgedStore, KilledError
from tests.support.aws import TestAws
from tests.support.batches import RecordLog
from tests.support.clock import ManualClock
from tests.support.pairs import A, B, Pair

DAY = timedelta(days=1)
KEEP = 10 * DAY
SIZE = 10  # records of an object


class Kept:
    """An archive beside its tables, whose time the test moves."""

    def __init__(self, pair: Pair) -> None:
        self.pair, self.clock = pair, ManualClock()
        self.aged = AgedStore(pair.archive.store, self.clock)
        self.store = self.aged.store
        self.log: RecordLog = pair.log
        self.end = 0
        self._late: list[Batch] = []
        self._own = self.sink()

    def sink(self) -> ParquetSink:
        made = ParquetSink(self.store, "raw", self.log.coordinates, "archive", clock=self.clock)
        made.positions([self.log.partition(A), self.log.partition(B)])
        return made

    def write(self, *indexes: int) -> None:
        """Write an object of each of these partitions, then wait a day."""
        batch = self.log.batch(dict.fromkeys(indexes, (self.end, self.end + SIZE)))
        self._own.write(batch)
        self._late.append(batch)
        self.end += SIZE
        self.clock.advance(DAY.total_seconds())

    def plan(self, keep: timedelta = KEEP) -> dict[Partition, Old]:
        partitions = [self.log.partition(A), self.log.partition(B)]
        return expire.plan(self.store, partitions, keep, self.clock.now())

    def shorten(self, keep: timedelta = KEEP) -> int:
        return expire.remove(self.store, self.plan(keep).values())

    def archive(self) -> Archive:
        return Archive(self.store, "raw", self.log.coordinates)

    def verified(self, archive: Archive | None = None) -> Report:
        """Verify the archive beside the tables, which are written now."""
        self.pair.write(*self._late)
        self._late.clear()
        return verify(self.pair.tables, [archive or self.archive()])

    def keys(self, index: int = A) -> list[str]:
        return self.store.list(chain.folder(self.log.partition(index)))


def kept_at(request: pytest.FixtureRequest, folder: Path, coordinates: Coordinates) -> Kept:
    if request.param == "folder":
        return Kept(Pair(str(folder / "lake"), coordinates))
    aws: TestAws = request.getfixturevalue("aws")
    uri = f"s3://{aws.bucket()}/lake"
    return Kept(Pair(uri, coordinates, aws.config, options_at(uri, aws.config)))


@pytest.fixture(params=["folder", "bucket"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    """Return an archive of a month: an object of each partition a day."""
    made = kept_at(request, tmp_path, KAFKA)
    for _ in range(15):
        made.write(A, B)
    return made


@pytest.fixture(params=[KAFKA, KINESIS], ids=lambda c: c.kind)
def each(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    """Return such an archive of a topic, and of a stream."""
    made = Kept(Pair(str(tmp_path / "lake"), request.param))
    for _ in range(15):
        made.write(A, B)
    return made


def test_objects_go_when_they_were_written_that_long_before_the_newest(kept: Kept) -> None:
    keys = kept.keys()
    assert kept.shorten() == 2 * 4  # written on day 0 to 3; the newest on day 14
    assert kept.keys() == keys[4:]
    assert kept.shorten() == 0
    assert kept.verified().findings == ()
    [first, *_] = kept.verified().chains
    assert (first.start, first.begins_late) == (kept.log.position(40), True)


def test_a_plan_removes_nothing_and_says_where_each_chain_will_begin(kept: Kept) -> None:
    keys = kept.keys()
    plans = kept.plan()
    assert kept.keys() == keys
    assert {p.begins for p in plans.values()} == {kept.log.position(40)}
    kept.shorten()
    assert kept.keys()[0] == keys[4]


def test_the_newest_object_stays_and_a_writer_goes_on_from_it(each: Kept) -> None:
    each.write(B)
    each.clock.advance(100 * DAY.total_seconds())
    each.write(B)
    each.shorten()
    assert len(each.keys(A)) == 1
    assert len(each.keys(B)) == 1
    found = each.sink().positions([each.log.partition(A)])
    assert found == {each.log.partition(A): each.log.position(15 * SIZE)}
    assert each.verified().findings == ()


def test_a_silent_archive_keeps_what_it_has(kept: Kept) -> None:
    kept.clock.advance(1000 * DAY.total_seconds())
    assert kept.shorten() == 2 * 4


def test_an_object_from_the_future_takes_nothing_with_it(kept: Kept) -> None:
    kept.aged.written[kept.keys(B)[-1]] = kept.clock.now() + 1000 * DAY
    assert kept.shorten() == 2 * 5  # by the clock of this machine, a day after the newest


def test_a_young_object_keeps_all_after_it(kept: Kept) -> None:
    keys = kept.keys()
    kept.aged.written[keys[1]] = kept.clock.now()  # as when it was restored from a backup
    kept.shorten()
    assert kept.keys() == keys[1:]


@pytest.mark.parametrize("killed", range(5))
def test_killed_between_two_removals_a_chain_has_no_hole(kept: Kept, killed: int) -> None:
    plan = {p: old for p, old in kept.plan().items() if p == kept.log.partition(A)}
    keys = kept.keys()
    kept.aged.killed = killed
    if killed < 4:
        with pytest.raises(KilledError):
            expire.remove(kept.store, plan.values())
    else:
        expire.remove(kept.store, plan.values())
    assert kept.keys() == keys[killed:]
    assert all(len(call) == 1 for call in kept.aged.removals)
    assert kept.verified().findings == ()
    assert walk(kept.store, kept.keys())[0].start == Position(killed * SIZE)
    kept.aged.killed = None
    kept.shorten()
    assert kept.keys() == keys[4:]


@pytest.mark.parametrize("index", [0, 2, 3])
def test_a_chain_that_is_broken_where_it_is_old_is_kept_whole(kept: Kept, index: int) -> None:
    keys = kept.keys()
    kept.store.remove([keys[index + 1]])
    left = kept.keys()
    old = kept.plan()[kept.log.partition(A)]
    assert old.keys == ()
    assert "does not begin where" in old.unknown
    kept.shorten()
    assert kept.keys() == left
    assert len(kept.keys(B)) == 11  # the other one is whole


def test_a_foreign_object_in_the_folder_is_no_newest_one(kept: Kept) -> None:
    name = f"{chain.folder(kept.log.partition(A))}zzz.txt"
    before = kept.keys()
    kept.aged.put_new(name, b"notes", {})
    kept.aged.written |= dict.fromkeys(before, kept.clock.now() - 20 * DAY)
    kept.shorten()
    assert kept.keys() == [*before, name]
    kept.store.remove([name])
    kept.shorten()
    assert kept.keys() == before[-1:]


def test_two_maintainers_at_once_leave_the_same(kept: Kept) -> None:
    first, keys = kept.plan(), kept.keys()
    kept.write(A, B)
    second = kept.plan()
    expire.remove(kept.store, second.values())
    expire.remove(kept.store, first.values())
    assert kept.keys()[0] == keys[5]
    assert kept.verified().findings == ()


# --- A writer that was paused


def test_a_writer_that_was_paused_does_not_take_the_name_of_a_removed_object(each: Kept) -> None:
    paused = each.sink()
    batch = each.log.batch({A: (each.end, each.end + 3)})
    taken = paused.prepare(batch)
    for _ in range(15):
        each.write(A, B)
    each.shorten()
    with pytest.raises(StalePosition):
        paused.commit([taken])
    assert each.verified().findings == ()
    at = paused.positions([each.log.partition(A)])
    assert at == {each.log.partition(A): each.log.position(30 * SIZE)}


def test_a_partition_that_was_idle_for_days_is_written_on(each: Kept) -> None:
    idle = each.sink()
    each.clock.advance(3 * DAY.total_seconds())
    idle.write(each.log.batch({A: (each.end, each.end + 3)}))
    assert len(each.keys(A)) == 16


# --- What reads the archive meanwhile


def test_verify_that_listed_before_does_not_miss_what_went_meanwhile(kept: Kept) -> None:
    archive = kept.archive()
    archive.look(["demo.pin"])
    kept.shorten()
    report = kept.verified(archive)
    assert report.findings == ()
    assert [(c.start, c.objects) for c in report.chains] == [(kept.log.position(40), 11)] * 2


@pytest.mark.parametrize("index", [5, 14])
def test_verify_misses_what_went_meanwhile_and_was_not_the_oldest(kept: Kept, index: int) -> None:
    archive = kept.archive()
    archive.look(["demo.pin"])
    kept.store.remove([kept.keys()[index]])
    kinds = {f.kind for f in kept.verified(archive).findings}
    assert kinds == {FindingKind.ARCHIVE} if index == 5 else {FindingKind.BEHIND}


@pytest.mark.parametrize("kept", ["bucket"], indirect=True)
def test_the_first_object_that_is_left_is_compared_with_the_ledger(kept: Kept) -> None:
    kept.shorten()
    key = kept.keys()[0]
    text = (kept.store.metadata(key) or {})[chain.KEY]
    body = kept.store.read(key)
    kept.store.remove([key])
    told = text.replace('"records": 10', '"records": 9')
    assert told != text
    kept.aged.put_new(key, body, {chain.KEY: told})
    assert [f.kind for f in kept.verified().findings] == [FindingKind.ARCHIVE]


@pytest.mark.parametrize(("before", "rows"), [(0, 110), (2, 130), (15, 150)])
def test_a_reread_compares_what_the_archive_still_has(each: Kept, before: int, rows: int) -> None:
    archive = each.archive()
    archive.look(["demo.pin"])
    partition = each.log.partition(A)
    comparison = Comparison([archive], {partition: None}, each.log.coordinates)
    for n in range(15):
        if n == before:
            each.shorten()
        comparison.write(each.log.batch({A: (SIZE * n, SIZE * (n + 1))}))
    assert comparison.findings() == []
    assert comparison.rows[archive.name] == rows


def test_rows_of_an_object_that_went_from_the_middle_are_missing(each: Kept) -> None:
    archive = each.archive()
    archive.look(["demo.pin"])
    each.store.remove([each.keys()[5]])
    partition = each.log.partition(A)
    comparison = Comparison([archive], {partition: None}, each.log.coordinates)
    comparison.write(each.log.batch({A: (0, 15 * SIZE)}))
    assert [f.kind for f in comparison.findings()] == [FindingKind.MISSING]


def test_the_rows_that_are_left_are_unchanged(each: Kept) -> None:
    whole = each.log.batch({A: (0, 15 * SIZE)}).raw
    each.shorten()
    end = each.log.position(15 * SIZE)
    assert end is not None
    stretches = {each.log.partition(A): Stretch(each.log.position(40), end)}
    found = each.archive().rows(stretches)
    wanted = whole.filter(each.log.coordinates.within(stretches))
    assert wanted.height == 110
    assert_frame_equal(found.select(wanted.columns), wanted, check_row_order=False)
