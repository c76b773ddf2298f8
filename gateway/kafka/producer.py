"""The Kafka side of the gateway: records in, acknowledged coordinates or failures out."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import msgspec
import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from starlette.concurrency import run_in_threadpool

from core.errors import ConfigError
from gateway.http.request_codec import KafkaRecord
from gateway.http.responses import Refusal

KAFKA_FAILED = 50002
KAFKA_RETRIABLE = 50003
UNAUTHENTICATED = 40101
FORBIDDEN = 40301
DELIVERY_SECONDS = 20  # with the topic's look-up an answer comes before API Gateway's 29 s
METADATA_SECONDS = 4.0
NO_OFFSET = -1  # as Java producers have it: the broker has the record, and no longer knows where
POLL_SECONDS = 0.001
IDLE_SECONDS = 0.5
_DEFAULTS = {
    "compression.type": "lz4",
    "linger.ms": 5,
    "partitioner": "murmur2_random",  # as Java producers, so that a key keeps its partition
    "queue.buffering.max.kbytes": 128 * 1024,
    "topic.metadata.propagation.max.ms": 5000,
    "log_level": 2,  # errors arrive at _report
}
_PROMISES = {
    "acks": "all",
    "enable.idempotence": True,
    "delivery.timeout.ms": DELIVERY_SECONDS * 1000,
}
_ALIASES = {"message.timeout.ms", "request.required.acks"}  # they would win over a promise
_CODES = {
    KafkaError.SASL_AUTHENTICATION_FAILED: UNAUTHENTICATED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED: FORBIDDEN,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: FORBIDDEN,
    KafkaError._MSG_TIMED_OUT: KAFKA_RETRIABLE,  # noqa: SLF001  # librdkafka's own codes
    KafkaError._QUEUE_FULL: KAFKA_RETRIABLE,  # noqa: SLF001
    KafkaError._PURGE_QUEUE: KAFKA_RETRIABLE,  # noqa: SLF001
    KafkaError._PURGE_INFLIGHT: KAFKA_RETRIABLE,  # noqa: SLF001
    KafkaError._TRANSPORT: KAFKA_RETRIABLE,  # noqa: SLF001
    KafkaError._ALL_BROKERS_DOWN: KAFKA_RETRIABLE,  # noqa: SLF001
    KafkaError.LEADER_NOT_AVAILABLE: KAFKA_RETRIABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION: KAFKA_RETRIABLE,
    KafkaError.REQUEST_TIMED_OUT: KAFKA_RETRIABLE,
    KafkaError.NOT_ENOUGH_REPLICAS: KAFKA_RETRIABLE,
    KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND: KAFKA_RETRIABLE,
}
_PER_CONNECTION = {KafkaError._TRANSPORT, KafkaError._RESOLVE}  # noqa: SLF001
_log = structlog.get_logger("gateway")


class Stored(msgspec.Struct, frozen=True):
    """The broker acknowledged the record here; encoded it is the REST Proxy's PartitionOffset."""

    partition: int
    offset: int
    error_code: None = None
    error: None = None


class Failed(NamedTuple):
    """The REST Proxy's code for a record that was not acknowledged, and Kafka's words for it."""

    code: int
    message: str


Outcome = Stored | Failed


def failure(error: KafkaError) -> Failed:
    """`error` as the REST Proxy numbers it: 50003 may be tried again, 50002 may not.

    After a time-out (50003, as the REST Proxy has it) the broker may still hold the record.
    """
    return Failed(_CODES.get(error.code(), KAFKA_FAILED), error.str())


_PURGED = failure(KafkaError(KafkaError._PURGE_QUEUE))  # noqa: SLF001


@dataclass(slots=True)
class _Pulse:
    """What a producer did since it was looked at: one that only times out is of no more use."""

    stored: bool = False
    timed_out: bool = False


class _Delivery:
    """The outcomes of one request's records; `done` gets them when the last is known."""

    def __init__(self, records: int, pulse: _Pulse) -> None:
        self._pulse = pulse
        self.done: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()
        self._outcomes: list[Outcome] = [Failed(KAFKA_FAILED, "")] * records
        self._left = records

    def settle(self, index: int, outcome: Outcome) -> None:
        """Note one record's outcome."""
        self._outcomes[index] = outcome
        self._left -= 1
        if not self._left and not self.done.cancelled():
            self.done.set_result(self._outcomes)

    def delivered(self, index: int, error: KafkaError | None, message: Message) -> None:
        """Take one delivery report."""
        if error is None:
            self._pulse.stored = True
            partition, offset = message.partition() or 0, message.offset()
            self.settle(index, Stored(partition, NO_OFFSET if offset is None else offset))
        else:
            self._pulse.timed_out |= error.code() == KafkaError._MSG_TIMED_OUT  # noqa: SLF001
            self.settle(index, failure(error))


class KafkaProducer:
    """One idempotent producer with acks=all; its `kafka` section's properties may tune the rest.

    Delivery reports are polled for in the event loop itself: a thread of their own would fight
    with it for the interpreter at every record. Raises ConfigError when librdkafka does not take
    the properties.
    """

    def __init__(self, properties: Mapping[str, Any]) -> None:
        own = {name: value for name, value in properties.items() if name not in _ALIASES}
        self._properties = {**_DEFAULTS, **own, **_PROMISES, "error_cb": _report}
        self._producer = _made(self._properties)
        self._pulse = _Pulse()
        self._verdict: Failed | None = None  # why Kafka lets the gateway not in, for what it purged
        self._retired: list[Producer] = []
        self._topics: Collection[str] = ()
        self._work = asyncio.Event()
        self._polling: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start hearing of deliveries."""
        self._polling = asyncio.create_task(self._poll())

    async def close(self) -> None:
        """Wait for what is under way, DELIVERY_SECONDS at most, then stop."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DELIVERY_SECONDS):
                while len(self._producer) or self._retired:  # noqa: ASYNC110  # librdkafka has nothing to wait on
                    await asyncio.sleep(POLL_SECONDS)
        if self._polling is not None:
            self._polling.cancel()

    async def produce(self, topic: str, records: Sequence[KafkaRecord]) -> list[Outcome]:
        """Outcomes in the order of `records`, when the broker has answered for the last one."""
        delivery = _Delivery(len(records), self._pulse)
        for index, record in enumerate(records):
            rejected = self._enqueue(topic, record, partial(delivery.delivered, index))
            if rejected is not None:
                delivery.settle(index, rejected)
        self._work.set()
        outcomes = await delivery.done
        if self._verdict is None:
            return outcomes
        return [self._verdict if outcome == _PURGED else outcome for outcome in outcomes]

    def _enqueue(self, topic: str, record: KafkaRecord, report: Any) -> Failed | None:
        where = -1 if record.partition is None else record.partition
        for _ in range(2):
            try:
                self._producer.produce(topic, record.value, record.key, where, report)
            except BufferError:
                return Failed(KAFKA_RETRIABLE, "The gateway's queue is full")
            except KafkaException as error:
                if not _is_fatal(error.args[0]):
                    return failure(error.args[0])
                self._serve()  # where the fatal error comes to light, and another producer with it
            else:
                return None
        return Failed(KAFKA_RETRIABLE, "The gateway's producer begins anew")

    async def knows(self, topic: str) -> bool:
        """Whether the cluster has `topic`; it is asked until it does.

        Raises Refusal with status 503 when no broker answers.
        """
        if topic not in self._topics:
            self._topics = await run_in_threadpool(self._list_topics)
        return topic in self._topics

    def fault(self) -> str | None:
        """What keeps Kafka from answering, or None; blocks for METADATA_SECONDS at most."""
        try:
            self._list_topics()
        except Refusal as refusal:
            return refusal.message
        return None

    def _list_topics(self) -> Collection[str]:
        try:
            return frozenset(self._producer.list_topics(timeout=METADATA_SECONDS).topics)
        except KafkaException as error:
            message = f"Kafka cannot be reached: {error.args[0].str()}"
            raise Refusal(503, KAFKA_RETRIABLE, message, {"Retry-After": "1"}) from None

    async def _poll(self) -> None:
        while True:
            self._serve()
            if len(self._producer) or self._retired:
                await asyncio.sleep(POLL_SECONDS)
            else:
                await self._idle()

    async def _idle(self) -> None:
        """Wait for records; now and then librdkafka has something to say without any."""
        self._work.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(IDLE_SECONDS):
                await self._work.wait()

    def _serve(self) -> None:
        for old in self._retired:
            with suppress(KafkaException, SystemError):
                old.poll(0)
        self._retired = [old for old in self._retired if len(old)]
        try:
            self._producer.poll(0)
        except (KafkaException, SystemError) as error:  # SystemError: a report came after it
            self._give_up(error if isinstance(error, KafkaException) else error.__cause__)
        if self._pulse.timed_out:
            self._look_closer()

    def _look_closer(self) -> None:
        """After a broker's crash librdkafka's idempotent producer may wait for it for ever."""
        if not self._pulse.stored:
            self._begin_anew("records time out and none is stored")
        self._pulse.stored = self._pulse.timed_out = False

    def _give_up(self, fatal: BaseException | None) -> None:
        """After a fatal error nothing is delivered any more: the next producer may do better."""
        self._producer.purge(blocking=False)
        verdict = failure(fatal.args[0]) if isinstance(fatal, KafkaException) else None
        self._verdict = (
            verdict if verdict and verdict.code in (UNAUTHENTICATED, FORBIDDEN) else None
        )
        self._begin_anew(str(fatal))

    def _begin_anew(self, why: str) -> None:
        """Make another producer; this one only gives what it still holds its outcome."""
        _log.error("kafka_producer_begins_anew", error=why)
        self._retired.append(self._producer)
        self._producer, self._pulse = _made(self._properties), _Pulse()


def _made(properties: Mapping[str, Any]) -> Producer:
    try:
        return Producer(dict(properties))
    except KafkaException as error:
        raise ConfigError(
            f"the gateway's Kafka producer cannot start: {error.args[0].str()}",
            "mend the kafka section of config.yaml",
        ) from error


def _is_fatal(error: KafkaError) -> bool:
    return error.fatal() or error.code() == KafkaError._FATAL  # noqa: SLF001


def _report(error: KafkaError) -> None:
    """Log what concerns the cluster; a single connection's failure comes several times a second."""
    if error.code() not in _PER_CONNECTION:
        _log.warning("kafka", error=error.str(), fatal=error.fatal())
