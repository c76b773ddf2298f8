"""Responses: JSON bodies, refusals, errors, and the media type that the client accepts."""

from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

ANYTHING = "*/*"
JSON = "application/json"
KAFKA_JSON = "application/vnd.kafka.v2+json"
KAFKA_FAILED = 50002
"""The REST Proxy's code for an error that a retry does not resolve."""
RETRY_LATER = {"Retry-After": "1"}

Handler = Callable[[Request, bytes], Awaitable[Response]]
Routes = Mapping[str, Mapping[str, Handler]]
"""Handlers by path and method; a handler gets the request and its body."""
_log = structlog.get_logger("gateway")


class Refusal(Exception):
    """A request that the gateway refuses.

    `code`: the REST Proxy's error number on the Kafka routes, the error type on the Kinesis routes.
    `headers`: further headers of the response.
    """

    def __init__(
        self, status: int, code: int | str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers or {}
        self.media_type = KAFKA_JSON if isinstance(code, int) else JSON

    @property
    def stored_nothing(self) -> bool:
        """Whether no record of the request can have been stored."""
        return self.status < 500 or self.status == 503  # noqa: PLR2004

    @property
    def body(self) -> dict[str, int | str]:
        """The error object: the REST Proxy's or that of Kinesis."""
        name = "error_code" if isinstance(self.code, int) else "__type"
        return {name: self.code, "message": self.message}

    def response(self) -> Response:
        """Return the response to send."""
        return reply(self.body, self.status, self.media_type, self.headers)


def reply(
    body: Any,
    status: int = 200,
    media_type: str = JSON,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a response with `body` as compact JSON."""
    return Response(msgspec.json.encode(body), status, headers, media_type)


def http_error(_request: Request, error: Exception) -> Response:
    """Return the response for an HTTPException, with the REST Proxy's error object."""
    assert isinstance(error, HTTPException)  # noqa: S101  # as it is registered
    message = f"HTTP {error.status_code} {error.detail}"
    body = {"error_code": error.status_code, "message": message}
    return reply(body, error.status_code, headers=error.headers)


def unexpected(error: Exception) -> Response:
    """Log where `error` was raised and return 500.

    The message of `error` is neither logged nor returned: it may contain a record.
    """
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    code = trace.tb_frame.f_code if trace else None
    where = f"{code.co_filename}:{trace.tb_lineno}" if code and trace else "unknown"
    _log.error("unexpected_error", error=type(error).__name__, where=where)
    return reply({"error_code": KAFKA_FAILED, "message": "Internal Server Error"}, 500)


def closing_response(status: HTTPStatus, headers: Mapping[str, str], detail: str) -> bytes:
    """Return the bytes of an error response after which the server closes the connection.

    It is the response to a request that reaches no route.
    """
    message = f"HTTP {status} {status.phrase}" + (f": {detail}" if detail else "")
    body = msgspec.json.encode({"error_code": int(status), "message": message})
    named = {
        "content-type": JSON,
        "content-length": str(len(body)),
        "connection": "close",
        **headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"HTTP/1.1 {status} {status.phrase}\r\n{head}\r\n".encode() + body


@lru_cache(1000)
def accepted(accept: str, offered: tuple[str, ...]) -> str | None:
    """Return the offered media type with the highest quality in `accept`, None if all have 0.

    Of equal qualities the first offered type wins. The most specific range decides (RFC 9110,
    12.5.1). A range with a malformed q counts as q=0.
    """
    ranges = dict(map(_range, accept.split(",")))
    qualities = [_quality(media_type, ranges) for media_type in offered]
    best = max(qualities)
    return offered[qualities.index(best)] if best > 0 else None


def _range(part: str) -> tuple[str, float]:
    name, *parameters = [text.strip().lower() for text in part.split(";")]
    q = next((text[2:] for text in parameters if text.startswith("q=")), "1")
    return ANYTHING if name == "*" else name, _weight(q)  # Java's HTTP client sends "*"


def _weight(q: str) -> float:
    try:
        weight = float(q)
    except ValueError:
        return 0.0
    return weight if 0 <= weight <= 1 else 0.0


def _quality(media_type: str, ranges: Mapping[str, float]) -> float:
    group = f"{media_type.partition('/')[0]}/*"
    found = (ranges[name] for name in (media_type, group, ANYTHING) if name in ranges)
    return next(found, 0.0)
