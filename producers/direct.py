"""Straight to the brokers, past the gateway: the same sending surface over Kafka and Kinesis."""

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.config import Config as BotoConfig
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
)
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from core import aws, aws_faults
from core.config import Aws
from core.errors import ConfigError, FatalError
from producers import hints
from producers.delivery import THROTTLED, Outcome, Outgoing, Result, Retry, chunks, put_result

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_kinesis.type_defs import PutRecordsRequestEntryTypeDef

MOST = 500
MOST_BYTES = 5 * 1024 * 1024
BROKER_WAIT = 10.0
TRIES = 10
BUSY = {THROTTLED, "LimitExceededException", "ThrottlingException"}
SERVER_ERROR = 500
REFUSED = {KafkaError._AUTHENTICATION, KafkaError._SSL}  # noqa: SLF001 - their only names

ENDPOINT = "see the network, aws.region and aws.endpoint_url in config.yaml"
SERVERS = "see that the brokers run, and kafka.bootstrap.servers in config.yaml"
KAFKA_HINTS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: hints.RIGHTS.format("config.yaml"),
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: hints.RIGHTS.format("config.yaml"),
    KafkaError.UNKNOWN_TOPIC_OR_PART: hints.ABSENT,
    KafkaError._UNKNOWN_TOPIC: hints.ABSENT,  # noqa: SLF001 - its only name
}
NO_REPORT = Result(Outcome.UNKNOWN, error="no delivery report in time", hint=SERVERS)


class KafkaDirect:
    """An idempotent producer with acks=all; `properties` are librdkafka's.

    `timeout`: seconds until a record's outcome is unknown. Raises ConfigError when the properties
    are refused, or no broker answers or lets us in.
    """

    def __init__(self, properties: Mapping[str, Any], *, timeout: float = 35.0) -> None:
        self._timeout = timeout
        self._producer = _producer(properties, timeout)

    def send(self, topic: str, records: Sequence[Outgoing]) -> list[Result]:
        """Produce and wait for every delivery report: one result per record, in order."""
        results = [NO_REPORT] * len(records)

        def report(index: int, error: KafkaError | None, message: Message) -> None:
            results[index] = _delivered(error, message)

        for index, record in enumerate(records):
            refusal = self._produce(topic, record, partial(report, index))
            results[index] = refusal or results[index]
        self._flush()
        return list(results)

    def _flush(self) -> None:
        """Wait for the reports; FatalError when the client will never send again."""
        try:
            self._producer.flush(self._timeout)
        except (KafkaException, SystemError) as error:  # SystemError: a report came after a fatal
            fatal = error if isinstance(error, KafkaException) else error.__cause__
            raise FatalError(
                f"Kafka refuses to store records: {fatal.args[0].str() if fatal else error}",
                "see the user and its rights (ACLs: WRITE on the topics)",
            ) from error

    def _produce(self, topic: str, record: Outgoing, report: Callable[..., None]) -> Result | None:
        key, value = str(record.key).encode(), record.payload
        while True:
            try:
                self._producer.produce(topic, value, key, on_delivery=report)
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:
                return _refused_by_kafka(error.args[0])
            else:
                return None


def _producer(properties: Mapping[str, Any], timeout: float) -> Producer:
    settings = {"compression.type": "lz4", "linger.ms": 5, "log_level": 2, **properties}
    settings |= {"enable.idempotence": True, "acks": "all"}
    settings |= {"message.timeout.ms": int(timeout * 1000)}
    heard: deque[KafkaError] = deque(maxlen=20)
    try:
        producer = Producer({**settings, "error_cb": heard.append})
        _reach(producer, heard)
    except KafkaException as error:
        raise ConfigError(
            f"no producer for {properties.get('bootstrap.servers')}: {error.args[0].str()}",
            "check the section kafka of config.yaml, and that the broker runs",
        ) from error
    return producer


def _reach(producer: Producer, heard: Collection[KafkaError]) -> None:
    """Raise KafkaException as soon as a broker refuses us, or when none answers in BROKER_WAIT."""
    for left in reversed(range(TRIES)):
        try:
            producer.list_topics(timeout=BROKER_WAIT / TRIES)
        except KafkaException:
            producer.poll(0)  # lets the client say why
            refused = [own for own in heard if own.code() in REFUSED]
            if refused:
                raise KafkaException(refused[0]) from None
            if not left:
                raise
        else:
            return


def _delivered(error: KafkaError | None, message: Message) -> Result:
    if error is None:
        return Result(Outcome.STORED, str(message.partition()), message.offset() or 0)
    # A record that timed out may have been written: its answer is what is missing.
    if error.code() == KafkaError._MSG_TIMED_OUT:  # noqa: SLF001 - its only name
        return Result(Outcome.UNKNOWN, error=error.str(), hint=SERVERS)
    return _refused_by_kafka(error)


def _refused_by_kafka(error: KafkaError) -> Result:
    hint = KAFKA_HINTS.get(error.code(), hints.ELSEWHERE)
    return Result(Outcome.REJECTED, error=error.str(), hint=hint)


def kinesis_client(own: Aws, *, timeout: float = 35.0) -> "KinesisClient":
    """A Kinesis client without retries: botocore would repeat a request whose answer is lost."""
    once = BotoConfig(retries={"total_max_attempts": 1}, read_timeout=timeout, connect_timeout=5)
    made: KinesisClient = aws.client(own, "kinesis", once)
    return made


class KinesisDirect:
    """PutRecords through `client` (see `kinesis_client`); only failed entries are sent again."""

    def __init__(self, client: "KinesisClient", *, retry: Retry | None = None) -> None:
        self._client = client
        self._retry = retry or Retry()

    def send(self, stream: str, records: Sequence[Outgoing]) -> list[Result]:
        """Put in requests of at most 500 records and 5 MiB: one result per record, in order."""

        def attempt(pending: Sequence[tuple[bytes, str]]) -> list[Result]:
            parts = chunks(pending, _size, MOST, MOST_BYTES)
            return [result for part in parts for result in self._put(stream, part)]

        return self._retry.run(attempt, [(r.payload, str(r.key)) for r in records])

    def _put(self, stream: str, chunk: list[tuple[bytes, str]]) -> list[Result]:
        entries: list[PutRecordsRequestEntryTypeDef] = [
            {"Data": data, "PartitionKey": key} for data, key in chunk
        ]
        try:
            answer = self._client.put_records(StreamName=stream, Records=entries)
        except (ClientError, BotoCoreError) as error:
            return [_refused(error)] * len(chunk)
        return [put_result(entry) for entry in answer["Records"]]


def _size(entry: tuple[bytes, str]) -> int:
    data, key = entry
    return len(data) + len(key)


def _refused(error: ClientError | BotoCoreError) -> Result:
    if isinstance(error, ClientError):
        return _answered(error)
    if isinstance(error, (EndpointConnectionError, ConnectTimeoutError)):
        return Result(Outcome.REJECTED, error=str(error), retriable=True, hint=ENDPOINT)
    lost = isinstance(error, (ReadTimeoutError, ConnectionClosedError))
    hint = aws_faults.advice(error) or ENDPOINT
    return Result(Outcome.UNKNOWN if lost else Outcome.REJECTED, error=str(error), hint=hint)


def _answered(error: ClientError) -> Result:
    code = error.response["Error"]["Code"]
    hint = aws_faults.advice(error) or hints.of_code(code)
    if code in BUSY:
        return Result(Outcome.REJECTED, error=str(error), retriable=True, hint=hints.SHARDS)
    failed = error.response["ResponseMetadata"]["HTTPStatusCode"] >= SERVER_ERROR
    return Result(Outcome.UNKNOWN if failed else Outcome.REJECTED, error=str(error), hint=hint)
