"""Bodies of S3: aws-chunked uploads, ranges, and the XML of requests and responses."""

from collections.abc import Iterable
from datetime import UTC, datetime
from http import HTTPStatus
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from benchmarks.models.wire import Request, Response

XML = {"Content-Type": "application/xml"}
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>'
_SPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


class Element(str):
    """XML, not text."""

    __slots__ = ()


class RefusedError(Exception):
    """A request that S3 answers with an error of this status and code."""

    def __init__(self, status: HTTPStatus, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code

    def response(self) -> Response:
        """Return the error as S3 writes it."""
        body = f"{_HEAD}<Error><Code>{self.code}</Code><Message>{self.code}</Message></Error>"
        return Response(self.status, body.encode(), XML)


def payload(request: Request) -> bytes:
    """Return the body, decoded if it is aws-chunked; trailing checksums are dropped."""
    if "aws-chunked" not in request.headers.get("content-encoding", ""):
        return request.body
    parts, at = list[bytes](), 0
    while True:
        end = request.body.index(b"\r\n", at)
        size = int(request.body[at:end].partition(b";")[0], 16)
        if not size:
            return b"".join(parts)
        parts.append(request.body[end + 2 : end + 2 + size])
        at = end + 2 + size + 2


def span(header: str, size: int) -> tuple[int, int]:
    """Return begin and end of a Range header such as `bytes=5-9`, `bytes=5-` or `bytes=-5`."""
    first, _, last = header.removeprefix("bytes=").partition("-")
    if first:
        begin, end = int(first), min(size, int(last) + 1 if last else size)
    else:
        begin, end = max(0, size - int(last)), size
    if begin >= end:
        raise RefusedError(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "InvalidRange")
    return begin, end


def texts(body: bytes, tag: str) -> list[str]:
    """Return the texts of all elements `tag`, with or without a namespace."""
    root = ET.fromstring(body)  # noqa: S314  # from pinpip's own clients
    return [found.text or "" for found in root.iter() if found.tag.rpartition("}")[2] == tag]


def element(tag: str, *inner: object) -> "Element":
    """Write an element of elements and of text, which is escaped."""
    own = (one if isinstance(one, Element) else escape(str(one)) for one in inner)
    return Element(f"<{tag}>{''.join(own)}</{tag}>")


def iso(at: float) -> str:
    """Return a time of the wall clock as S3's listings write it."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"


def document(tag: str, inner: Iterable[str]) -> Response:
    """Return a whole document."""
    return Response(
        body=f'{_HEAD}<{tag} xmlns="{_SPACE}">{"".join(inner)}</{tag}>'.encode(), headers=XML
    )
