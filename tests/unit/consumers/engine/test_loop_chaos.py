"""Whatever happens to the loop, in any order: each record is written exactly once.

Those that `where` leaves out are rows of a third table here: they are counted exactly once.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import polars as pl
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from core.batch import KAFKA, VALUE, Partition
from core.errors import SinkError, TransientError
from tests.support.examples import examples
from tests.support.member import LIMITS, P0, P1, Member, failing
from tests.support.memory import BAD, MemoryBroker, MemorySink, MemoryTable, process
from transforms.selection import selecting

OTHER = b"of another pipeline"
VALUES = st.sampled_from([b"good", BAD, OTHER])
WORK = selecting(process, pl.col(VALUE) != OTHER, [], KAFKA)


class Chaos(RuleBasedStateMachine):
    """Two members, two partitions, and everything that can happen to them in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.broker = MemoryBroker()
        self.tables = [MemoryTable(), MemoryTable(), MemoryTable()]
        self.members = [self._member(), self._member()]
        self.members[0].source.assign(P0, P1)

    def _member(self) -> Member:
        limits = replace(LIMITS, reject_window=1_000_000)
        return Member(self.broker, self.tables, limits, [MemorySink] * 3, WORK)

    @rule(partition=st.sampled_from([P0, P1]), values=st.lists(VALUES))
    def produce(self, partition: Partition, values: list[bytes]) -> None:
        self.broker.logs[partition].extend([*values, b"good", b"good"])

    @rule(who=st.integers(0, 1), times=st.integers(1, 4))
    def turn(self, who: int, times: int) -> None:
        member = self.members[who]
        member.clock.advance(0.4)
        try:
            member.turn(times)
        except SinkError:  # two owners fought for too long: an operator starts one again
            self._restart(who)

    @rule(who=st.integers(0, 1), waits=st.integers(1, 5), other_acts=st.booleans())
    def the_next_call_is_slow(self, who: int, waits: int, *, other_acts: bool) -> None:
        executor = self.members[who].executor
        executor.waits = waits
        executor.meanwhile = (lambda: self.turn(1 - who, 1)) if other_acts else lambda: None

    @rule(who=st.integers(0, 1))
    def finish_the_write(self, who: int) -> None:
        self.members[who].executor.run()

    @rule(partition=st.sampled_from([P0, P1]), to=st.integers(0, 1))
    def rebalance(self, partition: Partition, to: int) -> None:
        self.members[1 - to].source.revoke(partition)
        self.members[to].source.assign(partition)

    @rule(partition=st.sampled_from([P0, P1]), to=st.integers(0, 1))
    def rebalance_without_telling_the_old_owner(self, partition: Partition, to: int) -> None:
        self.members[to].source.assign(partition)

    @rule(who=st.integers(0, 1), write_lands=st.booleans())
    def crash(self, who: int, *, write_lands: bool) -> None:
        late = self.members[who].executor
        self._restart(who)
        if write_lands:
            late.run()

    def _restart(self, who: int) -> None:
        partitions = self.members[who].source.held
        self.members[who] = self._member()
        self.members[who].source.assign(*partitions)

    @rule(
        who=st.integers(0, 1),
        sink=st.integers(0, 2),
        step=st.sampled_from(["reading", "before", "after"]),
        times=st.integers(1, 3),
    )
    def the_next_calls_fail(self, who: int, sink: int, step: str, times: int) -> None:
        faults: Callable[[], None] = failing(*[TransientError("503")] * times)
        setattr(self.members[who].sinks[sink], step, faults)

    @invariant()
    def no_record_is_there_twice(self) -> None:
        rows = Counter(row for table in self.tables for row in table.rows)
        assert [row for row, n in rows.items() if n > 1] == []

    def teardown(self) -> None:
        for member, partition in zip(self.members, (P0, P1), strict=True):
            member.source.revoke(P0, P1)
            member.source.assign(partition)
        for turn in range(1000):
            if self._missing():
                self.turn(turn % 2, 1)
                self.members[turn % 2].executor.run()
        assert not self._missing()
        last = self._member()
        last.source.assign(P0, P1)
        last.loop.run()
        self.no_record_is_there_twice()

    def _missing(self) -> set[tuple[Partition, int]]:
        logs = self.broker.logs
        there = {row for table in self.tables for row in table.rows}
        return {(p, i) for p in (P0, P1) for i in range(len(logs[p]))} - there


Chaos.TestCase.settings = settings(
    max_examples=examples(100), stateful_step_count=40, deadline=None
)
test_each_record_is_written_once_whatever_happens = Chaos.TestCase
