"""A lane: uploads side by side and in any order, commits in the order of the batches."""

import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from threading import get_ident
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.engine.lane import FIRST_UPLOADS, MOST_UPLOADS, Lane, Uploads
from core.batch import Batch
from core.errors import FatalError, StalePosition, TransientError
from core.protocols import Sink
from tests.support.clock import ManualClock
from tests.support.memory import DirectExecutor


class Chosen(Executor):
    """Calls that the test runs one by one, in an order of its own."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        done: Future[Any] = Future()
        self.calls.append(lambda: done.set_result(fn(*args, **kwargs)))
        return done

    def run(self, number: int) -> None:
        """Run one of the calls that wait."""
        self.calls.pop(number % len(self.calls))()

    def run_all(self) -> None:
        """Run all that wait, and what they submit."""
        while self.calls:
            self.run(0)


class Numbers:
    """A sink of numbers that must be committed in their order; `groups` are its commits."""

    name = "numbers"

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.uploaded: list[int] = []
        self.prepared = 0
        self.upload: Callable[[int], None] = lambda _: None
        self.during: Callable[[], None] = lambda: None

    @property
    def committed(self) -> list[int]:
        """All numbers in the order of their commits."""
        return [number for group in self.groups for number in group]

    def prepare(self, batch: Batch) -> "Number":
        number = cast(int, batch)
        if number != self.prepared:
            raise StalePosition(f"{number} does not follow {self.prepared}")
        self.prepared += 1
        return Number(self, number)

    def commit(self, prepared: list["Number"]) -> None:
        assert all(one.number in self.uploaded for one in prepared)
        self.during()
        if prepared[0].number != len(self.committed):
            raise StalePosition(f"{prepared[0].number} does not follow {len(self.committed)}")
        self.groups.append([one.number for one in prepared])


class Number:
    """A number on its way."""

    nbytes = 1

    def __init__(self, sink: Numbers, number: int) -> None:
        self._sink = sink
        self.number = number

    def upload(self) -> None:
        self._sink.upload(self.number)
        self._sink.uploaded.append(self.number)


def tried_once(_: str, step: Callable[[], object]) -> object:
    return step()


def tried_twice(_: str, step: Callable[[], object]) -> object:
    try:
        return step()
    except TransientError:
        return step()


class Line:
    """A lane of numbers whose threads are the test's."""

    def __init__(self, executor: Executor, retry: Any = tried_once) -> None:
        self.sink = Numbers()
        self.seconds: list[float] = []
        self.clock = ManualClock()
        sink = cast(Sink, self.sink)
        self.lane = Lane(sink, executor, retry, self.clock, self.seconds.append)

    def put(self, number: int) -> "Future[None]":
        return self.lane.put(cast(Batch, number))


def test_an_upload_that_ends_first_waits_for_the_batch_before_it() -> None:
    line = Line(chosen := Chosen())
    calls = [line.put(0), line.put(1)]
    chosen.run(1)
    assert (line.sink.groups, [call.done() for call in calls]) == ([], [False, False])
    chosen.run(0)
    assert (line.sink.groups, [call.done() for call in calls]) == ([[0, 1]], [True, True])


def test_what_is_uploaded_during_a_commit_is_committed_together_by_the_next_one() -> None:
    line = Line(chosen := Chosen())
    for number in range(3):
        line.put(number)
    line.sink.during = chosen.run_all  # as if the commit took long
    chosen.run(0)
    assert line.sink.groups == [[0], [1, 2]]


@given(order=st.lists(st.integers(0, 20)), puts=st.integers(1, 20))
def test_in_any_order_of_uploads_each_batch_is_committed_once_and_in_order(
    order: list[int], puts: int
) -> None:
    line = Line(chosen := Chosen())
    calls = []
    for number in range(puts):
        calls.append(line.put(number))
        for choice in order[number : number + 2]:
            if chosen.calls:
                chosen.run(choice)
    chosen.run_all()
    assert line.sink.committed == list(range(puts))
    assert [call.exception(0) for call in calls] == [None] * puts


def test_what_follows_a_batch_that_failed_is_not_committed() -> None:
    line = Line(chosen := Chosen())
    line.sink.upload = fails_at(1, FatalError("the bucket is gone"))
    calls = [line.put(number) for number in range(4)]
    chosen.run_all()
    assert line.sink.committed == [0]
    errors = [type(call.exception(0)) for call in calls]
    assert errors == [type(None), FatalError, StalePosition, StalePosition]


def test_a_batch_that_does_not_follow_fails_without_an_upload() -> None:
    line = Line(chosen := Chosen())
    assert isinstance(line.put(1).exception(0), StalePosition)
    assert chosen.calls == []


def test_a_fault_of_an_upload_is_tried_again_beside_the_others() -> None:
    line = Line(chosen := Chosen(), tried_twice)
    line.sink.upload = fails_at(0, TransientError("503 SlowDown"), times=1)
    calls = [line.put(number) for number in range(3)]
    chosen.run_all()
    assert line.sink.committed == [0, 1, 2]
    assert [call.exception(0) for call in calls] == [None] * 3


def test_a_step_is_taken_between_the_batches_before_and_after_it() -> None:
    line = Line(chosen := Chosen())
    seen: list[list[int]] = []
    line.put(0)
    line.lane.run(lambda: seen.append(line.sink.committed))
    line.put(1)
    chosen.run(1)
    assert seen == []
    chosen.run_all()
    assert (seen, line.sink.groups) == ([[0]], [[0], [1]])


def test_each_batch_is_timed_from_its_first_call_to_its_commit() -> None:
    line = Line(chosen := Chosen())
    line.put(0)
    line.clock.advance(2.0)
    line.put(1)
    line.clock.advance(1.0)
    chosen.run(1)
    chosen.run(0)
    assert line.seconds == [3.0, 1.0]


def test_commits_never_run_at_once_and_keep_their_order_in_real_threads() -> None:
    with ThreadPoolExecutor(16) as threads:
        line = Line(threads)
        running: list[int] = []
        most: list[int] = []

        def during() -> None:
            running.append(1)
            most.append(len(running))
            time.sleep(0.0005)
            running.pop()

        line.sink.during = during
        line.sink.upload = lambda number: time.sleep(0.001 * (number * 7 % 5))
        calls = [line.put(number) for number in range(300)]
        assert [call.exception(30) for call in calls] == [None] * 300
    assert line.sink.committed == list(range(300))
    assert set(most) == {1}
    assert len(line.sink.groups) < 300


def test_two_uploads_run_at_first_and_more_while_they_go_well() -> None:
    uploads = Uploads(chosen := Chosen())
    calls = [Future[None]() for _ in range(200)]
    for call in calls:
        uploads.submit(uploads.succeeded, call)
    assert len(chosen.calls) == FIRST_UPLOADS
    for _ in range(100):
        chosen.run(0)
    assert len(chosen.calls) == MOST_UPLOADS
    chosen.run_all()
    assert all(call.done() for call in calls)


def test_after_a_fault_the_uploads_grow_slowly() -> None:
    uploads = Uploads(chosen := Chosen())
    outcomes = [uploads.succeeded] * 6 + [uploads.failed] + [uploads.succeeded] * 60
    for outcome in outcomes:
        uploads.submit(outcome, Future())
    running = []
    while len(chosen.calls) > 1:
        chosen.run(0)
        running.append(len(chosen.calls))
    assert running[5] == MOST_UPLOADS
    assert running[6 + 4] < MOST_UPLOADS
    assert max(running[7:]) == MOST_UPLOADS


def test_a_fault_halves_the_uploads_but_one_always_runs() -> None:
    uploads = Uploads(chosen := Chosen())
    for _ in range(50):
        uploads.submit(uploads.failed, Future())
    for left in range(49, 0, -1):
        chosen.run(0)
        assert len(chosen.calls) == min(1, left)


def test_who_puts_a_batch_never_waits_for_its_commit() -> None:
    line = Line(pool := ThreadPoolExecutor(2))
    threads: list[int] = []
    line.sink.during = lambda: threads.append(get_ident())
    with pool:
        for number in range(100):
            call, own = line.put(number), get_ident()
            call.result(30)
    assert own not in threads
    assert threads


def test_an_upload_that_raises_leaves_its_place_to_the_next() -> None:
    uploads = Uploads(DirectExecutor())
    failed = [Future[None]() for _ in range(5)]
    for call in failed:
        uploads.submit(lambda: fails_at(0, OSError("gone"))(0), call)
    assert [type(call.exception(0)) for call in failed] == [OSError] * 5


@pytest.mark.parametrize("kind", [FatalError, StalePosition])
def test_an_error_of_a_commit_reaches_all_batches_of_its_group(kind: type[Exception]) -> None:
    line = Line(chosen := Chosen())
    calls = [line.put(number) for number in range(2)]

    def refuse() -> None:
        raise kind("refused")

    line.sink.during = refuse
    chosen.run(1)
    chosen.run(0)
    assert [type(call.exception(0)) for call in calls] == [kind, kind]
    assert chosen.calls == []


def fails_at(number: int, error: Exception, times: int = 1000) -> Callable[[int], None]:
    """Make a hook that raises `error` for one number."""
    left = [error] * times

    def upload(asked: int) -> None:
        if asked == number and left:
            raise left.pop()

    return upload
