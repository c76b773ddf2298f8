"""Members write, crash, are paused for weeks and meet retention: each row is archived once."""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from core.batch import Partition
from core.errors import TransientError
from core.pipeline import SHORTEST
from sinks.parquet import chain, expire
from sinks.parquet.sink import FRESH
from tests.support.examples import examples
from tests.unit.sinks.parquet.test_interleavings import (
    EVERY,
    PARTITIONS,
    Member,
    Place,
    assert_whole,
    compacted,
    finished,
)

DAY = 86_400.0


class Archive(Place):
    """A place that retention visits; `ends`: how far each chain has ever been."""

    def __init__(self) -> None:
        super().__init__()
        self.store.now = self.clock.now
        self.ends = dict.fromkeys(EVERY, 0)

    def expire(self, most: int) -> None:
        """Remove what is old, and die after `most` removals."""
        before = {p: self.keys(p) for p in EVERY}
        self.ends |= {p: max(self.ends[p], self.end(p)) for p in EVERY}
        found = expire.plan(self.store.store, EVERY, SHORTEST, self.clock.now())
        with suppress(TransientError):
            for old in found.values():
                expire.remove(self.store.store, [short(old, most)])
        for partition, keys in before.items():
            left = self.keys(partition)
            gone = keys[: len(keys) - len(left)]
            assert left == keys[len(gone) :]
            assert bool(left) == bool(keys)
            assert all(self.clock.now() - self.store.written[k] > SHORTEST for k in gone)

    def keys(self, partition: Partition) -> list[str]:
        return self.store.list(chain.folder(partition))

    def end(self, partition: Partition) -> int:
        keys = self.keys(partition)
        found = chain.about(self.store.store, keys[-1])["end"] if keys else "0"
        return chain.position(found).number

    def begin(self, partition: Partition) -> int:
        return chain.start_of(self.keys(partition)[0]).number


def short(old: expire.Old, most: int) -> expire.Old:
    return expire.Old(old.objects, old.keys[:most], old.begins, old.unknown)


Step = Callable[[list[Member], Archive], None]
_SOME = st.sampled_from([(0,), (1,), (0, 1)])


def _of_member(
    call: Callable[..., None], *given_: st.SearchStrategy[object]
) -> st.SearchStrategy[Step]:
    return st.builds(
        lambda m, told: lambda members, _: call(members[m], *told),
        st.integers(0, 1),
        st.tuples(*given_),
    )


def paused(members: list[Member], place: Archive) -> None:
    """Let one be paused for weeks with a batch, while another writes and retention comes."""
    one, other = members
    one.assign(PARTITIONS)
    one.read(PARTITIONS, 3)
    other.assign(PARTITIONS)
    for _ in range(3):
        other.read(PARTITIONS, 5)
        other.stop()
        place.clock.advance(8 * DAY)
    place.expire(9)
    for _ in range(2):
        one.commit()
        place.clock.advance(20.0)


_STEPS = st.lists(
    st.one_of(
        *(_of_member(Member.read, _SOME, st.integers(1, 12)) for _ in range(4)),
        *(_of_member(Member.commit) for _ in range(4)),
        _of_member(Member.assign, _SOME),
        _of_member(Member.reread),
        st.just(paused),
        _of_member(Member.stop),
        _of_member(Member.crash),
        *(
            st.builds(
                lambda days: lambda _, place: place.clock.advance(days * DAY),
                st.sampled_from([0.001, 0.9, 2.0, 5.0, 8.0]),
            )
            for _ in range(3)
        ),
        *(
            st.builds(lambda most: lambda _, place: place.expire(most), st.integers(0, 9))
            for _ in range(3)
        ),
        st.builds(lambda early: lambda _, place: place.faults.append(early), st.booleans()),
    ),
    min_size=25,
    max_size=60,
)


@settings(max_examples=examples(150), deadline=None)
@given(_STEPS)
def test_any_history_with_retention_archives_each_row_once(
    steps: list[Step],
) -> None:
    place = Archive()
    _, ends = finished(steps, place)
    assert {p: place.ends[p] <= ends[n] for n, p in enumerate(EVERY)} == dict.fromkeys(EVERY, True)
    begins = {n: place.begin(p) for n, p in enumerate(EVERY)}
    wanted = compacted({n: (begins[n], end) for n, end in ends.items()})
    assert_frame_equal(place.store.rows(), wanted.raw, check_row_order=False)
    for partition in EVERY:
        assert_whole(place.store, partition)


def test_a_week_is_far_above_what_a_writer_takes_for_known() -> None:
    assert timedelta(days=6) <= SHORTEST - FRESH
