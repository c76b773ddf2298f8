"""Freshness of one partition: what a reached horizon proves, and what holds before."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from core.batch import Position
from core.observer import NEVER, Horizon
from monitor.progress import Progress

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def horizon(end: int, seconds: float, begin: int = 0) -> Horizon:
    return Horizon(Position(end), at(seconds), begin)


def test_nothing_is_known_of_a_partition_of_which_nothing_was_told() -> None:
    own = Progress(Position(5))
    assert (own.lag, own.queryable_until) == (None, None)


def test_a_partition_at_its_end_is_queryable_until_the_end_was_told() -> None:
    own = Progress(Position(5))
    own.reached(horizon(5, 10))
    assert (own.lag, own.queryable_until) == (0, at(10))


def test_an_end_that_is_not_reached_proves_nothing_until_it_is() -> None:
    own = Progress(Position(5))
    own.reached(horizon(5, 10))
    own.reached(horizon(9, 20))
    assert (own.lag, own.queryable_until) == (4, at(10))
    own.wrote(Position(9), None)
    assert (own.lag, own.queryable_until) == (0, at(20))


def test_before_the_first_end_is_reached_the_earliest_record_of_a_batch_counts() -> None:
    own = Progress(None)
    own.reached(horizon(100, 500))
    own.wrote(Position(10), at(-3000))
    own.wrote(Position(20), at(-2000))
    assert (own.is_proven, own.queryable_until) == (False, at(-2000))


def test_a_record_from_the_past_does_not_move_freshness_back() -> None:
    own = Progress(None)
    own.wrote(Position(10), at(-2000))
    own.wrote(Position(20), at(-9000))
    assert own.queryable_until == at(-2000)


def test_an_empty_partition_is_reached_by_a_reader_that_read_nothing() -> None:
    own = Progress(None)
    own.reached(horizon(40, 10, begin=40))
    assert (own.lag, own.queryable_until) == (0, at(10))


def test_offsets_that_retention_removed_are_no_lag() -> None:
    own = Progress(Position(5))
    own.reached(horizon(50, 10, begin=40))
    assert own.lag == 10


def test_a_shard_that_does_not_tell_its_end_has_no_lag_but_freshness() -> None:
    own = Progress(None)
    own.reached(Horizon(Position(0), at(1)))
    assert (own.lag, own.queryable_until) == (None, at(1))
    own.reached(Horizon(Position(7, 1), at(2)))
    own.wrote(Position(7, 0), None)
    assert own.queryable_until == at(1)
    own.wrote(Position(7, 1), None)
    assert own.queryable_until == at(2)


steps = st.lists(
    st.tuples(st.sampled_from(["arrive", "tell", "write"]), st.integers(1, 50)), max_size=300
)


@given(steps=steps, share=st.integers(1, 5))
def test_a_record_that_arrived_before_the_queryable_time_is_always_committed(
    steps: Sequence[tuple[str, int]], share: int
) -> None:
    own, arrivals, committed = Progress(Position(0)), list[float](), 0
    for now, (step, count) in enumerate(steps):
        if step == "arrive":
            arrivals += [now] * count
        elif step == "tell":
            own.reached(horizon(len(arrivals), now + 0.5))
        else:
            committed += (len(arrivals) - committed) // share
            own.wrote(Position(committed), None)
        until = own.queryable_until
        if until is not None:
            assert sum(at(t) <= until for t in arrivals) <= committed


def test_an_end_that_proves_no_moment_tells_the_lag_only() -> None:
    own = Progress(Position(5))
    own.reached(Horizon(Position(7), NEVER, 0))
    own.wrote(Position(7), None)
    assert (own.lag, own.queryable_until) == (0, None)
