"""What the gateway says: JSON answers and refusals."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

JSON = "application/json"
KAFKA_JSON = "application/vnd.kafka.v2+json"

Handler = Callable[[Request, bytes], Awaitable[Response]]
Routes = Mapping[str, Mapping[str, Handler]]
"""Path, then method, then what answers it with the request and its body."""


class Refusal(Exception):
    """A request that is not served; `code` is a number on the Kafka routes, a type on Kinesis's.

    `headers` go out with the answer.
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
        """Whether it is sure that no record of the request is stored."""
        return self.status < 500 or self.status == 503  # noqa: PLR2004

    @property
    def body(self) -> dict[str, int | str]:
        """The error object of the protocol in hand."""
        name = "error_code" if isinstance(self.code, int) else "__type"
        return {name: self.code, "message": self.message}

    def response(self) -> Response:
        """The answer to send."""
        return reply(self.body, self.status, self.media_type, self.headers)


def reply(
    body: Any,
    status: int = 200,
    media_type: str = JSON,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """`body` as compact JSON."""
    return Response(msgspec.json.encode(body), status, headers, media_type)


def refusal(status: HTTPStatus, headers: Mapping[str, str], detail: str) -> bytes:
    """The last answer of a connection, in bytes, to a request that reaches no route."""
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
