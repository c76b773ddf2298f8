"""The latest table is the view of the append table after each step, whatever happened before."""

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.latest import compare
from core.config import Aws
from sinks.storage.store import open_store
from tests.support.examples import examples
from tests.support.latest_lake import LatestLake, Rec, tiny

KEYS = st.integers(-2, 9)
RECORDS = st.builds(
    Rec,
    ind=KEYS,
    at=st.integers(0, 5),
    title=st.one_of(st.none(), st.sampled_from("abc")),
    rank=st.one_of(st.none(), st.integers(0, 3)),
)
APPENDS = st.tuples(st.just("append"), st.integers(0, 2), st.lists(RECORDS, min_size=1, max_size=6))
OTHERS = st.tuples(
    st.sampled_from(
        ["compact", "delete", "update", "undelete", "crash", "twins", "step", "forget", "rekey"]
    ),
    KEYS,
)
HISTORIES = st.lists(st.one_of(APPENDS, APPENDS, OTHERS), min_size=1, max_size=10)


class CrashError(Exception):
    """A process dies."""


class Dying:
    """A store whose process dies before the entry is put, or before its response is read."""

    def __init__(self, store: Any, *, after: bool) -> None:
        self._store, self._after = store, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put_new(self, key: str, body: bytes, metadata: Any) -> bool:
        if not key.startswith("_delta_log") or key.endswith("0" * 20 + ".json"):
            return bool(self._store.put_new(key, body, metadata))
        if self._after:
            self._store.put_new(key, body, metadata)
        raise CrashError


def crash(lake: LatestLake, *, after: bool) -> None:
    """Kill a follower beside its entry, if it comes so far."""
    with suppress(CrashError):
        lake.follower(Dying(open_store(lake.uri, Aws()), after=after)).step()


def forget(lake: LatestLake) -> None:
    """Clean the append table's log up but for the newest entry."""
    lake.table(lake.tables.clean).create_checkpoint()
    for path in sorted(Path(lake.tables.clean, "_delta_log").glob("*.json"))[:-1]:
        path.unlink()


def act(lake: LatestLake, name: str, ind: int) -> None:
    """Do something to the tables; what is not possible is passed over."""
    clean, rejected = lake.table(lake.tables.clean), lake.table(lake.tables.quarantine)
    match name:
        case "compact":
            clean.optimize.compact()
            rejected.optimize.compact()
        case "delete":
            clean.delete(f"ind = {ind}")
        case "update":
            clean.update({"title": "'changed'"}, predicate=f"ind >= {ind}")
        case "rekey":
            clean.update({"ind": "ind + 1", "rank": "2"}, predicate=f"ind = {ind}")
        case "undelete":
            rejected.delete(f"_key = '{ind}'")
        case "crash":
            crash(lake, after=ind % 2 == 0)
        case "twins":
            lake.follower().step(lambda: bool(lake.follower().step()) and False)
        case "forget":
            forget(lake)


def assert_is_the_view(lake: LatestLake) -> None:
    """Assert that the rows are those of the rule's words, and that verify agrees."""
    lake.follow()
    assert lake.rows() == lake.wanted()
    report = compare(lake.view, lake.tables, lake.uri)
    assert (report.findings, report.unknown, report.behind) == ((), None, 0)


@pytest.mark.parametrize("order", ["_timestamp", "rank", "_offset"])
@settings(max_examples=examples(60), deadline=None)
@given(history=HISTORIES)
def test_after_every_history_it_is_the_view_of_the_append_table(
    order: str, history: list[Any]
) -> None:
    with TemporaryDirectory() as folder, tiny():
        lake = LatestLake(folder, order)
        lake.append(0, [Rec(1, 0, "first"), Rec(2, 0, None)])
        for name, *given_ in history:
            if name == "append":
                lake.append(*given_)
            else:
                act(lake, name, *given_)
            if name in {"step", "crash", "twins"}:
                assert_is_the_view(lake)
        assert_is_the_view(lake)
