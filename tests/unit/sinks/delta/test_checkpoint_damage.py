"""Checkpoints that cannot be read, in a folder and a bucket: what the rest of the log replaces."""

import io
import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from structlog.testing import capture_logs

from core.batch import KAFKA, Position
from core.errors import SinkError
from sinks.delta import listing, log, table, txns
from sinks.delta.commit_log import Hint
from sinks.delta.log import name_of
from sinks.storage.protocol import Store
from sinks.storage.store import of_table, open_store
from tests.support.batches import APP, RecordLog
from tests.support.delta_logs import (
    by_the_second_specification,
    checkpointed,
    in_folder,
    in_threes,
    opened,
)
from tests.support.processes import until
from tests.support.recorded_aws import RecordedAws, recorded_aws
from tests.support.sink_backends import DeltaBackend

LOG = RecordLog(KAFKA)
A = 0
P0 = LOG.partition(A)
OWN = f"{APP}/{P0}"
POINT = name_of(6, "checkpoint.parquet")
UUID = "80a083e8-7026-4e79-81be-64bd76c43a11"
Damage = Callable[[Store], None]
Lake = Callable[..., DeltaBackend]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a table of eight commits of three records; checkpoint the third and the sixth."""
    folder = tmp_path_factory.mktemp("template")
    return Path(checkpointed(folder, versions=(3, 6)).store.uri)


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.moto)])
def lake(request: pytest.FixtureRequest, template: Path, tmp_path: Path) -> Lake:
    """Copy the table with the checkpoints of some versions."""

    def make(*versions: int) -> DeltaBackend:
        backend = in_folder(tmp_path / "pin")
        if request.param == "bucket":
            aws = request.getfixturevalue("aws")
            store = open_store(f"s3://{aws.bucket()}/pin", aws.config)
            backend = DeltaBackend(store, aws.storage_options, "clean", KAFKA)
        for path in sorted(path for path in template.rglob("*") if path.is_file()):
            backend.store.put_new(path.relative_to(template).as_posix(), path.read_bytes(), {})
        for version in {3, 6} - set(versions):
            backend.store.remove([name_of(version, "checkpoint.parquet")])
        if 6 not in versions:
            backend.store.remove([log.HINT])
        return backend

    return make


IN_A_FOLDER = pytest.mark.parametrize("lake", ["folder"], indirect=True)


def replace(store: Store, key: str, body: bytes) -> None:
    store.remove([key])
    assert store.put_new(key, body, {})


def actions(store: Store) -> pl.DataFrame:
    return pl.read_parquet(store.read(POINT))


def stored(frame: pl.DataFrame) -> bytes:
    body = io.BytesIO()
    frame.write_parquet(body)
    return body.getvalue()


def hinted(store: Store, **more: object) -> None:
    replace(store, log.HINT, json.dumps({"version": 6, "size": 9, **more}).encode())


def cut_off(store: Store) -> None:
    replace(store, POINT, store.read(POINT)[:-100])


def all_zeros(store: Store) -> None:
    replace(store, POINT, bytes(len(store.read(POINT))))


def a_page_of_zeros(store: Store) -> None:
    body = store.read(POINT)
    replace(store, POINT, body[:4] + bytes(len(body) // 3) + body[4 + len(body) // 3 :])


def empty(store: Store) -> None:
    replace(store, POINT, b"")


def no_parquet(store: Store) -> None:
    replace(store, POINT, b"<html>502 Bad Gateway</html>")


def another_schema(store: Store) -> None:
    replace(store, POINT, stored(pl.DataFrame({"x": [1]})))


def no_actions(store: Store) -> None:
    replace(store, POINT, stored(actions(store)[:0]))


def without_the_last_rows(store: Store) -> None:
    replace(store, POINT, stored(actions(store)[:-2]))


def parts(store: Store, *bodies: bytes) -> None:
    store.remove([POINT])
    for n, body in enumerate(bodies, 1):
        store.put_new(name_of(6, f"checkpoint.{n:010d}.{2:010d}.parquet"), body, {})
    hinted(store, parts=2)


def a_part_is_missing(store: Store) -> None:
    parts(store, stored(actions(store)[:3]))


def a_part_is_cut_off(store: Store) -> None:
    parts(store, stored(actions(store)), stored(actions(store)[3:])[:-9])


def no_json(store: Store) -> None:
    store.remove([POINT])
    store.put_new(name_of(6, f"checkpoint.{UUID}.json"), b'{"checkpointMetadata":{"ver', {})
    hinted(store)


def a_second_one_is_cut_off(store: Store) -> None:
    store.put_new(name_of(6, f"checkpoint.{UUID}.parquet"), store.read(POINT)[:-100], {})


def one_before_is_damaged_as_well(store: Store) -> None:
    cut_off(store)
    replace(store, name_of(3, "checkpoint.parquet"), b"PAR1")


DAMAGES: list[Damage] = [
    cut_off,
    all_zeros,
    a_page_of_zeros,
    empty,
    no_parquet,
    another_schema,
    no_actions,
    without_the_last_rows,
    a_part_is_missing,
    a_part_is_cut_off,
    no_json,
    a_second_one_is_cut_off,
    one_before_is_damaged_as_well,
]


@pytest.mark.parametrize(
    ("lake", "damage"),
    [("folder", damage) for damage in DAMAGES]
    + [
        pytest.param("bucket", damage, marks=pytest.mark.moto)
        for damage in (cut_off, a_part_is_cut_off, no_json)
    ],
    indirect=["lake"],
)
def test_a_damaged_checkpoint_stops_nobody_while_the_log_says_the_same(
    lake: Lake, damage: Damage
) -> None:
    backend = lake(3, 6)
    held = table.find_to_write(backend.store.uri, backend.options)
    damage(backend.store)
    if held is not None:
        assert txns.read(held, backend.options)[OWN].version == 24  # of a table that is open
    found = table.find_to_write(backend.store.uri, backend.options)
    assert found is not None
    assert (found.version(), found.count()) == (8, LOG.batch({A: (0, 24)}).clean.height)
    sink = opened(backend, A)
    assert sink.positions([P0]) == {P0: Position(24)}
    sink.write(LOG.batch({A: (24, 27)}))
    assert opened(backend, A).positions([P0]) == {P0: Position(27)}


@IN_A_FOLDER
def test_who_only_reads_removes_no_checkpoint_and_names_who_does(lake: Lake) -> None:
    backend = lake(3, 6)
    cut_off(backend.store)
    before = backend.store.list("_delta_log/")
    with pytest.raises(SinkError) as told:
        table.find(backend.store.uri, backend.options)
    assert "start its consumer" in told.value.hint
    assert backend.store.list("_delta_log/") == before


@pytest.mark.parametrize("hint_is_there", [True, False])
def test_the_removal_of_a_damaged_checkpoint_is_one_line_of_the_log(
    lake: Lake, *, hint_is_there: bool
) -> None:
    backend = lake(3, 6)
    cut_off(backend.store)
    if not hint_is_there:
        backend.store.remove([log.HINT])
    with capture_logs() as lines:
        table.find_to_write(backend.store.uri, backend.options)
        table.find_to_write(backend.store.uri, backend.options)
    assert [(line["event"], line["version"]) for line in lines] == [
        ("damaged_checkpoint_removed", 6)
    ]
    assert [c.at for c in listing.listed(backend.store).checkpoints] == [3]


def refuses_and_removes_nothing(backend: DeltaBackend) -> None:
    before = backend.store.list("_delta_log/")
    with pytest.raises(SinkError, match="the log of table"):
        table.find_to_write(backend.store.uri, backend.options)
    assert backend.store.list("_delta_log/") == before


@IN_A_FOLDER
@pytest.mark.parametrize("damage", [cut_off, all_zeros, another_schema])
def test_a_damaged_checkpoint_that_nothing_replaces_is_an_error_and_stays(
    lake: Lake, damage: Damage
) -> None:
    backend = lake(6)
    damage(backend.store)
    backend.store.remove([name_of(n) for n in range(3)])
    refuses_and_removes_nothing(backend)


@IN_A_FOLDER
def test_a_hole_behind_the_older_checkpoint_is_an_error_and_nothing_goes(lake: Lake) -> None:
    backend = lake(3, 6)
    cut_off(backend.store)
    backend.store.remove([name_of(5)])
    refuses_and_removes_nothing(backend)


@IN_A_FOLDER
def test_a_damaged_entry_removes_no_checkpoint(lake: Lake) -> None:
    backend = lake(3, 6)
    replace(backend.store, name_of(7), b'{"add":')
    refuses_and_removes_nothing(backend)


def test_a_damaged_checkpoint_that_may_not_be_removed_is_named_with_the_way_on(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = lake(3, 6)
    cut_off(backend.store)

    def refused(*_: object) -> None:
        raise SinkError("AccessDenied", "grant it")

    monkeypatch.setattr(type(backend.store), "remove", refused)
    with pytest.raises(SinkError, match="is damaged and cannot be removed: AccessDenied") as told:
        table.find_to_write(backend.store.uri, backend.options)
    assert POINT in told.value.hint


@IN_A_FOLDER
@pytest.mark.parametrize("damage", [cut_off, a_part_is_missing])
@pytest.mark.slow
def test_the_next_checkpoint_takes_the_place_of_a_damaged_one(
    lake: Lake, damage: Damage, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = lake(3, 6)
    monkeypatch.setattr(log, "CHECKPOINT_EVERY", 3)
    sink = opened(backend, A)
    damage(backend.store)
    with closing(sink):
        in_threes(sink, range(8, 9))
        until(lambda: (log.read_hint(backend.store) or Hint(0, 0)).version == 9, "a checkpoint")
    assert DeltaTable(backend.store.uri, storage_options=backend.options()).version() == 9


# --- the listing and the reader of application ids


def in_two_parts(store: Store) -> None:
    parts(store, stored(actions(store)[:3]), stored(actions(store)[3:]))


def without_a_column_for_ids(store: Store) -> None:
    replace(store, POINT, stored(actions(store).drop("txn")))


def no_checkpoint(store: Store) -> None:
    store.remove([POINT, name_of(3, "checkpoint.parquet"), log.HINT])


@pytest.mark.parametrize("change", [in_two_parts, no_checkpoint], ids=lambda d: d.__name__)
@pytest.mark.parametrize("version", [5, 6, 8])
def test_application_ids_are_read_as_of_a_version(lake: Lake, change: Damage, version: int) -> None:
    backend = lake(3, 6)
    change(backend.store)
    held = DeltaTable(backend.store.uri, version, storage_options=backend.options())
    assert txns.versions(held, backend.options)(OWN) == 3 * version
    assert held.transaction_version(OWN) == 3 * version


@IN_A_FOLDER
def test_a_checkpoint_may_have_no_column_for_ids(lake: Lake) -> None:
    backend = lake(6)
    without_a_column_for_ids(backend.store)
    held = DeltaTable(backend.store.uri, storage_options=backend.options())
    assert txns.versions(held, backend.options)(OWN) == held.transaction_version(OWN) == 24


def test_ids_that_no_file_tells_any_more_are_an_error(lake: Lake) -> None:
    backend = lake(6)
    held = DeltaTable(backend.store.uri, storage_options=backend.options())
    backend.store.remove([name_of(7)])
    with pytest.raises(SinkError, match="the log of table"):
        txns.versions(held, backend.options)


def test_a_listing_has_the_entries_and_the_whole_checkpoints(lake: Lake) -> None:
    backend = lake(3, 6)
    a_part_is_missing(backend.store)
    for other in (f"_sidecars/{UUID}.parquet", f"{3:020d}.crc", ".hidden", f"{'9' * 20}.tmp"):
        backend.store.put_new(f"_delta_log/{other}", b"", {})
    found = listing.listed(of_table(backend.store.uri, backend.options))
    assert list(found.entries) == list(range(9))
    assert [(c.at, c.keys) for c in found.checkpoints] == [(3, (name_of(3, "checkpoint.parquet"),))]
    assert [b.at for b in found.bases(2)] == [-1]
    assert [listing.at(backend.store, n) == [] for n in (3, 6, 7)] == [False, True, True]
    assert [listing.beyond(backend.store, n) for n in (0, 2, 3)] == [3, 3, None]


def test_a_checkpoint_of_the_second_specification_is_read(tmp_path: Path) -> None:
    backend = in_folder(tmp_path / "pin")
    with closing(opened(backend, A)) as sink:
        in_threes(sink, range(8))
    by_the_second_specification(backend)
    [point] = listing.listed(backend.store).checkpoints
    backend.store.remove([name_of(n) for n in range(point.at + 1)])
    held = DeltaTable(str(tmp_path / "pin"))
    assert txns.versions(held, dict)(OWN) == 24


@pytest.fixture
def recorded() -> Iterator[RecordedAws]:
    """Start a recording server in this process."""
    with recorded_aws() as own:
        yield own


@pytest.mark.moto
def test_a_log_is_listed_while_a_server_in_the_same_process_answers(recorded: RecordedAws) -> None:
    store = open_store(f"s3://{recorded.bucket()}/pin", recorded.config)
    backend = DeltaBackend(store, recorded.storage_options, "clean", KAFKA)
    with closing(opened(backend, A)) as sink:
        in_threes(sink, range(6))
    table.checkpoint(store.uri, recorded.storage_options)
    in_two_parts(store)
    held = DeltaTable(store.uri, storage_options=recorded.storage_options())
    assert txns.versions(held, recorded.storage_options)(OWN) == 18
