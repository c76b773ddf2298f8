"""`keep` of an archive, as operators meet it: maintain, verify and replays of what is left."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from typer.testing import CliRunner, Result

from consumers.window import Window
from core.batch import KINESIS, Partition
from core.clock import SystemClock
from core.config import Config
from core.errors import ConfigError, RecordsExpired, SourceError
from core.pipeline import ParquetSection
from pinpip import configfile
from pinpip.cli import app
from pinpip.connectors.archive import replay
from pinpip.maintain import maintain
from pinpip.upkept import Upkeep
from sinks.parquet import chain
from sinks.storage.s3 import S3Store
from sinks.storage.store import FolderStore, open_store
from tests.support import logs
from tests.support.archive_backend import STARTED, ArchiveBackend
from tests.support.board_lake import TOPIC, BoardLake, Member, lake_of, write

BOTH = pytest.mark.parametrize("lake", ["folder", "bucket"], indirect=True)
P0 = Partition(TOPIC, "0")
EACH = 4  # records of an object
OLD = timedelta(days=500)


@pytest.fixture
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> BoardLake:
    """Return a lake whose archive has six objects of one partition, the first three of them old."""
    plain = lake_of(request, tmp_path)
    place = plain.root.removesuffix("lake") + "archive"
    made = replace(plain, archives=(archive(place),))
    member = Member(made.config())
    for n in range(6):
        member.write(*[{"id": n * 10 + k, "title": "board"} for k in range(EACH)])
    member.close()
    age(made, keys(made)[:3], request.getfixturevalue("monkeypatch"))
    return made


def archive(place: str, **more: Any) -> dict[str, Any]:
    return {"parquet": place, "flush": {"seconds": 0}, "keep": "400d"} | more


def age(lake: BoardLake, names: list[str], patched: pytest.MonkeyPatch) -> None:
    """Let these objects be written long ago."""
    root = lake.archives[0]["parquet"]
    if "://" not in root:
        for name in names:
            then = (Path(root) / name).stat().st_mtime - OLD.total_seconds()
            os.utime(Path(root) / name, (then, then))
        return
    scanned = S3Store.scan

    def scan(store: S3Store, folder: str) -> Iterator[tuple[str, datetime]]:
        for key, at in scanned(store, folder):
            yield key, at - OLD if key in names else at

    patched.setattr(S3Store, "scan", scan)


def keys(lake: BoardLake) -> list[str]:
    store = open_store(lake.archives[0]["parquet"], lake.config().aws)
    return store.list(chain.folder(P0))


def run(lake: BoardLake, **options: Any) -> Upkeep:
    [*_, last] = maintain(lake.config(), "boards", SystemClock(), **options)
    return last


def invoke(lake: BoardLake, *words: str) -> Result:
    try:
        return CliRunner().invoke(app, ["-c", str(lake.path()), *words])
    finally:
        logs.reset()


def replayed(lake: BoardLake, into: str, *options: str) -> dict[str, Any]:
    done = invoke(lake, "replay", "boards", "--into", into, "--from-archive", "--json", *options)
    assert done.exit_code == 0, done.output
    [row] = json.loads(done.stdout.strip().splitlines()[-1])
    return dict(row)


@BOTH
def test_maintain_has_a_row_for_the_archive_and_removes_what_is_old(lake: BoardLake) -> None:
    before = keys(lake)
    plan = run(lake, dry_run=True)
    assert (plan.kind, plan.files, plan.removed) == ("archive", 6, 3)
    assert plan.notes == ["without these objects demo.boards/0 begins at 12"]
    assert keys(lake) == before
    done = run(lake)
    assert (done.table, done.files, done.removed) == (lake.archives[0]["parquet"], 3, 3)
    assert keys(lake) == before[3:]
    assert run(lake).removed == 0


@BOTH
def test_a_consumer_goes_on_after_the_retention(lake: BoardLake) -> None:
    run(lake)
    write(lake.config(), {"id": 100, "title": "later"})
    assert len(keys(lake)) == 4
    assert lake.rows().height == 6 * EACH + 1


@BOTH
def test_verify_says_from_where_the_archive_holds_records(lake: BoardLake) -> None:
    before = invoke(lake, "verify", "--offline")
    assert before.exit_code == 0, before.output
    assert "no longer has" not in " ".join(before.stdout.split())
    run(lake)
    done = invoke(lake, "verify", "--offline")
    assert done.exit_code == 0, done.output
    told = " ".join(done.stdout.split())
    assert "the archive of boards no longer has: demo.boards/0 before 12 (not known)" in told
    found = json.loads(invoke(lake, "verify", "--offline", "--json").stdout)
    [counts] = found[0]["archives"]
    assert (counts["begins_late"], counts["start"], counts["records"]) == (True, 12, 12)


def test_an_archive_without_keep_is_left_alone(lake: BoardLake) -> None:
    own = {key: value for key, value in lake.archives[0].items() if key != "keep"}
    forever = replace(lake, archives=(own,))
    assert [one.kind for one in maintain(forever.config(), "boards", SystemClock())] == [
        "table",
        "table",
    ]
    assert len(keys(lake)) == 6


def test_other_pipelines_objects_in_the_same_place_stay(lake: BoardLake) -> None:
    root = Path(lake.archives[0]["parquet"])
    other = root / "demo.pin" / "partition=0"
    other.mkdir(parents=True)
    for name in keys(lake):
        copy = other / name.rpartition("/")[2].replace("demo.boards", "demo.pin")
        copy.write_bytes((root / name).read_bytes())
        os.utime(copy, (0, 0))
    run(lake)
    assert len(list(other.iterdir())) == 6


def test_the_clean_stage_is_kept_as_long(tmp_path: Path) -> None:
    plain = BoardLake(tmp_path, str(tmp_path / "lake"))
    place = str(tmp_path / "clean")
    lake = replace(plain, archives=(archive(place, stage="clean"),))
    for n in range(3):
        write(lake.config(), {"id": n, "title": "board"})
    with pytest.MonkeyPatch.context() as patched:
        age(lake, keys(lake)[:1], patched)
    assert run(lake).removed == 1
    assert invoke(lake, "verify", "--offline").exit_code == 0


# --- Replays of what is left


@BOTH
def test_a_replay_without_bounds_says_what_the_archive_no_longer_has(lake: BoardLake) -> None:
    whole = replayed(lake, "before")
    assert (whole["clean"], whole["expired"], whole["remark"]) == (24, 0, "")
    run(lake)
    row = replayed(lake, "after")
    assert (row["clean"], row["expired"]) == (12, None)
    assert row["partitions"] == [
        {"partition": "demo.boards/0", "first_offset": 12, "expired": None}
    ]
    assert row["remark"] == "the archive no longer has its first objects: demo.boards/0 at 12"


def test_people_are_told_the_same(lake: BoardLake) -> None:
    run(lake)
    done = invoke(lake, "replay", "boards", "--into", "after", "--from-archive")
    assert "the archive no longer has its first objects: demo.boards/0 at 12" in done.stdout
    assert "not known: how many records of the range retention has taken" in done.stdout


def test_a_range_that_begins_before_the_archive_is_refused(lake: BoardLake) -> None:
    run(lake)
    words = ("replay", "boards", "--into", "x", "--from-archive", "--from-offset")
    refused = invoke(lake, *words, "11")
    assert isinstance(refused.exception, RecordsExpired)
    assert "1 of demo.boards/0 before 12" in refused.exception.message
    assert replayed(lake, "x", "--from-offset", "12")["clean"] == 12
    assert replayed(lake, "y", "--until-offset", "14")["expired"] == 12


def test_a_replay_in_place_of_more_than_the_archive_has_changes_nothing(lake: BoardLake) -> None:
    run(lake)
    before, version = lake.rows(), lake.table().version()
    refused = invoke(lake, "replay", "boards", "--replace", "--from-archive")
    assert isinstance(refused.exception, SourceError)
    assert "some have expired" in refused.exception.message
    assert "the archive no longer has its first objects" in refused.stdout
    assert lake.rows().equals(before)
    assert lake.table().version() == version
    done = invoke(lake, "replay", "boards", "--replace", "--from-archive", "--from-offset", "12")
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("gone", [2, 6])
def test_a_replay_that_listed_before_says_so_or_reads_what_is_left(
    lake: BoardLake, monkeypatch: pytest.MonkeyPatch, gone: int
) -> None:
    """Objects go between the listing and the reading of their metadata."""
    root = Path(lake.archives[0]["parquet"])
    names, linked = keys(lake), chain.links

    def links(store: Any, found: Any) -> Any:
        for name in names[:gone]:
            (root / name).unlink(missing_ok=True)
        return linked(store, found)

    monkeypatch.setattr("sinks.parquet.walk.links", links)
    done = invoke(lake, "replay", "boards", "--into", "x", "--from-archive", "--json")
    if gone == 6:
        assert isinstance(done.exception, SourceError)
        assert "was removed since it was listed" in done.exception.message
        return
    [row] = json.loads(done.stdout)
    assert (row["clean"], row["partitions"][0]["first_offset"]) == (16, 8)


@pytest.mark.parametrize(
    ("since", "gone"), [(None, True), (STARTED, True), (STARTED + timedelta(hours=1), False)]
)
def test_a_stream_whose_archive_begins_late_says_so(
    tmp_path: Path, since: datetime | None, *, gone: bool
) -> None:
    config = stream(tmp_path)
    backend = ArchiveBackend(FolderStore(tmp_path / "archive"), KINESIS)
    backend.fill([b"{}"] * 400)
    first, *_, last = backend.partitions
    for partition in (first, last):
        backend.store.remove(backend.store.list(chain.folder(partition))[:1])
    found = replay(config, "pin", Window(since=since), lambda _: {}, SystemClock())
    begin = backend.pieces(first)[0].start
    rows = [{"partition": "demo.user", "first_offset": None, "expired": None}]
    assert found.lacking() == (rows if gone else [])
    assert f"{first} at {begin.number}.{begin.sub}, {last} at " in found.remark
    found.source.close()


def stream(folder: Path) -> Config:
    """Return the configuration of a pipeline that archives a stream."""
    pipeline = {
        "source": {"stream": "demo.user"},
        "schema": "transforms.pin:SCHEMA",
        "transform": "transforms.pin:clean",
        "sinks": [{"delta": "pin"}, {"parquet": str(folder / "archive"), "keep": "400d"}],
    }
    tree = {"id": "demo", "lake": {"root": str(folder / "lake")}, "pipelines": {"pin": pipeline}}
    path = folder / "config.yaml"
    tree |= {"kafka": {"bootstrap.servers": "127.0.0.1:1"}}
    path.write_text(yaml.safe_dump(tree), "utf-8")
    return configfile.load(path, {})


# --- The configuration


@pytest.mark.parametrize("keep", ["1d", "167h", "0d"])
def test_a_keep_below_a_week_is_refused(lake: BoardLake, keep: str) -> None:
    short = replace(lake, archives=(archive("archive", keep=keep),))
    with pytest.raises(ConfigError, match="must be a week at least") as told:
        short.config()
    assert "keep" in str(told.value)


def test_nothing_is_removed_unless_it_is_asked_for() -> None:
    assert ParquetSection(parquet="archive").keep is None


def test_rows_of_the_archive_are_as_before(lake: BoardLake) -> None:
    root = Path(lake.archives[0]["parquet"])
    before = pl.read_parquet(root / "demo.boards/*/*.parquet").sort("_offset")
    run(lake)
    after = pl.read_parquet(root / "demo.boards/*/*.parquet").sort("_offset")
    assert after.equals(before.filter(pl.col("_offset") >= 12))
