"""Request heads: rules of RFC 9110 and RFC 9112 that the parser does not check."""

import re
from collections.abc import Sequence
from http import HTTPStatus

Headers = Sequence[tuple[bytes, bytes]]

VERSIONS = {"1.0", "1.1"}
MAX_PORT = 65535
_SINGLE = (
    *(b"host", b"origin", b"content-type", b"x-api-key"),
    *(b"idempotency-key", b"idempotency-scope"),
)
_AUTHORITY = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(?::([0-9]{0,5}))?")
_ABSOLUTE = re.compile(rb"https?://([^/?]*)([/?].*)?", re.IGNORECASE)


class BadHead(Exception):
    """A request head that is refused with `status`; `detail` is the reason."""

    def __init__(self, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def check(method: bytes, version: str, headers: Headers) -> None:
    """Raise BadHead for a head that two servers could read differently, or that is unsupported.

    `headers`: names in lower case, values without the whitespace around them.
    """
    if version not in VERSIONS:
        raise BadHead(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "send HTTP/1.1")
    if method == b"CONNECT":
        raise _bad("this is no proxy")
    found = dict(headers)
    if len(found) < len(headers):
        _check_single([name for name, _ in headers])
    _check_host(version, found.get(b"host"))
    if b"transfer-encoding" in found:
        _check_coding(version, [value for name, value in headers if name == b"transfer-encoding"])


def _check_single(names: Sequence[bytes]) -> None:
    for name in _SINGLE:
        if names.count(name) > 1:
            raise _bad(f"more than one {name.decode()} header")


def _check_host(version: str, host: bytes | None) -> None:
    """Check the Host header: HTTP/1.1 requires one (RFC 9112, 3.2)."""
    if host is None and version == "1.1":
        raise _bad("the Host header is missing")
    if host and not is_authority(host):
        raise _bad("the Host header is malformed")


def _check_coding(version: str, codings: Sequence[bytes]) -> None:
    """Check Transfer-Encoding: only chunked is supported, and not in HTTP/1.0 (RFC 9112, 6.1)."""
    if version == "1.0":
        raise _bad("HTTP/1.0 has no Transfer-Encoding")
    if b",".join(codings).lower() != b"chunked":
        raise BadHead(HTTPStatus.NOT_IMPLEMENTED, "the only Transfer-Encoding is chunked")


def is_authority(text: bytes) -> bool:
    """Whether `text` is a host with at most a port."""
    found = _AUTHORITY.fullmatch(text)
    return found is not None and int(found[2] or 0) <= MAX_PORT


def origin_form(method: bytes, target: bytes) -> tuple[bytes, bytes | None]:
    """Return path and query of a request target, and the authority of an absolute one.

    Raises BadHead for the forms of RFC 9112, 3.2 that an origin server does not accept.
    """
    if b"#" in target:
        raise _bad("the request target has a fragment")
    if target.startswith(b"/") or (target == b"*" and method == b"OPTIONS"):
        return target, None
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None or not is_authority(absolute[1]):
        raise _bad("the request target is no path")
    path = absolute[2] or b"/"
    return path if path.startswith(b"/") else b"/" + path, absolute[1]


def without_upgrade(method: bytes, target: bytes, version: str, headers: Headers) -> bytes:
    """Return the head without its Upgrade header, which a server may ignore (RFC 9110, 7.8)."""
    kept = [name + b": " + value for name, value in headers if name != b"upgrade"]
    first = b" ".join([method, target, f"HTTP/{version}".encode()])
    return b"\r\n".join([first, *kept, b"", b""])


def _bad(detail: str) -> BadHead:
    return BadHead(HTTPStatus.BAD_REQUEST, detail)
