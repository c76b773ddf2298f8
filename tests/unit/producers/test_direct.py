"""Straight to Kafka and Kinesis, and the driver that paces and batches."""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from core.config import Aws
from core.errors import ConfigError, FatalError
from producers.delivery import DeliveryReport, DeliveryStatus, ProducerRecord, Retry
from producers.direct import KafkaDirect, KinesisDirect, kinesis_client
from producers.emulator import event, events
from producers.malformed import MalformedRecords
from producers.send import Driver, SendRoute
from tests.support.aws import TestAws
from tests.support.brokers import Broker
from tests.support.clock import ManualClock
from tests.support.gateways import read

ROWS = [event(1, key).rows["pin"] for key in range(20)]
RECORDS = [ProducerRecord(key, row) for key, row in enumerate(ROWS)]


def test_kafka_stores_every_record_where_its_result_says(mock_broker: Broker) -> None:
    topic = mock_broker.create_topic()
    results = KafkaDirect(mock_broker.properties).send(
        topic, [*RECORDS, ProducerRecord(99, b"\xff")]
    )
    held = read(mock_broker.bootstrap, topic, 21)
    places = {(str(record.partition), record.offset): record for record in held}
    assert {result.status for result in results} == {DeliveryStatus.STORED}
    for record, result in zip(RECORDS, results, strict=False):
        stored = places[result.partition, int(result.position)]
        assert stored.key == str(record.key).encode()
        assert json.loads(stored.value or b"") == record.value
    assert places[results[20].partition, int(results[20].position)].value == b"\xff"


def test_kafka_rejects_a_record_that_is_too_large_and_stores_the_others(
    mock_broker: Broker,
) -> None:
    topic = mock_broker.create_topic()
    records = [RECORDS[0], ProducerRecord(1, b"x" * 1_100_000), RECORDS[1]]
    results = KafkaDirect(mock_broker.properties).send(topic, records)
    assert [str(result.status) for result in results] == ["stored", "rejected", "stored"]
    assert "Message size too large" in results[1].error


def test_kafka_waits_for_room_when_its_queue_is_full(mock_broker: Broker) -> None:
    topic = mock_broker.create_topic()
    narrow = mock_broker.properties | {"queue.buffering.max.messages": 5}
    results = KafkaDirect(narrow).send(topic, RECORDS)
    assert [result.status for result in results] == [DeliveryStatus.STORED] * 20


@pytest.mark.parametrize(
    "properties",
    [{"bootstrap.servers": "127.0.0.1:1", "log_level": 0}, {"no.such.property": "1"}],
)
def test_a_broker_that_cannot_be_used_is_a_clear_error(
    properties: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producers.direct.REACH_TIMEOUT_S", 0.5)
    with pytest.raises(ConfigError, match="no producer for"):
        KafkaDirect(properties)


def stored_in(aws: TestAws, stream: str, shard: str) -> list[Any]:
    client = aws.client("kinesis")
    start = client.get_shard_iterator(
        StreamName=stream, ShardId=shard, ShardIteratorType="TRIM_HORIZON"
    )
    found: list[Any] = client.get_records(ShardIterator=start["ShardIterator"])["Records"]
    return found


def test_kinesis_stores_every_record_with_its_key(aws: TestAws) -> None:
    stream = aws.stream(shards=1)
    results = KinesisDirect(kinesis_client(aws.config)).send(stream, RECORDS)
    stored = stored_in(aws, stream, results[0].partition)
    assert [record["SequenceNumber"] for record in stored] == [r.position for r in results]
    assert [record["PartitionKey"] for record in stored] == [str(r.key) for r in RECORDS]
    assert [json.loads(record["Data"]) for record in stored] == ROWS


def test_kinesis_takes_more_than_one_request_can_hold(aws: TestAws) -> None:
    stream = aws.stream(shards=1)
    large = [ProducerRecord(n, b"x" * 1_000_000) for n in range(6)]
    small = [ProducerRecord(n, {}) for n in range(501)]
    results = KinesisDirect(kinesis_client(aws.config)).send(stream, [*large, *small])
    assert [result.status for result in results] == [DeliveryStatus.STORED] * 507


def test_a_stream_that_does_not_exist_rejects_every_record(aws: TestAws) -> None:
    results = KinesisDirect(kinesis_client(aws.config)).send("none", RECORDS[:2])
    assert [result.status for result in results] == [DeliveryStatus.REJECTED] * 2
    assert "ResourceNotFoundException" in results[0].error


class FailingOnce:
    """A fault in the answer of the first PutRecords: botocore's own event hooks carry it."""

    def __init__(self, client: Any, code: str) -> None:
        self.calls: list[list[str]] = []
        self._code = code
        client.meta.events.register("provide-client-params.kinesis.PutRecords", self._asked)
        client.meta.events.register("after-call.kinesis.PutRecords", self._answered)

    def _asked(self, params: dict[str, Any], **_: Any) -> None:
        self.calls.append([record["PartitionKey"] for record in params["Records"]])

    def _answered(self, parsed: dict[str, Any], **_: Any) -> None:
        if len(self.calls) == 1:
            parsed["Records"][1] = {"ErrorCode": self._code, "ErrorMessage": "no"}


@pytest.mark.parametrize(
    ("code", "calls", "outcome"),
    [
        ("ProvisionedThroughputExceededException", [["0", "1", "2"], ["1"]], DeliveryStatus.STORED),
        ("InternalFailure", [["0", "1", "2"]], DeliveryStatus.UNKNOWN),
    ],
)
def test_only_a_throttled_entry_is_put_again(
    aws: TestAws, code: str, calls: list[list[str]], outcome: DeliveryStatus
) -> None:
    client, stream = kinesis_client(aws.config), aws.stream(shards=1)
    fault = FailingOnce(client, code)
    direct = KinesisDirect(client, retry=Retry(3, ManualClock(), random.Random(1), seconds=0))
    results = direct.send(stream, RECORDS[:3])
    assert fault.calls == calls
    assert [r.status for r in results] == [DeliveryStatus.STORED, outcome, DeliveryStatus.STORED]


def test_a_kinesis_that_is_not_there_is_tried_again_and_then_rejects() -> None:
    section = {"endpoint_url": "http://127.0.0.1:1", "access_key_id": "x"}
    client = kinesis_client(Aws.model_validate(section | {"secret_access_key": "x"}))
    clock = ManualClock()
    direct = KinesisDirect(client, retry=Retry(2, clock, random.Random(1), seconds=0))
    results = direct.send("s", RECORDS[:2])
    assert [result.status for result in results] == [DeliveryStatus.REJECTED] * 2
    assert clock.monotonic() > 0


def test_a_kinesis_answer_that_is_lost_is_unknown_and_not_asked_for_again(aws: TestAws) -> None:
    client, asked = kinesis_client(aws.config), list[str]()

    def lose(**_: Any) -> None:
        asked.append("once")
        raise ReadTimeoutError(endpoint_url="http://kinesis")

    client.meta.events.register("before-send.kinesis.PutRecords", lose)
    results = KinesisDirect(client).send("s", RECORDS[:2])
    assert [result.status for result in results] == [DeliveryStatus.UNKNOWN] * 2
    assert asked == ["once"]


@dataclass
class RecordingTarget:
    """Keeps what it is sent, and when."""

    clock: ManualClock
    status: DeliveryStatus = DeliveryStatus.STORED
    sent: list[tuple[float, str, list[ProducerRecord]]] = field(default_factory=list)

    def send(self, target: str, records: Sequence[ProducerRecord]) -> list[DeliveryReport]:
        """Note the batch."""
        self.sent.append((self.clock.monotonic(), target, list(records)))
        return [
            DeliveryReport(
                self.status, error="" if self.status is DeliveryStatus.STORED else "full"
            )
        ] * len(records)

    def keys(self, target: str) -> list[int]:
        """Return the keys that were sent to `target`, in order."""
        return [r.key for _, name, records in self.sent if name == target for r in records]


def route(target: RecordingTarget, name: str = "a", *, text_only: bool = False) -> SendRoute:
    names = {record: f"{name}.{record}" for record in ("pin", "geo", "user")}
    return SendRoute(target.send, names, text_only=text_only)


def test_events_take_turns_between_routes_and_none_is_lost() -> None:
    target = RecordingTarget(ManualClock())
    drawn = list(islice(events(1), 7))
    driver = Driver([route(target, "a"), route(target, "b")], batch=3, clock=target.clock)
    summary = driver.run(drawn)
    for record in ("pin", "geo", "user"):
        assert target.keys(f"a.{record}") == [made.key for made in drawn[::2]]
        assert target.keys(f"b.{record}") == [made.key for made in drawn[1::2]]
    assert summary.total(DeliveryStatus.STORED) == 21
    assert (summary.stored("a.pin"), summary.stored("b.pin")) == (4, 3)
    assert max(len(records) for _, _, records in target.sent) == 3


def test_a_rate_spaces_events_and_a_batch_waits_half_a_second_at_most() -> None:
    target = RecordingTarget(ManualClock())
    Driver([route(target)], rate=100, clock=target.clock).run(islice(events(1), 300))
    assert target.clock.monotonic() == pytest.approx(2.99)
    pins = [len(records) for _, name, records in target.sent if name == "a.pin"]
    assert sum(pins) == 300
    assert max(pins) <= 51
    assert len(pins) <= 7


def test_a_slow_rate_still_sends_within_half_a_second_of_the_event() -> None:
    target = RecordingTarget(ManualClock())
    Driver([route(target)], rate=0.1, clock=target.clock).run(islice(events(1), 3))
    times = [at for at, name, _ in target.sent if name == "a.pin"]
    assert times == pytest.approx([0.5, 10.5, 20.0], abs=0.51)


def test_after_a_delay_the_rate_catches_up_on_one_second_only() -> None:
    target = RecordingTarget(ManualClock())

    def late() -> Iterator[Any]:
        for number, made in enumerate(islice(events(1), 41)):
            if number == 10:
                target.clock.advance(60)
            yield made

    Driver([route(target)], rate=10, clock=target.clock).run(late())
    assert target.clock.monotonic() == pytest.approx(0.9 + 60 + 2, abs=0.11)


def test_a_stop_sends_what_waits_and_returns() -> None:
    target = RecordingTarget(ManualClock())
    taken = 0

    def progress(events_taken: int) -> None:
        nonlocal taken
        taken += events_taken

    driver = Driver(
        [route(target)], clock=target.clock, progress=progress, stopping=lambda: taken == 5
    )
    summary = driver.run(events(1))
    assert taken == 5
    assert summary.total(DeliveryStatus.STORED) == 15


def test_a_stop_is_heard_while_waiting_for_the_next_event() -> None:
    target = RecordingTarget(ManualClock())
    driver = Driver(
        [route(target)],
        rate=0.001,
        clock=target.clock,
        stopping=lambda: target.clock.monotonic() > 2,
    )
    assert driver.run(events(1)).total(DeliveryStatus.STORED) == 3
    assert target.clock.monotonic() < 3


def test_bad_payloads_come_in_addition_to_the_good_records() -> None:
    plain, spoilt = RecordingTarget(ManualClock()), RecordingTarget(ManualClock())
    Driver([route(plain)], clock=plain.clock).run(islice(events(1), 400))
    driver = Driver([route(spoilt)], malformed=MalformedRecords(0.1), clock=spoilt.clock)
    summary = driver.run(islice(events(1), 400))
    good = [json.dumps(r.value) for _, name, rs in plain.sent if name == "a.geo" for r in rs]
    sent = [r for _, name, rs in spoilt.sent if name == "a.geo" for r in rs]
    assert len(sent) - len(good) == summary.bad["a.geo"] > 20
    held = iter([json.dumps(r.value) for r in sent if isinstance(r.value, dict)])
    assert all(row in held for row in good)


def test_a_target_that_takes_nothing_ends_the_run_with_its_reason() -> None:
    target = RecordingTarget(ManualClock(), status=DeliveryStatus.REJECTED)
    driver = Driver([route(target)], batch=2, clock=target.clock)
    with pytest.raises(FatalError, match=r"a\.pin took none of 2 records: full"):
        driver.run(events(1))


def test_unknown_outcomes_are_counted_apart_and_do_not_end_the_run() -> None:
    target = RecordingTarget(ManualClock(), status=DeliveryStatus.UNKNOWN)
    summary = Driver([route(target)], batch=2, clock=target.clock).run(islice(events(1), 4))
    assert summary.total(DeliveryStatus.UNKNOWN) == 12
    assert summary.errors["full"] == 12
