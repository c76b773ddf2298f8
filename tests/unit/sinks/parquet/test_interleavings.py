"""Two members that hold rows, crash, rebalance and meet faults: each row is archived once."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from core.batch import KAFKA, Batch, Partition, Position
from core.errors import StalePosition, TransientError
from sinks.parquet import chain
from sinks.parquet.held import Pace, Taken
from sinks.parquet.sink import ParquetSink
from tests.support.batches import RecordLog
from tests.support.clock import ManualClock
from tests.support.examples import examples
from tests.support.memory_store import MemoryStore, unavailable

LOG = RecordLog(KAFKA)
PARTITIONS = (0, 1)
EVERY = [LOG.partition(n) for n in PARTITIONS]
PACE = Pace(10.0, 1_200)  # bytes: about 20 records


def compacted(parts: Mapping[int, tuple[int, int]]) -> Batch:
    """Make the batch of these ranges; of thirty records the log has lost ten."""
    batch = LOG.batch(parts)
    return replace(batch, raw=batch.raw.remove(pl.col("_offset") // 10 % 3 == 2))


class Place:
    """The store and the clock that all members share; `faults` meet the next puts, in turn.

    True: the store did nothing. False: it did what it was asked, and its answer was lost.
    """

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.clock = ManualClock()
        self.faults: list[bool] = []
        self.store.before = lambda _: self._fail(early=True)
        self.store.after = lambda _: self._fail(early=False)

    def _fail(self, *, early: bool) -> None:
        if self.faults and self.faults[0] is early:
            self.faults.pop(0)
            raise unavailable()


class Member:
    """Calls a sink as the loop does: positions after assignment and stale, release when revoked."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.crash()

    def crash(self) -> None:
        """Lose all memory."""
        place = self._place
        self._sink = ParquetSink(place.store.store, "raw", KAFKA, "archive", PACE, place.clock)
        self._next: dict[int, int] = {}
        self._late: list[Taken] = []
        self.assign(PARTITIONS)

    def assign(self, partitions: tuple[int, ...]) -> None:
        """Read on from the positions, once what was handed over is committed."""
        self.commit()
        found = self._until_done(lambda: self._sink.positions([EVERY[n] for n in partitions]))
        self._next |= {n: LOG.count(found[EVERY[n]]) for n in partitions}

    def revoke(self, partition: int) -> None:
        """Give it up: what was handed over is committed, what is held is forgotten."""
        self._next.pop(partition, None)
        self.commit()
        self._sink.release([EVERY[partition]])

    def read(self, partitions: tuple[int, ...], more: int) -> None:
        """Hand a batch over; it waits for the next commit."""
        own = {n: (at, at + more) for n, at in self._next.items() if n in partitions}
        self._late.append(self._sink.prepare(compacted(own)))
        self._next |= {n: end for n, (_, end) in own.items()}

    @property
    def ends(self) -> dict[int, int]:
        """Where it reads next."""
        return dict(self._next)

    def reread(self) -> None:
        """Read a little again, as when another sink is behind this one."""
        self._next = {n: max(0, at - 3) for n, at in self._next.items()}

    def commit(self) -> None:
        """Commit all that was handed over, and what is overdue; when stale, go back."""
        late, self._late = self._late, []
        try:
            self._until_done(lambda: self._sink.commit(late))
            if self._sink.is_overdue:
                self._until_done(self._sink.settle)
        except StalePosition:
            self.assign(tuple(self._next))

    def stop(self) -> None:
        """Leave in good order; another process takes its place."""
        self.commit()
        with suppress(StalePosition):
            self._until_done(self._sink.close)
        self.crash()

    def _until_done(self, call: Callable[[], object]) -> dict[Partition, Position | None]:
        while True:
            with suppress(TransientError):
                found = call()
                return found if isinstance(found, dict) else {}


P = TypeVar("P", bound=Place)
Step = Callable[[list[Member], Place], None]
_SOME = st.sampled_from([(0,), (1,), (0, 1)])


def _call(call: Callable[..., None], *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    return st.builds(
        lambda m, given: lambda members, _: call(members[m], *given),
        st.integers(0, 1),
        st.tuples(*arguments),
    )


_SOME = st.sampled_from([(0,), (1,), (0, 1)])
_CALLS = [
    *(_call(Member.read, _SOME, st.integers(1, 12)) for _ in range(4)),
    *(_call(Member.commit) for _ in range(4)),
    *(_call(Member.assign, _SOME) for _ in range(2)),
    _call(Member.revoke, st.sampled_from(PARTITIONS)),
    _call(Member.reread),
    _call(Member.stop),
    _call(Member.crash),
]
_TIME = st.builds(lambda s: lambda _, place: place.clock.advance(s), st.sampled_from([1.0, 11.0]))
_FAULTS = st.builds(lambda early: lambda _, place: place.faults.append(early), st.booleans())
_STEPS = st.lists(st.one_of(*_CALLS, _TIME, _FAULTS), min_size=25, max_size=60)


def finished(
    steps: list[Callable[[list[Member], P], None]], place: P
) -> tuple[Member, dict[int, int]]:
    """Take the steps with two members, then read on without faults; return the last member.

    Beside it: up to where it has read each partition.
    """
    members = [Member(place), Member(place)]
    for step in steps:
        step(members, place)
    place.faults.clear()
    last = Member(place)
    last.read(PARTITIONS, 50)
    ends = last.ends
    last.stop()
    return last, ends


@settings(max_examples=examples(100), deadline=None)
@given(_STEPS)
def test_any_interleaving_archives_each_row_once(steps: list[Step]) -> None:
    place = Place()
    last, ends = finished(steps, place)
    wanted = compacted({n: (0, end) for n, end in ends.items()})
    assert_frame_equal(place.store.rows(), wanted.raw, check_row_order=False)
    assert last.ends == ends
    for partition in EVERY:
        assert_whole(place.store, partition)


def assert_whole(store: MemoryStore, partition: Partition) -> None:
    """Assert that the objects follow each other and say how many rows they have."""
    keys = store.list(chain.folder(partition))
    links = [link for link in chain.links(store.store, keys) if isinstance(link, chain.Link)]
    assert len(links) == len(keys)
    assert [link.start for link in links[1:]] == [link.end for link in links[:-1]]
    assert [link.records for link in links] == [store.frame(key).height for key in keys]
