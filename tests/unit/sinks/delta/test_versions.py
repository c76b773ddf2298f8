"""Commits and rejects name the transform's version and pinpip's; older tables are continued."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from audit.locate import locate
from audit.snapshot import Snapshot
from core import __version__
from core.batch import KAFKA, Batch, Position, Stretch
from core.clock import SystemClock
from sinks.delta.sink import DeltaSink
from sinks.delta.target import DeltaTarget
from sinks.storage.store import FolderStore
from tests.support.batches import APP, RecordLog, delta_target

LOG = RecordLog(KAFKA)
P0 = LOG.partition(0)


def made(first: int, last: int, version: str) -> Batch:
    """Return what today's processor makes of ten records."""
    batch = LOG.batch({0: (first, last)})
    rejected = batch.rejected.with_columns(
        transform_version=pl.lit(version), pinpip_version=pl.lit(__version__)
    )
    return replace(batch, rejected=rejected, transform_version=version)


def write(target: DeltaTarget, batch: Batch) -> None:
    with closing(DeltaSink("any", target, FolderStore(Path(target.uri)), SystemClock())) as sink:
        sink.positions([P0])
        sink.write(batch)


def snapshot(folder: Path, stage: str) -> Snapshot:
    return Snapshot(str(folder / stage), stage, dict, KAFKA, APP, "")  # type: ignore[arg-type]


@pytest.fixture
def old(tmp_path: Path) -> DeltaTarget:
    """Write ten records to a quarantine as version 0.1 did; return today's target of it."""
    before = delta_target(str(tmp_path / "rejected"), dict, KAFKA, "rejected")
    write(before, LOG.batch({0: (0, 10)}))
    return today(before)


def today(target: DeltaTarget) -> DeltaTarget:
    return replace(target, schema=pl.Schema({**target.schema, "pinpip_version": pl.String()}))


def test_a_quarantine_of_an_earlier_version_is_continued_as_it_is(
    tmp_path: Path, old: DeltaTarget
) -> None:
    write(old, made(10, 20, "3"))
    rows = pl.read_delta(old.uri).sort("_offset")
    assert rows["_offset"].to_list() == [0, 3, 6, 9, 12, 15, 18]
    assert rows["transform_version"].to_list() == ["1"] * 4 + ["3"] * 3
    assert "pinpip_version" not in rows.columns
    assert snapshot(tmp_path, "rejected").rows({P0: Stretch(None, Position(20))}).height == 7


def test_a_new_quarantine_has_both_versions(tmp_path: Path) -> None:
    target = today(delta_target(str(tmp_path / "rejected"), dict, KAFKA, "rejected"))
    write(target, made(0, 10, "3"))
    rows = pl.read_delta(target.uri)
    assert rows.select("transform_version", "pinpip_version").unique().rows() == [
        ("3", __version__)
    ]


def test_a_commit_names_both_versions(tmp_path: Path) -> None:
    target = delta_target(str(tmp_path / "clean"), dict, KAFKA, "clean")
    write(target, LOG.batch({0: (0, 10)}))
    write(target, made(10, 20, "2026-11"))
    sides = snapshot(tmp_path, "clean"), snapshot(tmp_path, "rejected")
    entries = [entry for _, entry in sides[0].commits()]
    assert [(e.transform_version, e.version) for e in entries] == [
        ("2026-11", __version__),
        (None, __version__),
    ]
    found = locate(*sides, [], P0, Stretch(Position(13), Position(14)))
    assert (found.transform_version, found.pinpip_version) == ("2026-11", __version__)
