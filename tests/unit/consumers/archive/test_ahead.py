"""Objects are read ahead: some at once, no more than memory allows, again after a fault."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from threading import Barrier, Event, Lock

import pytest

from consumers.archive.ahead import READERS, Ahead, Fetch
from consumers.archive.pieces import Piece
from core.batch import Partition, Position
from core.clock import SystemClock
from core.errors import SinkError, SourceError, TransientError

PATIENCE = 20.0


def pieces(count: int) -> list[Piece]:
    partition = Partition("t", "0")
    return [Piece(f"k{n}", partition, Position(n), Position(n + 1), 1) for n in range(count)]


@contextmanager
def ahead(fetch: Fetch, count: int, memory: int = 10_000) -> Iterator[Ahead]:
    """Plan so many pieces."""
    made = Ahead(fetch, "place", memory, SystemClock())
    with closing(made):
        made.plan(pieces(count))
        yield made


def keys(source: Ahead, count: int) -> list[str]:
    """Return the keys of the next pieces."""
    found = [source.next(PATIENCE) for _ in range(count)]
    return [each[0].key for each in found if each]


def test_they_come_in_order_and_then_none_is_left() -> None:
    with ahead(lambda key: key.encode(), 40) as source:
        assert keys(source, 40) == [f"k{n}" for n in range(40)]
        assert source.next(0.0) is None


def test_as_many_are_under_way_at_once_as_fit_the_memory() -> None:
    most = 5
    together = Barrier(most)
    lock, now, peak = Lock(), 0, 0

    def fetch(key: str) -> bytes:
        nonlocal now, peak
        with lock:
            now += 1
            peak = max(peak, now)
        if key not in {"k0", "k1"}:  # the size is not known yet
            together.wait(PATIENCE)
        with lock:
            now -= 1
        return b"x" * 100

    with ahead(fetch, 2 + 2 * most, memory=most * 100) as source:
        assert len(keys(source, 2 + 2 * most)) == 2 + 2 * most
    assert peak <= most < READERS


def test_an_object_that_does_not_come_yet_is_none() -> None:
    come = Event()

    def fetch(_: str) -> bytes:
        come.wait(PATIENCE)
        return b""

    with ahead(fetch, 1) as source:
        assert source.next(0.01) is None
        come.set()
        assert keys(source, 1) == ["k0"]


def test_a_transient_fault_is_tried_again() -> None:
    faults = iter([TransientError("503"), TransientError("503")])

    def fetch(key: str) -> bytes:
        if (fault := next(faults, None)) is not None:
            raise fault
        return key.encode()

    with ahead(fetch, 1) as source:
        assert keys(source, 1) == ["k0"]


def test_what_is_gone_or_denied_is_an_error() -> None:
    with ahead(lambda _: None, 1) as source, pytest.raises(SourceError, match="place/k0 is gone"):
        source.next(PATIENCE)

    def deny(_: str) -> bytes:
        raise SinkError("denied")

    with ahead(deny, 1) as source, pytest.raises(SinkError, match="denied"):
        source.next(PATIENCE)


def test_a_new_plan_replaces_the_old_one() -> None:
    with ahead(lambda key: key.encode(), 10) as source:
        assert keys(source, 2) == ["k0", "k1"]
        source.plan(pieces(10)[7:])
        assert keys(source, 4) == ["k7", "k8", "k9"]
