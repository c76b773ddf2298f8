"""HTTP to the gateway: both routes, batched and kept alive, with a result for every record.

Per-record results are the only result. A record is tried again only when the gateway said that
it did not store it; after a lost answer nobody knows, and that is a state of its own.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import requests
from requests.exceptions import InvalidSchema, InvalidURL, MissingSchema
from urllib3.exceptions import NewConnectionError

from pinpip.errors import ConfigError
from producers.delivery import Outcome, Outgoing, Result, Retry, chunks, compact, put_result

JSON = "application/vnd.kafka.json.v2+json"
BINARY = "application/vnd.kafka.binary.v2+json"
MOST = 500
MOST_BYTES = 4 * 1024 * 1024
RETRIABLE = 50003
TIMED_OUT = "timed out"
TOO_BUSY = (429, 503)
LOST = 408


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
        self._url = url.rstrip("/")
        self._timeout = timeout
        self._retry = retry or Retry()
        self._session = requests.Session()
        if api_key:
            self._session.headers["x-api-key"] = api_key

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
        self._session.close()

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
        try:
            response = self._session.request(
                call.method,
                f"{self._url}/{call.path}",
                data=body,
                headers={"Content-Type": call.media},
                timeout=self._timeout,
                allow_redirects=False,
            )
        except (MissingSchema, InvalidSchema, InvalidURL) as error:
            raise ConfigError(
                f"{self._url!r} is not the URL of a gateway",
                "set producer.gateway_url, for example http://127.0.0.1:8082/test",
            ) from error
        except requests.RequestException as error:
            return [_unanswered(self._url, error)] * len(texts)
        return _results(response, len(texts), call.read)


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


def _unanswered(url: str, error: requests.RequestException) -> Result:
    cause = error.args[0] if error.args else None
    never_left = isinstance(error, requests.ConnectTimeout) or isinstance(
        getattr(cause, "reason", None), NewConnectionError
    )
    if never_left:
        return Result(Outcome.REJECTED, error=f"no gateway answers at {url}", retriable=True)
    return Result(Outcome.UNKNOWN, error=f"no answer from {url}: {type(error).__name__}")


def _results(
    response: requests.Response, count: int, read: Callable[[Any], list[Result]]
) -> list[Result]:
    status = response.status_code
    if status == requests.codes.ok:
        return _per_record(response, count, read)
    error = f"HTTP {status}: {_message(response)}"
    if status in TOO_BUSY:
        return [Result(Outcome.REJECTED, error=error, retriable=True)] * count
    refused = status < requests.codes.server_error and status != LOST
    return [Result(Outcome.REJECTED if refused else Outcome.UNKNOWN, error=error)] * count


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
    error = f"{code}: {entry.get('error')}"
    if TIMED_OUT in error:  # the broker may have it all the same
        return Result(Outcome.UNKNOWN, error=error)
    return Result(Outcome.REJECTED, error=error, retriable=code == RETRIABLE)


def _sequences(body: Mapping[str, Any]) -> list[Result]:
    return [put_result(entry) for entry in body["Records"]]
