"""HTTP to the gateway: both routes, batched and kept alive, with a result for every record.

Per-record results are the only result. A record is tried again when the gateway said that it did
not store it. What became of it is unknown, and that is a state of its own, when the answer was lost
and asking for it again (see exchange) found no gateway that remembers.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import requests

from producers import hints
from producers.delivery import Outcome, Outgoing, Result, Retry, chunks, compact, put_result
from producers.exchange import OTHER_SCOPE, TOO_BUSY, UNANSWERED, Answer, Ask, Exchange, Lost

JSON = "application/vnd.kafka.json.v2+json"
BINARY = "application/vnd.kafka.binary.v2+json"
MOST = 500
MOST_BYTES = 4 * 1024 * 1024
RETRIABLE = 50003
MAYBE_STORED = (
    *("timed out", "transport failure", "insufficient number of in-sync replicas"),
    *("out of order sequence number", "unknown producer id"),
    *("fatal error", "purged in queue", "purged in flight", "unknown broker error"),
)
"""librdkafka's words for a record that the broker may have all the same, in lower case."""
STORED_NOTHING = (*TOO_BUSY, OTHER_SCOPE)


@dataclass(frozen=True)
class _Call:
    """One route of the gateway; `read` finds the results in the body of its answer."""

    method: str
    path: str
    media: str
    read: Callable[[Any], list[Result]]


class GatewayClient:
    """Sends to the gateway at `url` (the stage included), one request at a time."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout: float = 35.0,
        retry: Retry | None = None,
    ) -> None:
        self._retry = retry or Retry()
        self._exchange = Exchange(url, api_key, timeout, self._retry)

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
        """Close the kept connections."""
        self._exchange.close()

    def send_kafka(self, topic: str, records: Sequence[Outgoing]) -> list[Result]:
        """Produce by the Kafka route (REST Proxy v2): one result per record, in order.

        JSON values go in the JSON format, bytes in the binary one. Raises ConfigError for a URL
        that is none.
        """
        path = f"topics/{quote(topic, safe='')}"
        raw = [i for i, record in enumerate(records) if isinstance(record.value, bytes)]
        plain = [i for i, record in enumerate(records) if not isinstance(record.value, bytes)]
        results: dict[int, Result] = {}
        for media, encode, chosen in ((JSON, _plain, plain), (BINARY, _binary, raw)):
            call = _Call("POST", path, media, _offsets)
            sent = self._send(call, [encode(records[i]) for i in chosen])
            results |= dict(zip(chosen, sent, strict=True))
        return [results[i] for i in range(len(records))]

    def send_kinesis(self, stream: str, records: Sequence[Outgoing]) -> list[Result]:
        """Put by the Kinesis route (PutRecords): one result per record, in order.

        Bytes go as text, so they must be UTF-8. Raises ConfigError for a URL that is none.
        """
        path = f"streams/{quote(stream, safe='')}/records"
        call = _Call("PUT", path, "application/json", _sequences)
        return self._send(call, [_data(record) for record in records])

    def _send(self, call: _Call, texts: list[str]) -> list[Result]:
        def attempt(pending: Sequence[str]) -> list[Result]:
            parts = chunks(pending, len, MOST, MOST_BYTES)
            return [result for part in parts for result in self._request(call, part)]

        return self._retry.run(attempt, texts)

    def _request(self, call: _Call, texts: list[str]) -> list[Result]:
        body = f'{{"records":[{",".join(texts)}]}}'.encode()
        answer = self._exchange.send(Ask(call.method, call.path, call.media, body))
        return self._results(answer, len(texts), call.read)

    def _results(
        self, answer: Answer, count: int, read: Callable[[Any], list[Result]]
    ) -> list[Result]:
        if isinstance(answer, Lost):
            return [_unanswered(self._exchange.url, answer)] * count
        return _results(answer, count, read)


def _plain(record: Outgoing) -> str:
    return compact({"key": record.key, "value": record.value})


def _binary(record: Outgoing) -> str:
    key, value = str(record.key).encode(), record.value
    return compact(
        {k: base64.b64encode(v).decode() for k, v in {"key": key, "value": value}.items()}
    )


def _data(record: Outgoing) -> str:
    data = record.value.decode() if isinstance(record.value, bytes) else record.value
    return compact({"data": data, "partition-key": str(record.key)})


def _unanswered(url: str, lost: Lost) -> Result:
    if lost.never_left:
        error = f"no gateway answers at {url}"
        return Result(Outcome.REJECTED, error=error, retriable=True, hint=hints.GATEWAY)
    return Result(Outcome.UNKNOWN, error=f"no answer from {url}: {lost.error}", hint=hints.GATEWAY)


def _results(
    response: requests.Response, count: int, read: Callable[[Any], list[Result]]
) -> list[Result]:
    status = response.status_code
    if status == requests.codes.ok:
        return _per_record(response, count, read)
    error, hint = f"HTTP {status}: {_message(response)}", hints.of_status(status)
    if status in STORED_NOTHING:
        return [Result(Outcome.REJECTED, error=error, retriable=True, hint=hint)] * count
    unknown = status in UNANSWERED or status >= requests.codes.server_error
    outcome = Outcome.UNKNOWN if unknown else Outcome.REJECTED
    return [Result(outcome, error=error, hint=hint)] * count


def _per_record(
    response: requests.Response, count: int, read: Callable[[Any], list[Result]]
) -> list[Result]:
    try:
        results = read(response.json())
    except (ValueError, LookupError, TypeError, AttributeError):
        results = []
    if len(results) == count:
        return results
    return [Result(Outcome.UNKNOWN, error="HTTP 200 without a result for each record")] * count


def _message(response: requests.Response) -> str:
    try:
        return str(response.json()["message"])
    except (ValueError, LookupError, TypeError):
        return response.text[:200] or response.reason


def _offsets(body: Mapping[str, Any]) -> list[Result]:
    return [_offset(entry) for entry in body["offsets"]]


def _offset(entry: Mapping[str, Any]) -> Result:
    code = entry.get("error_code")
    if code is None:
        return Result(Outcome.STORED, str(entry["partition"]), int(entry["offset"]))
    error, hint = f"{code}: {entry.get('error')}", hints.of_code(code)
    if any(words in error.lower() for words in MAYBE_STORED):
        return Result(Outcome.UNKNOWN, error=error, hint=hint)
    return Result(Outcome.REJECTED, error=error, retriable=code == RETRIABLE, hint=hint)


def _sequences(body: Mapping[str, Any]) -> list[Result]:
    return [put_result(entry) for entry in body["Records"]]
