"""HTTP client of the gateway: Kafka and Kinesis routes, in batches, with a report per record.

A record is retried when the gateway reported that it is not stored. When a response is lost and
repeats of the request (see idempotent_http) find no gateway that knows its key, the status of its
records is UNKNOWN.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import requests

from producers import hints
from producers.delivery import (
    DeliveryReport,
    DeliveryStatus,
    ProducerRecord,
    Retry,
    chunks,
    compact,
    put_report,
)
from producers.idempotent_http import (
    NOTHING_STORED,
    OTHER_SCOPE,
    OUTCOME_UNKNOWN,
    HttpRequest,
    IdempotentSession,
    NoResponse,
    Reply,
)

JSON = "application/vnd.kafka.json.v2+json"
BINARY = "application/vnd.kafka.binary.v2+json"
MAX_RECORDS = 500
MAX_BYTES = 4 * 1024 * 1024
RETRIABLE = 50003
MAYBE_STORED = (
    *("timed out", "transport failure", "insufficient number of in-sync replicas"),
    *("out of order sequence number", "unknown producer id"),
    *("fatal error", "purged in queue", "purged in flight", "unknown broker error"),
)
"""librdkafka's messages, in lower case, for records that the broker may have stored."""
RETRIABLE_STATUS = (*NOTHING_STORED, OTHER_SCOPE)

Read = Callable[[Any], list[DeliveryReport]]


@dataclass(frozen=True)
class _Route:
    """One route of the gateway; `read` returns the reports in the body of its response."""

    method: str
    path: str
    media_type: str
    read: Read


class GatewayClient:
    """Sends to the gateway at `url` (with its stage), one request at a time."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout: float = 35.0,
        retry: Retry | None = None,
    ) -> None:
        self._retry = retry or Retry()
        self._session = IdempotentSession(url, api_key, timeout, self._retry)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def send_kafka(self, topic: str, records: Sequence[ProducerRecord]) -> list[DeliveryReport]:
        """Produce by the Kafka route (REST Proxy v2): one report per record, in order.

        JSON values have the JSON format, bytes the binary format; records whose key is text have
        it, too, because the JSON format would store the key with quotes. Raises ConfigError for an
        invalid URL.
        """
        path = f"topics/{quote(topic, safe='')}"
        raw = [i for i, record in enumerate(records) if _is_raw(record)]
        plain = [i for i, record in enumerate(records) if not _is_raw(record)]
        reports: dict[int, DeliveryReport] = {}
        for media_type, encode, chosen in ((JSON, _plain, plain), (BINARY, _binary, raw)):
            route = _Route("POST", path, media_type, _kafka_reports)
            sent = self._send(route, [encode(records[i]) for i in chosen])
            reports |= dict(zip(chosen, sent, strict=True))
        return [reports[i] for i in range(len(records))]

    def send_kinesis(self, stream: str, records: Sequence[ProducerRecord]) -> list[DeliveryReport]:
        """Put by the Kinesis route (PutRecords): one report per record, in order.

        Bytes are sent as text, so they must be UTF-8. Raises ConfigError for an invalid URL.
        """
        path = f"streams/{quote(stream, safe='')}/records"
        route = _Route("PUT", path, "application/json", _kinesis_reports)
        return self._send(route, [_data(record) for record in records])

    def _send(self, route: _Route, texts: list[str]) -> list[DeliveryReport]:
        def attempt(pending: Sequence[str]) -> list[DeliveryReport]:
            parts = chunks(pending, len, MAX_RECORDS, MAX_BYTES)
            return [report for part in parts for report in self._request(route, part)]

        return self._retry.run(attempt, texts)

    def _request(self, route: _Route, texts: list[str]) -> list[DeliveryReport]:
        body = f'{{"records":[{",".join(texts)}]}}'.encode()
        reply = self._session.send(HttpRequest(route.method, route.path, route.media_type, body))
        return self._reports(reply, len(texts), route.read)

    def _reports(self, reply: Reply, count: int, read: Read) -> list[DeliveryReport]:
        if isinstance(reply, NoResponse):
            return [_no_response(self._session.url, reply)] * count
        return _reports(reply, count, read)


def _is_raw(record: ProducerRecord) -> bool:
    return isinstance(record.value, bytes) or isinstance(record.key, str)


def _plain(record: ProducerRecord) -> str:
    return compact({"key": record.key, "value": record.value})


def _binary(record: ProducerRecord) -> str:
    key, value = str(record.key).encode(), record.payload
    return compact(
        {k: base64.b64encode(v).decode() for k, v in {"key": key, "value": value}.items()}
    )


def _data(record: ProducerRecord) -> str:
    data = record.value.decode() if isinstance(record.value, bytes) else record.value
    return compact({"data": data, "partition-key": str(record.key)})


def _no_response(url: str, lost: NoResponse) -> DeliveryReport:
    if lost.not_sent:
        error = f"no gateway answers at {url}"
        return DeliveryReport(
            DeliveryStatus.REJECTED, error=error, retriable=True, hint=hints.GATEWAY
        )
    error = f"no answer from {url}: {lost.error}"
    return DeliveryReport(DeliveryStatus.UNKNOWN, error=error, hint=hints.GATEWAY)


def _reports(response: requests.Response, count: int, read: Read) -> list[DeliveryReport]:
    status = response.status_code
    if status == requests.codes.ok:
        return _per_record(response, count, read)
    error, hint = f"HTTP {status}: {_message(response)}", hints.of_status(status)
    if status in RETRIABLE_STATUS:
        retriable = DeliveryReport(DeliveryStatus.REJECTED, error=error, retriable=True, hint=hint)
        return [retriable] * count
    unknown = status in OUTCOME_UNKNOWN or status >= requests.codes.server_error
    known = DeliveryStatus.UNKNOWN if unknown else DeliveryStatus.REJECTED
    return [DeliveryReport(known, error=error, hint=hint)] * count


def _per_record(response: requests.Response, count: int, read: Read) -> list[DeliveryReport]:
    try:
        reports = read(response.json())
    except (ValueError, LookupError, TypeError, AttributeError):
        reports = []
    if len(reports) == count:
        return reports
    error = "HTTP 200 without a result for each record"
    return [DeliveryReport(DeliveryStatus.UNKNOWN, error=error)] * count


def _message(response: requests.Response) -> str:
    try:
        return str(response.json()["message"])
    except (ValueError, LookupError, TypeError):
        return response.text[:200] or response.reason


def _kafka_reports(body: Mapping[str, Any]) -> list[DeliveryReport]:
    return [_kafka_report(entry) for entry in body["offsets"]]


def _kafka_report(entry: Mapping[str, Any]) -> DeliveryReport:
    code = entry.get("error_code")
    if code is None:
        return DeliveryReport(DeliveryStatus.STORED, str(entry["partition"]), int(entry["offset"]))
    error, hint = f"{code}: {entry.get('error')}", hints.of_code(code)
    if any(words in error.lower() for words in MAYBE_STORED):
        return DeliveryReport(DeliveryStatus.UNKNOWN, error=error, hint=hint)
    retriable = code == RETRIABLE
    return DeliveryReport(DeliveryStatus.REJECTED, error=error, retriable=retriable, hint=hint)


def _kinesis_reports(body: Mapping[str, Any]) -> list[DeliveryReport]:
    return [put_report(entry) for entry in body["Records"]]
