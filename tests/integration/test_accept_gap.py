"""Records that retention took unread: an error, until the operator accepts them once, by name."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from deltalake import DeltaTable

from audit.verify import verify
from consumers.kafka.placement import Gaps
from core.batch import KAFKA, Partition, Position, Span
from core.clock import SystemClock
from core.errors import ConfigError, RecordsExpired
from core.protocols import Sink
from monitor.state import PipelineState
from pinpip.connectors import connector_of
from pinpip.observed import said
from pinpip.pipelines import tables_of
from pinpip.verify.verdict import RereadPlan
from sinks.delta.sink import DeltaSink
from sinks.parquet.sink import ParquetSink
from tests.support.batches import RecordLog
from tests.support.brokers import Broker
from tests.support.commands import change, invoke
from tests.support.consuming import consumed
from tests.support.pairs import A, B, Pair
from tests.support.processes import Home, kafka_home, payloads

real = pytest.mark.real_broker
READ, GONE, LEFT = 20, 30, 10


def expire(broker: Broker, topic: str, before: int) -> None:
    """Let retention take all records before this offset."""
    where, admin = TopicPartition(topic, 0, before), AdminClient(broker.properties)
    admin.delete_records([where])[where].result(30)


def position(home: Home) -> int:
    """Where the table is in its one partition."""
    [tally] = verify(tables_of(home.config, "user")).tallies
    return tally.position.number if tally.position else 0


def at(home: Home, offset: int) -> Callable[[], bool]:
    return lambda: position(home) >= offset


@pytest.fixture
def lagging(broker: Broker, tmp_path: Path) -> tuple[Home, str]:
    """Write twenty records to a table and an archive, then let the topic's next thirty expire."""
    topic = broker.create_topic(1)
    home = kafka_home(tmp_path, broker, topic)
    change(
        home, "pipelines/user/sinks", [{"delta": "user"}, {"parquet": str(tmp_path / "archive")}]
    )
    broker.produce(topic, payloads(READ))
    consumed(home, lambda: home.rows() == READ)
    broker.produce(topic, payloads(GONE + LEFT, since=READ))
    expire(broker, topic, READ + GONE)
    return home, topic


def accepting(home: Home, done: Callable[[], bool]) -> Home:
    return consumed(home, done, accepted=connector_of(home.config, "user").first_offsets())


def standing(home: Home) -> dict[str, int]:
    """Return what `pinpip status` prints for the only partition."""
    [tree] = json.loads(invoke(home, "status", "--json").stdout)
    [row] = tree["partitions"]
    return {name: row[name] for name in ("lag", "gone", "expired")}


def counts(tree: dict[str, Any]) -> dict[str, int]:
    names = ("read", "clean", "quarantined", "filtered", "expired", "waiting")
    return {name: tree[name] for name in names if tree[name]}


@real
def test_a_gap_stops_the_consumer_and_names_the_way_on(lagging: tuple[Home, str]) -> None:
    home, topic = lagging
    with pytest.raises(RecordsExpired, match=f"{topic}/0 now starts at offset 50") as raised:
        consumed(home, lambda: home.rows() > READ)
    assert "--accept-gap" in raised.value.hint
    assert {f["kind"] for f in home.examined()["findings"]} == {"expired"}
    assert standing(home) == {"lag": LEFT, "gone": GONE, "expired": 0}


@real
def test_an_accepted_gap_is_in_every_sink_and_verify_counts_it_for_ever(
    lagging: tuple[Home, str],
) -> None:
    home, _ = lagging
    accepting(home, lambda: home.rows() == READ + LEFT)
    tree = home.examined(0, RereadPlan())
    assert (tree["findings"], tree["unknown"]) == ([], [])
    assert counts(tree) == {"read": 60, "clean": 28, "quarantined": 2, "expired": 30}
    [chain] = tree["archives"]
    assert (chain["records"], chain["expired"], chain["end"]) == (READ + LEFT, GONE, 60)
    assert (tree["reread"]["rows"], tree["reread"]["expired"]) == (LEFT, GONE)
    assert standing(home) == {"lag": 0, "gone": 0, "expired": GONE}
    forget(home)
    tree = home.examined()
    assert (tree["findings"], tree["unknown"]) == ([], [])
    assert counts(tree) == {"read": 60, "clean": 28, "quarantined": 2, "expired": 30}


def forget(home: Home) -> None:
    """Expire the logs of both tables; checkpoints stay."""
    for name in ("user", "user_quarantine"):
        DeltaTable(home.uri(name)).create_checkpoint()
        for path in Path(home.uri(name), "_delta_log").glob("*.json"):
            path.unlink()


@real
def test_a_gap_up_to_the_end_is_written_without_a_record(
    broker: Broker, lagging: tuple[Home, str]
) -> None:
    home, topic = lagging
    expire(broker, topic, 60)
    accepting(home, at(home, 60))
    tree = home.examined()
    assert tree["findings"] == []
    assert counts(tree) == {"read": 60, "clean": 19, "quarantined": 1, "expired": 40}


@real
def test_what_expires_after_the_start_was_not_accepted(
    broker: Broker, lagging: tuple[Home, str]
) -> None:
    home, topic = lagging
    accepted = connector_of(home.config, "user").first_offsets()
    expire(broker, topic, 55)
    with pytest.raises(RecordsExpired, match="offset 55"):
        consumed(home, at(home, 60), accepted=accepted)
    assert position(home) == READ
    consumed(home, at(home, 60), accepted=connector_of(home.config, "user").first_offsets())
    broker.produce(topic, payloads(10))
    expire(broker, topic, 65)
    with pytest.raises(RecordsExpired, match="offset 65"):
        consumed(home, at(home, 70), accepted=accepted)
    accepting(home, at(home, 70))
    assert counts(home.examined())["expired"] == 35 + 5


@real
def test_where_nothing_expired_nothing_is_accepted(broker: Broker, tmp_path: Path) -> None:
    topic = broker.create_topic(1)
    home = kafka_home(tmp_path, broker, topic)
    broker.produce(topic, payloads(READ))
    accepting(home, lambda: home.rows() == READ)
    broker.produce(topic, payloads(LEFT))
    accepting(home, lambda: home.rows() == READ + LEFT)
    assert "expired" not in counts(home.examined())


@real
@pytest.mark.parametrize("late", ["quarantine", "archive"])
def test_a_gap_that_one_sink_has_recorded_is_accepted_for_all(
    lagging: tuple[Home, str], late: str
) -> None:
    home, _ = lagging
    crash_before(DeltaSink if late == "quarantine" else ParquetSink, late, home)
    assert position(home) == 60
    consumed(home, lambda: not home.examined()["findings"])
    tree = home.examined(0, RereadPlan())
    assert (tree["findings"], tree["unknown"]) == ([], [])
    assert counts(tree) == {"read": 60, "clean": 28, "quarantined": 2, "expired": 30}


@real
def test_what_expires_after_one_sink_has_recorded_a_gap_was_not_accepted(
    broker: Broker, lagging: tuple[Home, str]
) -> None:
    home, topic = lagging
    crash_before(ParquetSink, "archive", home)
    expire(broker, topic, READ + GONE + 1)
    with pytest.raises(RecordsExpired, match="starts at offset 51, but offset 20"):
        consumed(home, lambda: False)


class CrashError(Exception):
    """The process ends here."""


def crash_before(kind: type[DeltaSink | ParquetSink], late: str, home: Home) -> None:
    """Accept the gap in a process that ends before the sink called `late` has written it."""
    commit = kind.commit

    def crash(sink: Any, prepared: Sequence[Any]) -> None:
        if late in sink.name:
            raise CrashError
        commit(sink, prepared)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "commit", crash)
        with pytest.raises(CrashError):
            accepting(home, lambda: False)


def test_the_option_wants_to_know_whose_records_are_given_up(tmp_path: Path) -> None:
    home = _home_without_a_broker(tmp_path)
    done = invoke(home, "consume", "--accept-gap")
    assert isinstance(done.exception, ConfigError)
    assert "needs the pipelines" in done.exception.message


def _home_without_a_broker(folder: Path) -> Home:
    return kafka_home(folder, Broker("127.0.0.1:9", "none", real=False), "none")


@real
@pytest.mark.parametrize("gone", ["archive", "quarantine"])
def test_a_sink_that_is_empty_begins_behind_the_accepted_gap(
    lagging: tuple[Home, str], tmp_path: Path, gone: str
) -> None:
    home, _ = lagging
    path = tmp_path / "archive" if gone == "archive" else Path(home.uri("user_quarantine"))
    shutil.rmtree(path)
    with pytest.raises(RecordsExpired, match=f"still wanted by .*{gone}"):
        consumed(home, at(home, 60))
    accepting(home, lambda: home.rows() >= READ + LEFT - (gone == "quarantine"))
    tree = home.examined()
    [chain] = tree["archives"]
    if gone == "archive":
        assert (tree["findings"], tree["unknown"]) == ([], [])
        assert (chain["records"], chain["expired"], chain["end"]) == (LEFT, 0, 60)
    else:  # its one row is lost, and that is never silent
        assert {f["kind"] for f in tree["findings"]} == {"missing"}
    assert tree["expired"] == GONE


# --- sinks alone


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(str(tmp_path), KAFKA)


def test_each_sink_counts_what_expired_beyond_its_own_position(pair: Pair) -> None:
    log: RecordLog = pair.log
    pair.write(log.batch({A: (0, 10)}))
    pair.archived(log.batch({A: (0, 10)}))
    pair.write(log.batch({A: (10, 20)}), stages=("clean",))
    gap = log.after_gap(log.batch({A: (30, 40)}), A, 10)
    pair.write(gap)
    pair.archived(gap)
    report = verify(pair.tables, [pair.archive])
    assert report.findings == ()
    [tally], [chain] = report.tallies, report.chains
    assert (tally.read, tally.clean, tally.quarantined) == (40, 19, 8)
    assert (tally.expired, tally.gaps) == (10 + 3, 0)  # three had to go to the quarantine yet
    assert (chain.expired, chain.records) == (20, 20)


def test_each_sink_keeps_the_newest_gap_for_the_others(pair: Pair) -> None:
    log: RecordLog = pair.log
    pair.write(log.batch({A: (0, 10), B: (0, 10)}))
    pair.archived(log.batch({A: (0, 10), B: (0, 10)}))
    pair.write(log.batch({A: (10, 20)}), stages=("clean",))
    assert gaps(pair) == [{}, {}, {}]
    gap = log.after_gap(log.batch({A: (30, 40), B: (10, 20)}), A, 10)
    pair.write(gap, stages=("clean",))
    pair.archived(gap)
    pair.forget("clean")
    kept = {log.partition(A): range(10, 30)}  # as the slowest sink lacked it, not as this one did
    assert gaps(pair) == [kept, {}, kept]
    pair.write(log.after_gap(log.batch({A: (45, 50)}), A, 40), stages=("clean",))
    assert gaps(pair)[0] == {log.partition(A): range(40, 45)}


def gaps(pair: Pair) -> list[Mapping[Partition, range]]:
    """Return the gaps that a fresh sink on each of the three finds."""
    both = [pair.log.partition(A), pair.log.partition(B)]
    found: list[Mapping[Partition, range]] = []
    sink: Sink
    for sink in (pair.sink("clean"), pair.sink("rejected"), pair.archiver()):
        with closing(sink):
            sink.positions(both)
            found.append(sink.gaps(both))
    return found


@pytest.mark.parametrize(
    ("offset", "low", "begins"),
    [
        (20, 50, 50),  # the slowest sink
        (30, 50, 50),  # one that was ahead of it
        (19, 50, 19),  # one that wants more than was accepted
        (20, 51, 20),  # more has expired since
        (50, 50, 50),  # one that is behind the gap
        (60, 70, 60),  # the next gap
        (0, 50, 0),  # one that is empty
    ],
)
def test_a_recorded_gap_is_passed_over_within_its_ends_only(
    offset: int, low: int, begins: int
) -> None:
    found, partition = Gaps(), Partition("demo.pin", "0")
    assert found.after(partition, offset, low, [range(3, 5), range(20, 50)]) == begins
    assert found.passed.get(partition) == (Position(low) if offset < begins else None)


def test_a_gap_that_an_empty_sink_lacks_begins_where_the_others_are() -> None:
    span = Span(None, Position(60), 10, Position(50))
    assert [span.gap(at) for at in (Position(20), None)] == [range(20, 50), range(0)]


def test_what_expired_is_counted_and_said_at_the_end(pair: Pair) -> None:
    state = PipelineState("pin", "", "", SystemClock(), 0)
    state.wrote(pair.log.after_gap(pair.log.batch({A: (30, 40)}), A, 10))
    assert said(state) == "6 clean, 4 quarantined, 20 expired"


def test_two_gaps_add_up(pair: Pair) -> None:
    log = pair.log
    pair.write(log.batch({A: (0, 10), B: (0, 10)}), log.after_gap(log.batch({A: (13, 20)}), A, 10))
    pair.write(log.after_gap(log.batch({A: (25, 30)}), A, 20))
    tallies = {t.partition: t for t in verify(pair.tables).tallies}
    assert [tallies[log.partition(n)].expired for n in (A, B)] == [8, 0]


@pytest.mark.parametrize("lost", [13, 28])
def test_a_row_lost_beside_a_gap_is_found_also_when_the_log_has_expired(
    pair: Pair, lost: int
) -> None:
    log = pair.log
    pair.write(log.batch({A: (0, 20)}), log.after_gap(log.batch({A: (25, 30)}), A, 20))
    pair.drop("clean", A, lost)
    for stage in ("clean", "rejected"):
        pair.forget(stage)
    [finding] = verify(pair.tables).findings
    assert finding.kind == "gap"
    assert finding.detail.startswith("1 offsets between 0 and 30")
