"""The gateway's Kafka producer: it returns coordinates or a failure for each record."""

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

from core import kafka_errors
from core.errors import ConfigError
from gateway.http.request_codec import KafkaRecord
from gateway.http.responses import KAFKA_FAILED, RETRY_LATER, Refusal

KAFKA_RETRIABLE = 50003
UNAUTHENTICATED = 40101
FORBIDDEN = 40301
DELIVERY_TIMEOUT_S = 20  # with METADATA_TIMEOUT_S less than API Gateway's 29 s
METADATA_TIMEOUT_S = 4.0
NO_OFFSET = -1  # Java's value: the broker has stored the record and no longer knows its offset
POLL_INTERVAL_S = 0.001
IDLE_INTERVAL_S = 0.5
_DEFAULTS = {
    "compression.type": "lz4",
    "linger.ms": 5,
    "partitioner": "murmur2_random",  # that of Java producers: a key keeps its partition
    "queue.buffering.max.kbytes": 128 * 1024,
    "topic.metadata.propagation.max.ms": 5000,
    # No "logger": its line about a fatal error takes the place of the exception that `poll` raises.
    "log_level": 2,  # _log_error gets the errors
}
_REQUIRED = {
    "acks": "all",
    "enable.idempotence": True,
    "delivery.timeout.ms": DELIVERY_TIMEOUT_S * 1000,
}
_ALIASES = {"message.timeout.ms", "request.required.acks"}  # they would override _REQUIRED
_CODES = {
    **dict.fromkeys(kafka_errors.AUTHENTICATION, UNAUTHENTICATED),
    **dict.fromkeys(kafka_errors.AUTHORIZATION, FORBIDDEN),
    **dict.fromkeys(kafka_errors.RETRIABLE, KAFKA_RETRIABLE),
}
_PER_CONNECTION = {KafkaError._TRANSPORT, KafkaError._RESOLVE}  # noqa: SLF001
_log = structlog.get_logger("gateway")


class Stored(msgspec.Struct, frozen=True):
    """Where the broker stored a record; as JSON it is the REST Proxy's PartitionOffset."""

    partition: int
    offset: int
    error_code: None = None
    error: None = None


class Failed(NamedTuple):
    """The REST Proxy's code for a record that was not acknowledged, and Kafka's message."""

    code: int
    message: str


Outcome = Stored | Failed


def failure(error: KafkaError) -> Failed:
    """Return the REST Proxy's code for `error`: 50003 is retriable, 50002 is not.

    After a timeout (50003, as in the REST Proxy) the broker may have stored the record.
    """
    return Failed(_CODES.get(error.code(), KAFKA_FAILED), error.str())


_PURGED = failure(KafkaError(KafkaError._PURGE_QUEUE))  # noqa: SLF001


@dataclass(slots=True)
class _Progress:
    """Whether a producer stored records, or let records time out, since the last check."""

    stored: bool = False
    timed_out: bool = False


class _Delivery:
    """The outcomes of one request's records; the last one completes the future `done`."""

    def __init__(self, records: int, progress: _Progress) -> None:
        self._progress = progress
        self.done: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()
        self._outcomes: list[Outcome] = [Failed(KAFKA_FAILED, "")] * records
        self._left = records

    def settle(self, index: int, outcome: Outcome) -> None:
        """Set the outcome of one record."""
        self._outcomes[index] = outcome
        self._left -= 1
        if not self._left and not self.done.cancelled():
            self.done.set_result(self._outcomes)

    def delivered(self, index: int, error: KafkaError | None, message: Message) -> None:
        """Set the outcome of one record from its delivery report."""
        if error is None:
            self._progress.stored = True
            partition, offset = message.partition() or 0, message.offset()
            self.settle(index, Stored(partition, NO_OFFSET if offset is None else offset))
        else:
            self._progress.timed_out |= error.code() == kafka_errors.MSG_TIMED_OUT
            self.settle(index, failure(error))


class KafkaProducer:
    """An idempotent producer with acks=all; `properties` are the section `kafka`.

    The event loop polls for delivery reports: a separate thread would compete with it for the
    interpreter at every record. Raises ConfigError when librdkafka refuses the properties.
    """

    def __init__(self, properties: Mapping[str, Any]) -> None:
        own = {name: value for name, value in properties.items() if name not in _ALIASES}
        self._properties = {**_DEFAULTS, **own, **_REQUIRED, "error_cb": _log_error}
        self._producer = _made(self._properties)
        self._progress = _Progress()
        self._denied: Failed | None = None  # why Kafka denied access; the outcome of purged records
        self._retired: list[Producer] = []
        self._topics: Collection[str] = ()
        self._work = asyncio.Event()
        self._polling: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start to poll for delivery reports."""
        self._polling = asyncio.create_task(self._poll())

    async def close(self) -> None:
        """Wait for records in flight, DELIVERY_TIMEOUT_S at most, then stop."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DELIVERY_TIMEOUT_S):
                while len(self._producer) or self._retired:  # noqa: ASYNC110  # librdkafka has no event to await
                    await asyncio.sleep(POLL_INTERVAL_S)
        if self._polling is not None:
            self._polling.cancel()

    async def produce(self, topic: str, records: Sequence[KafkaRecord]) -> list[Outcome]:
        """Store `records`; return their outcomes, in order, when the last one is known."""
        delivery = _Delivery(len(records), self._progress)
        for index, record in enumerate(records):
            rejected = self._enqueue(topic, record, partial(delivery.delivered, index))
            if rejected is not None:
                delivery.settle(index, rejected)
        self._work.set()
        outcomes = await delivery.done
        if self._denied is None:
            return outcomes
        return [self._denied if outcome == _PURGED else outcome for outcome in outcomes]

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
                self._poll_once()  # it reports the fatal error and replaces the producer
            else:
                return None
        return Failed(KAFKA_RETRIABLE, "The gateway replaces its producer")

    async def knows(self, topic: str) -> bool:
        """Whether the cluster has `topic`; only a known topic is cached.

        Raises Refusal with status 503 when no broker responds.
        """
        if topic not in self._topics:
            self._topics = await run_in_threadpool(self._list_topics)
        return topic in self._topics

    def fault(self) -> str | None:
        """Return why Kafka does not respond, or None; blocks for METADATA_TIMEOUT_S at most."""
        try:
            self._list_topics()
        except Refusal as refusal:
            return refusal.message
        return None

    def _list_topics(self) -> Collection[str]:
        try:
            return frozenset(self._producer.list_topics(timeout=METADATA_TIMEOUT_S).topics)
        except KafkaException as error:
            message = f"Kafka cannot be reached: {error.args[0].str()}"
            raise Refusal(503, KAFKA_RETRIABLE, message, RETRY_LATER) from None

    async def _poll(self) -> None:
        while True:
            self._poll_once()
            if len(self._producer) or self._retired:
                await asyncio.sleep(POLL_INTERVAL_S)
            else:
                await self._idle()

    async def _idle(self) -> None:
        """Wait for records, but not for long: librdkafka reports errors without any."""
        self._work.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(IDLE_INTERVAL_S):
                await self._work.wait()

    def _poll_once(self) -> None:
        for old in self._retired:
            with suppress(KafkaException, SystemError):
                old.poll(0)
        self._retired = [old for old in self._retired if len(old)]
        try:
            self._producer.poll(0)
        except (KafkaException, SystemError) as error:  # SystemError: a report followed it
            self._replace_failed(error if isinstance(error, KafkaException) else error.__cause__)
        if self._progress.timed_out:
            self._replace_stalled()

    def _replace_stalled(self) -> None:
        """Replace a producer that stores nothing: after a broker's crash it may wait for ever."""
        if not self._progress.stored:
            self._replace("records time out and none is stored")
        self._progress.stored = self._progress.timed_out = False

    def _replace_failed(self, fatal: BaseException | None) -> None:
        """Replace the producer after a fatal error, after which it delivers nothing."""
        self._producer.purge(blocking=False)
        verdict = failure(fatal.args[0]) if isinstance(fatal, KafkaException) else None
        self._denied = verdict if verdict and verdict.code in (UNAUTHENTICATED, FORBIDDEN) else None
        self._replace(str(fatal))

    def _replace(self, why: str) -> None:
        """Create another producer; the old one only reports on the records that it holds."""
        _log.warning("kafka_producer_replaced", error=why)
        self._retired.append(self._producer)
        self._producer, self._progress = _made(self._properties), _Progress()


def _made(properties: Mapping[str, Any]) -> Producer:
    try:
        return Producer(dict(properties))
    except KafkaException as error:
        raise ConfigError(
            f"the gateway's Kafka producer cannot start: {error.args[0].str()}",
            "fix the section kafka of config.yaml",
        ) from error


def _is_fatal(error: KafkaError) -> bool:
    return error.fatal() or error.code() == kafka_errors.FATAL


def _log_error(error: KafkaError) -> None:
    """Log errors of the cluster, not those of a connection, which repeat several times a second."""
    if error.code() not in _PER_CONNECTION:
        _log.warning("kafka_error", error=error.str(), fatal=error.fatal())
