"""One process at a time maintains a table; whoever goes away or dies makes room."""

from pathlib import Path

import pytest

from sinks.delta import maintainer
from sinks.delta.maintainer import Election
from sinks.storage.protocol import Store
from sinks.storage.store import FolderStore, open_store
from tests.support.aws import TestAws
from tests.support.clock import ManualClock


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Return an empty table's place."""
    if request.param == "folder":
        return FolderStore(tmp_path)
    aws: TestAws = request.getfixturevalue("aws")
    return open_store(f"s3://{aws.bucket()}/lake", aws.config)


def test_one_wins_until_it_leaves(store: Store) -> None:
    clock = ManualClock()
    one, other = Election(store, "a/1", clock), Election(store, "b/2", clock)
    assert one.won()
    assert not other.won()
    assert other.holder.startswith("a/1 until ")
    one.leave()
    assert other.won()
    assert not one.won()


def test_a_term_that_is_renewed_goes_on(store: Store) -> None:
    clock = ManualClock()
    one, other = Election(store, "a/1", clock), Election(store, "b/2", clock)
    for _ in range(4):
        assert one.won()
        clock.advance(maintainer.TERM.total_seconds() * 0.9)
        assert not other.won()


def test_one_that_died_is_followed_by_one_other(store: Store) -> None:
    clock = ManualClock()
    dead, one, other = (Election(store, name, clock) for name in ("a/1", "b/2", "c/3"))
    assert dead.won()
    clock.advance(maintainer.TERM.total_seconds())
    assert [one.won(), other.won(), dead.won()] == [True, False, False]
    dead.leave()  # of one that was only asleep: nothing of another's is taken away
    assert [one.won(), other.won()] == [True, False]


@pytest.mark.parametrize("body", [b"", b"{}", b'{"until": "x"}', b"[1]", b"\xff"])
def test_a_damaged_term_has_ended(store: Store, body: bytes) -> None:
    store.put_new(maintainer.KEY, body, {})
    one = Election(store, "a/1", ManualClock())
    assert one.holder == "another process"
    assert one.won()
