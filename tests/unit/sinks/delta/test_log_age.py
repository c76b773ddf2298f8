"""A table's log as it grows old: where checkpoints lie, a hint that lies, what is removed when."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from deltalake import DeltaTable, PostCommitHookProperties
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from audit.verify import verify
from core.batch import KAFKA, Position
from core.config import Aws
from core.errors import SinkError
from sinks.delta import cleanup, log, settled, table, watch
from sinks.delta.cleanup import CleanupPlan, DatedListing, listed, plan
from sinks.delta.commit_log import Hint
from sinks.delta.log import HINT, name_of, read_hint
from sinks.delta.target import Tables
from sinks.storage.protocol import Store
from sinks.storage.store import FolderStore, open_store
from tests.support.aws import TestAws
from tests.support.batches import APP, RecordLog
from tests.support.delta_logs import (
    checkpointed,
    clean_up,
    entries,
    in_threes,
    log_of,
    opened,
)
from tests.support.examples import examples
from tests.support.processes import until
from tests.support.sink_backends import DeltaBackend

LOG = RecordLog(KAFKA)
A = 0
P0 = LOG.partition(A)
START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
MONTH = timedelta(days=30)


def hint_of(backend: DeltaBackend, **changed: object) -> None:
    """Overwrite the hint."""
    path = log_of(backend) / "_last_checkpoint"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def checkpoint_is_deleted(backend: DeltaBackend) -> None:
    (log_of(backend) / f"{6:020d}.checkpoint.parquet").unlink()


def every_checkpoint_is_deleted(backend: DeltaBackend) -> None:
    for path in log_of(backend).glob("*.checkpoint.parquet"):
        path.unlink()


def checkpoint_is_empty(backend: DeltaBackend) -> None:
    (log_of(backend) / f"{6:020d}.checkpoint.parquet").write_bytes(b"")


def hint_beyond(backend: DeltaBackend) -> None:
    hint_of(backend, version=1_000_000)


def hint_far_beyond(backend: DeltaBackend) -> None:
    hint_of(backend, version=2**62)


def hint_at_no_checkpoint(backend: DeltaBackend) -> None:
    hint_of(backend, version=7)


def hint_of_three_parts(backend: DeltaBackend) -> None:
    hint_of(backend, parts=3)


def hint_is_cut(backend: DeltaBackend) -> None:
    path = log_of(backend) / "_last_checkpoint"
    path.write_bytes(path.read_bytes()[:15])


LIES = [
    checkpoint_is_deleted,
    every_checkpoint_is_deleted,
    checkpoint_is_empty,
    hint_beyond,
    hint_far_beyond,
    hint_at_no_checkpoint,
    hint_of_three_parts,
    hint_is_cut,
]


@pytest.mark.parametrize("lie", LIES)
def test_a_hint_that_lies_stops_neither_writer_nor_reader(
    tmp_path: Path, lie: Callable[[DeltaBackend], None]
) -> None:
    backend = checkpointed(tmp_path)
    running = opened(backend, A)
    lie(backend)
    running.write(LOG.batch({A: (24, 27)}))
    sink = opened(backend, A)
    assert sink.positions([P0]) == {P0: Position(27)}
    sink.write(LOG.batch({A: (27, 30)}))
    found = table.find(backend.store.uri, dict)
    assert found is not None
    assert found.version() == 10
    assert found.count() == LOG.batch({A: (0, 30)}).clean.height
    report = verify(Tables(backend.store.uri, str(tmp_path / "none"), dict, KAFKA, APP))
    assert {f.kind for f in report.findings} <= {"behind"}


def test_a_lost_checkpoint_is_named_in_the_log_of_the_program(tmp_path: Path) -> None:
    backend = checkpointed(tmp_path)
    checkpoint_is_deleted(backend)
    with capture_logs() as logs:
        table.find(backend.store.uri, dict)
    [line] = logs
    assert (line["event"], line["version"]) == ("last_checkpoint_is_gone", 6)


def test_a_hint_that_lies_in_a_bucket_stops_nobody(aws: TestAws) -> None:
    uri = f"s3://{aws.bucket()}/pin"
    backend = DeltaBackend(open_store(uri, aws.config), aws.storage_options, "clean", KAFKA)
    sink = opened(backend, A)
    in_threes(sink, range(3))
    lie = json.dumps({"version": 2, "size": 9}).encode()
    backend.store.put_new(HINT, lie, {})
    assert opened(backend, A).positions([P0]) == {P0: Position(9)}
    in_threes(sink, range(3, 4))
    assert opened(backend, A).positions([P0]) == {P0: Position(12)}


def test_a_lost_checkpoint_behind_a_clean_up_is_damage(tmp_path: Path) -> None:
    backend = checkpointed(tmp_path)
    clean_up(backend, left=(7, 8))
    every_checkpoint_is_deleted(backend)
    with pytest.raises(SinkError, match="names the checkpoint of version 6, which is gone"):
        table.find(backend.store.uri, dict)
    assert entries(backend) == [7, 8]


@pytest.mark.slow
def test_a_lying_hint_is_replaced_by_the_next_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = checkpointed(tmp_path)
    checkpoint_is_deleted(backend)
    monkeypatch.setattr(log, "CHECKPOINT_EVERY", 3)
    sink = opened(backend, A)
    in_threes(sink, range(8, 9))
    until(lambda: read_hint(backend.store) == Hint(9, hint_size(backend)), "a checkpoint")
    sink.close()


def hint_size(backend: DeltaBackend) -> int:
    found = read_hint(backend.store)
    return found.size if found else 0


# --- the distance


def written(commits: int) -> tuple[list[int], int]:
    """Return the versions of the checkpoints of so many commits, and how many files they list."""
    last: Hint | None = None
    found = []
    for version in range(1, commits + 1):
        if log.is_checkpoint_due(version, last):
            last = Hint(version, version + 6)
            found.append(version)
    return found, sum(found)


def test_all_checkpoints_together_grow_in_step_with_the_table() -> None:
    found, listed_ = written(100_000)
    assert listed_ < (log.CHECKPOINT_SHARE + 1) * 100_000
    assert found[:3] == [100, 200, 300]
    assert max(b - a for a, b in pairwise(found)) <= 100_000 / log.CHECKPOINT_SHARE


def test_a_checkpoint_that_failed_is_tried_again_every_hundred_commits() -> None:
    last = Hint(10_000, 9_600)
    due = [v for v in range(10_001, 10_801) if log.is_checkpoint_due(v, last)]
    assert due == [10_300, 10_400, 10_500, 10_600, 10_700, 10_800]
    assert log.is_checkpoint_due(10_100, Hint(10**6, 5))  # of another table: as if there were none


# --- what goes


def files(entries_: range, *checkpoints_: int, each: timedelta = DAY) -> DatedListing:
    """List a log whose version n was written n times `each` after START."""
    names = [(name_of(v), START + v * each) for v in entries_]
    points = [(name_of(v, "checkpoint.parquet"), START + v * each) for v in checkpoints_]
    return listed([*names, *points])


def test_what_a_checkpoint_replaces_goes_when_it_is_older_than_the_retention() -> None:
    log = files(range(101), 10, 40, 69, 80, 100)
    found = plan(log, MONTH)
    assert found.base == 69
    gone = [key for keys in cleanup.keys_of(log, found) for key in keys]
    assert gone[-1] == name_of(68)
    assert set(gone) == {name_of(v) for v in range(69)} | {
        name_of(v, "checkpoint.parquet") for v in (10, 40)
    }


@pytest.mark.parametrize(
    "log",
    [
        files(range(101), 10, 20),
        files(range(101), 100),
        files(range(0), 10, 20, 30),
        files(range(101), 80, 90, 100),
        listed([(name_of(v), START + v * DAY) for v in range(99)]),
    ],
)
def test_without_an_old_and_two_newer_checkpoints_no_entry_goes(log: DatedListing) -> None:
    assert plan(log, MONTH).base == 0


@pytest.mark.parametrize(
    "name",
    [
        f"{5:020d}.checkpoint.0a.parquet",
        f"{5:020d}.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.json",
        f"{1:020d}.{5:020d}.compacted.json",
        "something",
    ],
)
def test_a_log_with_files_of_another_kind_is_left_alone(name: str) -> None:
    known = [(name_of(v), START + v * DAY) for v in range(101)]
    points = [(name_of(v, "checkpoint.parquet"), START + v * DAY) for v in (10, 40, 69, 90)]
    assert plan(listed([*known, *points]), MONTH).base == 69
    assert plan(listed([*known, *points, (f"_delta_log/{name}", START)]), MONTH) == CleanupPlan()


def test_a_checkpoint_of_which_a_part_is_missing_replaces_nothing() -> None:
    known = [(name_of(v), START + v * DAY) for v in range(101)]
    points = [(name_of(v, "checkpoint.parquet"), START + v * DAY) for v in (10, 90, 95)]
    parts = [name_of(60, f"checkpoint.{n:010d}.{2:010d}.parquet") for n in (1, 2)]
    for there, base in ((1, 10), (2, 60)):
        some = [(name, START + 60 * DAY) for name in parts[:there]]
        assert plan(listed([*known, *points, *some]), MONTH).base == base


def test_of_a_day_s_checkpoints_the_newest_two_and_the_first_stay() -> None:
    log = files(range(1001), 100, 200, 300, 400, 900, 1000, each=timedelta(minutes=1))
    assert plan(log, MONTH) == CleanupPlan(0, (200, 300))  # 400 was superseded a moment ago


@settings(max_examples=examples(200), deadline=None)
@given(
    st.integers(1, 400),
    st.sets(st.integers(0, 400), max_size=20),
    st.integers(0, 60),
    st.sampled_from([timedelta(hours=1), timedelta(hours=7), DAY]),
)
def test_every_version_since_the_base_can_still_be_read(
    last: int, points: set[int], lost: int, each: timedelta
) -> None:
    there = sorted(p for p in points if p <= last)
    first = max([p for p in there if p <= lost], default=0)  # another engine removed before it
    log = files(range(first, last + 1), *[p for p in there if p >= first], each=each)
    found = plan(log, MONTH)
    left = {p for p in log.checkpoints if p >= found.base} - set(found.thinned)
    begins = {v for v in log.entries if v >= found.base}
    for version in range(max(first, found.base), last + 1):
        starts = [p for p in left if p <= version] + ([-1] if first == found.base == 0 else [])
        assert any(set(range(p + 1, version + 1)) <= begins for p in starts)
    newest = sorted(log.checkpoints)[-2:]
    assert set(newest) <= left


def age(backend: DeltaBackend, days: int, *versions: int) -> None:
    """Set the age of the log files of these versions to `days`."""
    for version in versions:
        for path in log_of(backend).glob(f"{version:020d}.*"):
            then = path.stat().st_mtime - days * 86_400
            os.utime(path, (then, then))


def renew(store: Store, retention: timedelta = MONTH) -> int:
    """Clean up as after a checkpoint; return how many files went."""
    return cleanup.clean_up(store, retention, lambda base: settled.keep(store, base), lambda: False)


def test_expired_entries_go_and_verify_proves_the_table_as_before(tmp_path: Path) -> None:
    backend = checkpointed(tmp_path, versions=(3, 6, 8, 9), last=10)
    nothing = LOG.without_rows({A: (30, 40)})  # offsets that gave no rows: only the ledger knows
    opened(backend, A).write(nothing)
    opened(backend, A).write(LOG.batch({A: (40, 43)}))
    table.checkpoint(backend.store.uri, dict)
    opened(backend, A).write(LOG.batch({A: (43, 46)}))
    table.checkpoint(backend.store.uri, dict)
    tables = Tables(backend.store.uri, str(tmp_path / "none"), dict, KAFKA, APP)
    before = verify(tables)
    age(backend, 40, *range(13))
    assert renew(backend.store) > 12
    assert entries(backend) == [12, 13]
    after = verify(tables)
    assert (after.findings, after.tallies) == (before.findings, before.tallies)
    assert opened(backend, A).positions([P0]) == {P0: Position(46)}


def test_rows_that_vanish_after_their_entries_are_still_missed(tmp_path: Path) -> None:
    backend = checkpointed(tmp_path, versions=(3, 6, 7), last=8)
    age(backend, 40, *range(7))
    assert renew(backend.store)
    assert entries(backend) == [6, 7, 8]
    keeping = PostCommitHookProperties(cleanup_expired_logs=False)
    DeltaTable(backend.store.uri).delete("_offset = 4", post_commithook_properties=keeping)
    tables = Tables(backend.store.uri, str(tmp_path / "none"), dict, KAFKA, APP)
    assert "missing" in {f.kind for f in verify(tables).findings}


def test_another_engine_s_clean_up_finds_the_ledger_settled(tmp_path: Path) -> None:
    backend = checkpointed(tmp_path, versions=(3, 6, 7), last=8)
    age(backend, 20, *range(8))
    assert renew(backend.store) == 0
    age(backend, 20, *range(6))
    DeltaTable(backend.store.uri).delete("_offset = 4")
    assert entries(backend) == [6, 7, 8, 9]
    tables = Tables(backend.store.uri, str(tmp_path / "none"), dict, KAFKA, APP)
    assert "missing" in {f.kind for f in verify(tables).findings}


def test_a_settled_ledger_goes_on_from_the_last_one(tmp_path: Path) -> None:
    backend = checkpointed(tmp_path, versions=(3, 6), last=8)
    settled.keep(backend.store, 3)
    settled.keep(backend.store, 6)
    found = settled.newest(backend.store)
    [own] = found.ranges[APP]
    assert (found.base, own.start, own.end, own.read) == (6, None, Position(15), 15)
    settled.keep(backend.store, 5)
    assert settled.newest(backend.store) == found


def test_a_writer_that_slept_through_a_clean_up_is_stale_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = checkpointed(tmp_path, versions=(3,), last=4)
    sleeper = opened(backend, 1)
    owner = opened(backend, A)
    in_threes(owner, range(4, 8))
    for _ in range(3):
        table.checkpoint(backend.store.uri, dict)
        in_threes(owner, range(entries(backend)[-1], entries(backend)[-1] + 1))
    age(backend, 40, *range(9))
    assert renew(backend.store)
    assert entries(backend)[0] == 8
    monkeypatch.setattr(watch, "PAUSE_S", -1.0)
    sleeper.write(LOG.batch({1: (0, 3)}))
    assert opened(backend).positions([LOG.partition(1)]) == {LOG.partition(1): Position(3)}


def test_a_bucket_s_log_is_cleaned_up_too(aws: TestAws) -> None:
    store = open_store(f"s3://{aws.bucket()}/lake/pin", aws.config)
    names = [name_of(v) for v in range(4)] + [name_of(v, "checkpoint.parquet") for v in range(4)]
    for name in names:
        store.put_new(name, b"{}", {})
    assert {key for key, _ in store.scan("_delta_log/")} == {*names}
    gone: list[int] = []
    cleanup.clean_up(store, timedelta(0) - DAY, gone.append, lambda: False)
    assert gone == [2]
    assert store.list("_delta_log/") == sorted(names[2:4] + names[6:])


def test_a_right_that_is_missing_is_named(aws: TestAws, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(f"s3://{aws.bucket()}/lake/pin", aws.config)
    refused = {"Errors": [{"Key": "k", "Code": "AccessDenied"}]}
    monkeypatch.setattr(store._client, "delete_objects", lambda **_: refused)  # type: ignore[attr-defined]
    with pytest.raises(SinkError, match="AccessDenied") as said:
        store.remove(["_delta_log/k"])
    assert "s3:DeleteObject" in said.value.hint


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (None, MONTH),
        ("interval 30 days", MONTH),
        ("interval 1 week", timedelta(weeks=1)),
        ("INTERVAL 2 hours 5 minutes", timedelta(hours=2, minutes=5)),
        ("30 days", MONTH),
        ("interval 1 month", None),
        ("interval", None),
        ("soon", None),
        ("interval 1 day and more", None),
    ],
)
def test_the_retention_is_understood_or_nothing_is_removed(
    text: str | None, wanted: timedelta | None
) -> None:
    assert cleanup.period(text) == wanted


def test_a_folder_s_store_removes_what_is_there_and_passes_over_what_is_not(tmp_path: Path) -> None:
    store = open_store(str(tmp_path), Aws())
    assert isinstance(store, FolderStore)
    store.put_new("_delta_log/a", b"", {})
    store.remove(["_delta_log/a", "_delta_log/b"])
    assert list(store.scan("_delta_log/")) == []
