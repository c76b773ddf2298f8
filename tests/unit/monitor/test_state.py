"""What a consumer remembers of a pipeline, and how it is judged."""

from collections.abc import Callable
from dataclasses import replace

import polars as pl
import pytest

from core.batch import KAFKA, KINESIS, Batch, Partition, Position
from core.errors import StalePosition
from core.observer import Horizon
from monitor import health
from monitor.state import PipelineState
from monitor.view import PipelineView
from tests.support.batches import FIRST_SEQUENCE, RecordLog
from tests.support.clock import ManualClock

LOG = RecordLog(KAFKA)
P0, P1 = LOG.partition(0), LOG.partition(1)


class Consumer:
    """A pipeline's memory on a clock that the test moves, and the events of its loop."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.state = PipelineState("pin", "Kafka demo.pin", "lake/pin", self.clock, 1_000)

    def starts(self, *partitions: Partition, at: int | None = None) -> None:
        self.state.assigned(partitions)
        self.state.started(dict.fromkeys(partitions, None if at is None else Position(at)))
        self.state.turned(0)

    def hears(self, ends: dict[Partition, int]) -> None:
        now = self.clock.now()
        self.state.reached({p: Horizon(Position(n), now, 0) for p, n in ends.items()})

    def waits(self, seconds: float, *, turning: bool = True) -> None:
        for _ in range(int(seconds)):
            self.clock.advance(1)
            if turning:
                self.state.turned(0)

    @property
    def view(self) -> PipelineView:
        return self.state.view()

    @property
    def word(self) -> str:
        return self.view.state.word

    @property
    def unready(self) -> str | None:
        return health.unready(self.state.facts(), self.clock.now())


@pytest.fixture
def consumer() -> Consumer:
    return Consumer()


def rejecting(batch: Batch, reason: str) -> Batch:
    return replace(batch, rejected=batch.rejected.with_columns(reason=pl.lit(reason)))


def test_the_records_of_every_batch_are_counted_by_outcome(consumer: Consumer) -> None:
    consumer.state.wrote(LOG.batch({0: (0, 30)}))
    consumer.state.wrote(LOG.batch({0: (30, 36), 1: (0, 3)}))
    view = consumer.view
    assert (view.clean, view.quarantined, view.filtered, view.expired) == (26, 13, 0, 0)


def test_records_that_became_no_row_are_counted_as_filtered(consumer: Consumer) -> None:
    full = LOG.batch({0: (0, 30)})
    consumer.state.wrote(replace(full, clean=full.clean.head(15)))
    assert (consumer.view.clean, consumer.view.quarantined, consumer.view.filtered) == (15, 10, 5)


def test_a_transform_that_multiplies_rows_filters_none(consumer: Consumer) -> None:
    full = LOG.batch({0: (0, 30)})
    consumer.state.wrote(replace(full, clean=pl.concat([full.clean, full.clean])))
    assert consumer.view.filtered == 0


def test_a_partition_is_shown_with_position_end_and_lag(consumer: Consumer) -> None:
    consumer.starts(P0)
    consumer.hears({P0: 36})
    consumer.state.wrote(LOG.batch({0: (0, 30)}))
    own = consumer.view.partitions[0]
    assert (own.source, own.id, own.position, own.end, own.lag) == ("demo.pin", "0", "30", "36", 6)


def test_partitions_are_in_the_order_of_their_numbers(consumer: Consumer) -> None:
    consumer.starts(*(Partition("t", str(n)) for n in (10, 9, 0)))
    assert [own.id for own in consumer.view.partitions] == ["0", "9", "10"]


def test_a_revoked_partition_is_not_shown_any_more(consumer: Consumer) -> None:
    consumer.starts(P0, P1)
    consumer.state.revoked([P0])
    assert [own.id for own in consumer.view.partitions] == ["1"]


def test_the_pipeline_is_as_fresh_as_its_stalest_partition(consumer: Consumer) -> None:
    consumer.starts(P0, P1, at=0)
    consumer.hears({P0: 0, P1: 0})
    first = consumer.clock.now()
    consumer.waits(3)
    consumer.hears({P0: 0, P1: 9})
    assert (consumer.view.queryable_until, consumer.view.lag) == (first, 9)


def test_freshness_is_not_known_while_the_position_of_a_partition_is_not(
    consumer: Consumer,
) -> None:
    consumer.starts(P0, at=0)
    consumer.hears({P0: 0})
    consumer.state.assigned([P1])
    assert consumer.view.queryable_until is None


def test_a_shard_has_freshness_and_no_lag_in_records(consumer: Consumer) -> None:
    log = RecordLog(KINESIS)
    shard = log.partition(0)
    consumer.starts(shard)
    end = Position(FIRST_SEQUENCE + 1, 1)
    consumer.state.reached({shard: Horizon(end, consumer.clock.now())})
    assert (consumer.view.lag, consumer.view.queryable_until) == (None, None)
    consumer.state.wrote(log.batch({0: (0, 4)}))
    assert (consumer.view.lag, consumer.view.lag_seconds) == (None, 0.0)


def test_rejects_are_counted_by_reason_with_the_newest_records(consumer: Consumer) -> None:
    consumer.state.wrote(rejecting(LOG.batch({0: (0, 30)}), "not_json"))
    consumer.state.wrote(rejecting(LOG.batch({0: (30, 33)}), "bad_key"))
    first, second = consumer.view.reasons
    assert (first.reason, first.rows, len(first.samples)) == ("not_json", 10, 3)
    assert (second.reason, second.rows, second.samples[0].where) == (
        "bad_key",
        1,
        f"demo.pin/0:{LOG.batch({0: (30, 33)}).rejected['_offset'][0]}",
    )


def test_reasons_that_a_transform_makes_up_are_bounded(consumer: Consumer) -> None:
    batch = LOG.batch({0: (0, 3)})
    for n in range(200):
        consumer.state.wrote(rejecting(batch, f"reason {n}"))
    assert sum(own.rows for own in consumer.view.reasons) == 200
    assert len(consumer.view.reasons) == 51


def test_a_caught_up_pipeline_is_up_to_date_and_ready(consumer: Consumer) -> None:
    consumer.starts(P0, at=0)
    consumer.hears({P0: 0})
    assert (consumer.word, consumer.unready) == ("up to date", None)


def test_a_pipeline_without_partitions_is_on_standby_and_not_ready(consumer: Consumer) -> None:
    consumer.state.turned(0)
    assert (consumer.word, consumer.unready) == ("standby", "no partition is assigned")


def test_a_loop_that_does_not_turn_is_frozen_and_dead_after_a_minute(consumer: Consumer) -> None:
    consumer.starts(P0, at=0)
    consumer.hears({P0: 0})
    consumer.waits(7, turning=False)
    assert consumer.word == "frozen"
    assert health.unlive(consumer.state.facts()) is None
    consumer.waits(60, turning=False)
    assert health.unlive(consumer.state.facts()) == "the loop has not turned for 67 s"


def test_a_source_that_tells_nothing_makes_it_unready_and_not_dead(consumer: Consumer) -> None:
    consumer.starts(P0, P1, at=0)
    consumer.hears({P0: 0, P1: 0})
    for _ in range(9):
        consumer.waits(1)
        consumer.hears({P0: 0})
    assert consumer.unready == "the source has not responded for 9 s"
    assert health.unlive(consumer.state.facts()) is None


def test_an_outage_is_shown_with_part_and_time_until_it_is_over(consumer: Consumer) -> None:
    consumer.starts(P0, at=0)
    consumer.hears({P0: 0})
    outage = consumer.state.outage("clean")
    outage.failed("", "the disk is full", "free some space")
    consumer.waits(6)
    consumer.hears({P0: 0})
    state = consumer.view.state
    assert (state.word, state.next) == ("waiting", "free some space")
    assert state.why == "clean has not responded for 6 s: the disk is full"
    outage.over()
    assert consumer.word == "up to date"


def test_records_that_wait_without_a_commit_are_stuck(consumer: Consumer) -> None:
    consumer.starts(P0, at=0)
    consumer.waits(100)
    for _ in range(7):
        consumer.hears({P0: 9})
        consumer.waits(1)
    assert consumer.unready == "nothing was committed for 7 s while records wait"


def test_records_that_wait_for_others_as_configured_are_not_stuck(consumer: Consumer) -> None:
    consumer.state = PipelineState("pin", "", "", consumer.clock, 1_000, max_wait=60)
    consumer.starts(P0, at=0)
    for _ in range(66):
        consumer.hears({P0: 9})
        consumer.waits(1)
    assert consumer.unready is None
    consumer.waits(1)
    assert consumer.unready == "nothing was committed for 67 s while records wait"


def test_a_session_that_expires_at_silent_brokers_is_no_standby(consumer: Consumer) -> None:
    consumer.starts(P0, at=0)
    consumer.hears({P0: 0})
    consumer.waits(6)
    consumer.state.revoked([P0])
    consumer.waits(3)
    assert consumer.word == "waiting"
    assert consumer.unready == "the source has not responded for 9 s"
    consumer.state.assigned([])  # the group has a place for it again, and no partition
    assert consumer.word == "standby"


def test_a_rebalance_makes_a_standby_at_once(consumer: Consumer) -> None:
    consumer.starts(P0, at=0)
    consumer.hears({P0: 0})
    consumer.waits(5)
    consumer.state.revoked([P0])
    consumer.waits(60)
    assert consumer.word == "standby"


def test_a_pipeline_that_rejects_a_fifth_says_so(consumer: Consumer) -> None:
    consumer.starts(P0, at=0)
    consumer.state.wrote(rejecting(LOG.batch({0: (0, 300)}), "not_json"))
    consumer.hears({P0: 300})
    assert consumer.word == "rejecting"
    assert "33% of the last minute's records" in consumer.view.state.why
    assert consumer.unready is None


def test_a_state_keeps_the_time_since_when_it_is_so(consumer: Consumer) -> None:
    consumer.starts(P0, at=0)
    consumer.hears({P0: 0})
    for _ in range(60):
        consumer.waits(1)
        consumer.hears({P0: 0})
    state = consumer.view.state
    assert state.since is not None
    assert (state.word, (state.since - consumer.state.started_at).seconds) == ("up to date", 5)


def test_the_rate_is_that_of_the_last_ten_seconds(consumer: Consumer) -> None:
    consumer.starts(P0, at=0)
    assert consumer.view.rate is None
    consumer.waits(60)
    consumer.state.wrote(LOG.batch({0: (0, 50)}))
    assert consumer.view.rate == 50 / 5


def test_an_hour_of_samples_is_kept(consumer: Consumer) -> None:
    consumer.starts(P0, at=0)
    consumer.waits(2 * 3600)
    series = consumer.view.series
    assert len(series.at) == len(series.rate) == len(series.lag) == len(series.lag_seconds) == 720
    assert series.at[-1] - series.at[0] == pytest.approx(3595)


EVENTS: dict[str, Callable[[PipelineState], None]] = {
    "conflicts": lambda state: state.overtaken(StalePosition("")),
    "rebalances": lambda state: state.assigned([P0]),
}


@pytest.mark.parametrize("name", EVENTS)
def test_events_are_counted(name: str, consumer: Consumer) -> None:
    EVENTS[name](consumer.state)
    assert getattr(consumer.state.totals, name) == 1
