"""Send to the brokers without the gateway: Kafka and Kinesis clients, with a report per record."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
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

from core import aws, aws_faults, kafka_errors
from core.config import Aws
from core.errors import ConfigError, FatalError
from producers import hints
from producers.delivery import (
    THROTTLED,
    DeliveryReport,
    DeliveryStatus,
    ProducerRecord,
    Retry,
    chunks,
    put_report,
)

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_kinesis.type_defs import PutRecordsRequestEntryTypeDef

MAX_RECORDS = 500
MAX_BYTES = 5 * 1024 * 1024
MAX_ERRORS = 20
REACH_TIMEOUT_S = 10.0
RETRIABLE = {THROTTLED, "LimitExceededException", "ThrottlingException"}
SERVER_ERROR = 500

ENDPOINT = "see the network, aws.region and aws.endpoint_url in config.yaml"
SERVERS = "see that the brokers run, and kafka.bootstrap.servers in config.yaml"
KAFKA_HINTS = {
    **dict.fromkeys(kafka_errors.AUTHORIZATION, hints.RIGHTS.format("config.yaml")),
    **dict.fromkeys(kafka_errors.UNKNOWN_TOPIC, hints.ABSENT),
}
NO_REPORT = DeliveryReport(DeliveryStatus.UNKNOWN, error="no delivery report in time", hint=SERVERS)


class KafkaDirect:
    """An idempotent producer with acks=all; `properties` are librdkafka's.

    `timeout`: seconds until a record's status is UNKNOWN. Raises ConfigError when librdkafka
    refuses the properties, when no broker responds, or when one denies access.
    """

    def __init__(self, properties: Mapping[str, Any], *, timeout: float = 35.0) -> None:
        self._timeout = timeout
        self._producer = _producer(properties, timeout)

    def send(self, topic: str, records: Sequence[ProducerRecord]) -> list[DeliveryReport]:
        """Produce and wait for all delivery reports: one report per record, in order."""
        reports = [NO_REPORT] * len(records)

        def report(index: int, error: KafkaError | None, message: Message) -> None:
            reports[index] = _delivered(error, message)

        for index, record in enumerate(records):
            refusal = self._produce(topic, record, partial(report, index))
            reports[index] = refusal or reports[index]
        self._flush()
        return list(reports)

    def _flush(self) -> None:
        """Wait for the delivery reports; FatalError after a fatal error of the client."""
        try:
            self._producer.flush(self._timeout)
        except (KafkaException, SystemError) as error:  # SystemError: a report followed it
            fatal = error if isinstance(error, KafkaException) else error.__cause__
            raise FatalError(
                f"Kafka refuses to store records: {fatal.args[0].str() if fatal else error}",
                "see the user and its rights (ACLs: WRITE on the topics)",
            ) from error

    def _produce(
        self, topic: str, record: ProducerRecord, report: Callable[..., None]
    ) -> DeliveryReport | None:
        key, value = str(record.key).encode(), record.payload
        while True:
            try:
                self._producer.produce(topic, value, key, on_delivery=report)
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:
                return _rejected_by_kafka(error.args[0])
            else:
                return None


def _producer(properties: Mapping[str, Any], timeout: float) -> Producer:
    settings = {"compression.type": "lz4", "linger.ms": 5, "log_level": 2, **properties}
    settings |= {"enable.idempotence": True, "acks": "all"}
    settings |= {"message.timeout.ms": int(timeout * 1000)}
    errors: deque[KafkaError] = deque(maxlen=MAX_ERRORS)
    try:
        producer = Producer({**settings, "error_cb": errors.append})
        kafka_errors.reach(producer, errors, kafka_errors.AUTHENTICATION, REACH_TIMEOUT_S)
    except KafkaException as error:
        raise ConfigError(
            f"no producer for {properties.get('bootstrap.servers')}: {error.args[0].str()}",
            "check the section kafka of config.yaml, and that the broker runs",
        ) from error
    return producer


def _delivered(error: KafkaError | None, message: Message) -> DeliveryReport:
    if error is None:
        partition, offset = str(message.partition()), message.offset() or 0
        return DeliveryReport(DeliveryStatus.STORED, partition, offset)
    if error.code() == kafka_errors.MSG_TIMED_OUT:
        return DeliveryReport(DeliveryStatus.UNKNOWN, error=error.str(), hint=SERVERS)
    return _rejected_by_kafka(error)


def _rejected_by_kafka(error: KafkaError) -> DeliveryReport:
    hint = KAFKA_HINTS.get(error.code(), hints.CONFIGURATION)
    return DeliveryReport(DeliveryStatus.REJECTED, error=error.str(), hint=hint)


def kinesis_client(own: Aws, *, timeout: float = 35.0) -> "KinesisClient":
    """Return a client without retries: botocore would repeat a request with a lost response."""
    once = BotoConfig(retries={"total_max_attempts": 1}, read_timeout=timeout, connect_timeout=5)
    made: KinesisClient = aws.client(own, "kinesis", once)
    return made


class KinesisDirect:
    """PutRecords by `client` (see `kinesis_client`); only failed entries are sent again."""

    def __init__(self, client: "KinesisClient", *, retry: Retry | None = None) -> None:
        self._client = client
        self._retry = retry or Retry()

    def send(self, stream: str, records: Sequence[ProducerRecord]) -> list[DeliveryReport]:
        """Put in requests of at most 500 records and 5 MiB: one report per record, in order."""

        def attempt(pending: Sequence[tuple[bytes, str]]) -> list[DeliveryReport]:
            parts = chunks(pending, _size, MAX_RECORDS, MAX_BYTES)
            return [report for part in parts for report in self._put(stream, part)]

        return self._retry.run(attempt, [(r.payload, str(r.key)) for r in records])

    def _put(self, stream: str, chunk: list[tuple[bytes, str]]) -> list[DeliveryReport]:
        entries: list[PutRecordsRequestEntryTypeDef] = [
            {"Data": data, "PartitionKey": key} for data, key in chunk
        ]
        try:
            response = self._client.put_records(StreamName=stream, Records=entries)
        except (ClientError, BotoCoreError) as error:
            return [_failed(error)] * len(chunk)
        return [put_report(entry) for entry in response["Records"]]


def _size(entry: tuple[bytes, str]) -> int:
    data, key = entry
    return len(data) + len(key)


def _failed(error: ClientError | BotoCoreError) -> DeliveryReport:
    """Return the report of all records of a failed PutRecords call."""
    said = str(error)
    if isinstance(error, ClientError):
        return _rejected_by_kinesis(error)
    if isinstance(error, (EndpointConnectionError, ConnectTimeoutError)):
        return DeliveryReport(DeliveryStatus.REJECTED, error=said, retriable=True, hint=ENDPOINT)
    is_lost = isinstance(error, (ReadTimeoutError, ConnectionClosedError))
    status = DeliveryStatus.UNKNOWN if is_lost else DeliveryStatus.REJECTED
    return DeliveryReport(status, error=said, hint=aws_faults.advice(error) or ENDPOINT)


def _rejected_by_kinesis(error: ClientError) -> DeliveryReport:
    code, said = error.response["Error"]["Code"], str(error)
    if code in RETRIABLE:
        hint = hints.SHARDS
        return DeliveryReport(DeliveryStatus.REJECTED, error=said, retriable=True, hint=hint)
    is_failure = error.response["ResponseMetadata"]["HTTPStatusCode"] >= SERVER_ERROR
    status = DeliveryStatus.UNKNOWN if is_failure else DeliveryStatus.REJECTED
    return DeliveryReport(status, error=said, hint=aws_faults.advice(error) or hints.of_code(code))
