"""The txn actions of a table, read at once: what delta-rs answers one by one."""

import gc
import tempfile
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from hypothesis import given, settings
from hypothesis import strategies as st

from core.batch import KAFKA
from sinks.delta import txns
from sinks.delta.table import find_to_write
from sinks.storage.store import open_store
from tests.support.aws import TestAws
from tests.support.batches import delta_target
from tests.support.examples import examples
from tests.support.identities import Cloud, cloud_behind_a_proxy
from tests.support.pairs import A, B, Pair
from tests.support.places import TESTS

LAKES = TESTS / "lakes" / "0.1.0"
IDS = ["a/t/0", "a/t/1", "b/t/0"]
OLD = [
    f"pinpip/pin/{life}/demo.pin/{n}{end}"
    for life in (1, 2)
    for n in "01"
    for end in ("", "/epoch")
]
MOVES = st.dictionaries(st.sampled_from(IDS), st.integers(-(2**63), 2**63 - 1))


def made(where: Path) -> DeltaTable:
    """Create an empty table."""
    schema = delta_target(str(where), dict, KAFKA, "clean").schema
    return DeltaTable.create(str(where), Schema.from_arrow(schema))


def commit(table: DeltaTable, moves: dict[str, int]) -> None:
    """Positions, no rows."""
    own = CommitProperties(app_transactions=[Transaction(i, v, 1) for i, v in moves.items()])
    table.create_write_transaction([], "append", table.schema(), commit_properties=own)
    table.update_incremental()


def one_by_one(table: DeltaTable, ids: list[str]) -> dict[str, int | None]:
    """Read each version with delta-rs."""
    return {own: table.transaction_version(own) for own in ids}


def at_once(table: DeltaTable, ids: list[str]) -> dict[str, int | None]:
    """Read all versions at once."""
    lookup = txns.versions(table, dict)
    return {own: lookup(own) for own in ids}


@given(st.lists(MOVES | st.just("checkpoint"), max_size=8))
@settings(max_examples=examples(25), deadline=None)
def test_all_ids_have_the_versions_that_delta_rs_answers(turns: list[dict[str, int] | str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        table = made(Path(name) / "table")
        for turn in turns:
            if isinstance(turn, str):
                table.create_checkpoint()
            else:
                commit(table, turn)
            assert at_once(table, IDS) == one_by_one(table, IDS)


@pytest.mark.parametrize("stage", ["clean", "rejected"])
def test_a_lake_of_before_is_read_alike(stage: str) -> None:
    table = DeltaTable(str(LAKES / "kafka" / stage))
    assert at_once(table, OLD) == one_by_one(table, OLD)
    assert None not in at_once(table, OLD).values()


def test_an_older_version_has_its_own_versions(tmp_path: Path) -> None:
    table = made(tmp_path)
    for n in range(5):
        commit(table, {IDS[0]: n})
    assert at_once(DeltaTable(str(tmp_path), version=2), IDS)[IDS[0]] == 1


@pytest.mark.parametrize(
    "hint",
    [
        "",
        "[]",
        "{",
        "{}",
        '{"version":"x"}',
        '{"version":0}',
        '{"version":2}',
        '{"version":9}',
        '{"version":3,"parts":2}',
        '{"version":3,"v2Checkpoint":{"path":"p"}}',
    ],
)
def test_whatever_the_hint_says_the_versions_are_right(tmp_path: Path, hint: str) -> None:
    table = made(tmp_path)
    for n in range(5):
        commit(table, {IDS[0]: n, IDS[1]: 5 - n})
        if n == 2:
            table.create_checkpoint()
    (tmp_path / "_delta_log" / "_last_checkpoint").write_text(hint)
    table = DeltaTable(str(tmp_path))
    assert at_once(table, IDS) == one_by_one(table, IDS) == {IDS[0]: 4, IDS[1]: 1, IDS[2]: None}


def test_entries_cleaned_up_behind_a_checkpoint_are_not_missed(tmp_path: Path) -> None:
    pair = Pair(str(tmp_path), KAFKA)
    pair.write(*[pair.log.batch({A: (n, n + 3), B: (n, n + 3)}) for n in range(0, 30, 3)])
    pair.forget("clean", but=1)
    ids = [f"pinpip/pin/1/{pair.log.partition(n)}" for n in (A, B)]
    assert at_once(pair.table("clean"), ids) == dict.fromkeys(ids, 30)


def test_the_log_of_a_bucket_is_read_at_once(aws: TestAws) -> None:
    bucket = aws.bucket()
    pair = Pair(f"s3://{bucket}/lake", KAFKA, aws.config, aws.storage_options)
    pair.write(*[pair.log.batch({A: (n, n + 3), B: (n, n + 3)}) for n in range(0, 12, 3)])
    found = txns.read(pair.table("clean"), pair.options)
    ids = [f"pinpip/pin/1/{pair.log.partition(n)}" for n in (A, B)]
    assert [found[own].version for own in ids] == [12, 12]
    assert all(found[own].updated for own in ids)


@pytest.mark.parametrize("damage", ["", "checkpoint", "schema", "hint", "beyond"])
def test_whatever_was_read_the_table_itself_is_not_kept(
    tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(txns, "_AT_ONCE", 2)
    table = made(tmp_path)
    for n in range(7):
        commit(table, {IDS[0]: n})
        if n == 0:
            table.create_checkpoint()
    damaged(tmp_path / "_delta_log", damage)
    kept = weakref.ref(table)
    with without_collection():  # a consumer's interpreter collects cycles very seldom
        lookup = txns.versions(table, dict)
        del table
        assert kept() is None
    assert lookup(IDS[0]) == 6


def damaged(log: Path, what: str) -> None:
    """One file of a log whose only checkpoint is of the first version."""
    bodies = {"hint": b"{", "beyond": b'{"version":1000000}'}
    if what in bodies:
        (log / "_last_checkpoint").write_bytes(bodies[what])
    elif what == "checkpoint":
        (log / f"{1:020d}.checkpoint.parquet").write_bytes(b"PAR1")
    elif what == "schema":
        pl.DataFrame({"x": [1]}).write_parquet(log / f"{1:020d}.checkpoint.parquet")


@contextmanager
def without_collection() -> Iterator[None]:
    """Turn garbage collection off: objects of the block are freed by their last reference."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    """Start a server that records which requests it got."""
    with cloud_behind_a_proxy() as own:
        yield own


@pytest.mark.moto
@pytest.mark.parametrize(
    ("since", "most"),
    [
        (0, {"delta-rs": 13, "boto3": 1, "polars": 2}),
        (20, {"delta-rs": 13 + 2 * 20, "boto3": 1, "polars": 2 + 20}),
    ],
)
def test_a_start_on_s3_asks_no_more_often_than_the_log_is_long(
    cloud: Cloud, tmp_path: Path, since: int, most: dict[str, int]
) -> None:
    table = made(tmp_path)
    for n in range(3 + since):
        commit(table, {IDS[0]: n})
        if n == 2:
            table.create_checkpoint()
    uri = f"s3://{cloud.direct.bucket()}/pin"
    put_below(uri, cloud, tmp_path)
    cloud.calls.clear()
    found = find_to_write(uri, cloud.direct.storage_options)
    assert found is not None
    assert txns.versions(found, cloud.direct.storage_options)(IDS[0]) == 2 + since
    asked = Counter(call.library for call in cloud.calls)
    assert asked <= Counter(most), asked


def put_below(uri: str, cloud: Cloud, folder: Path) -> None:
    """Copy a folder to a bucket."""
    store = open_store(uri, cloud.direct.config)
    for path in folder.rglob("*.*"):
        store.put_new(path.relative_to(folder).as_posix(), path.read_bytes(), {})
    hint = "_delta_log/_last_checkpoint"
    store.put_new(hint, (folder / hint).read_bytes(), {})
