"""Faults that moto's S3 never shows, put between boto3 and it by botocore's own events."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ReadTimeoutError
from botocore.httpsession import URLLib3Session

from sinks.storage.protocol import Store
from sinks.storage.s3 import S3Store

Fault = Callable[[AWSPreparedRequest], AWSResponse | None]


class _Body:
    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self) -> Iterator[bytes]:
        yield self._body


def answer(status: int, code: str) -> Fault:
    """S3 refuses without doing anything."""
    body = b"<Error><Code>%s</Code><Message>injected</Message></Error>" % code.encode()

    def refuse(request: AWSPreparedRequest) -> AWSResponse:
        return AWSResponse(request.url, status, HTTPHeaders(), _Body(body))

    return refuse


def lose_the_answer(request: AWSPreparedRequest) -> AWSResponse:
    """S3 does what it was asked, and the client never hears of it."""
    assert URLLib3Session().send(request).status_code == 200
    raise ReadTimeoutError(endpoint_url=request.url)


def pass_through(_request: AWSPreparedRequest) -> None:
    """No fault this time."""


def inject(store: Store, operation: str, faults: Iterable[Fault], only: str = "") -> None:
    """Inject these faults, in turn, into requests of `operation` whose URL contains `only`."""
    assert isinstance(store, S3Store)
    coming = iter(faults)

    def meet(request: AWSPreparedRequest, **_: Any) -> AWSResponse | None:
        return next(coming, pass_through)(request) if only in request.url else None

    events: Any = store._client.meta.events  # typed as if no hook could answer
    events.register(f"before-send.s3.{operation}", meet)
