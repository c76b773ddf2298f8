"""Content codings of a request's body: gzip and deflate, decoded within the limits of a body."""

import zlib
from collections.abc import Callable

from starlette.exceptions import HTTPException

CODINGS = ("gzip", "deflate")
REFUSED = {"Accept-Encoding": ", ".join(CODINGS)}
STEP = 256 * 1024
_GZIP, _ZLIB, _RAW = 31, 15, -15  # zlib's wbits
_DEFLATED = 8  # the method in the first byte of a zlib stream

Grow = Callable[[int], None]
"""Hold so many bytes in all; raises HTTPException when they are too many."""


def coding(header: str) -> str | None:
    """The one coding of a Content-Encoding header, or None.

    Raises HTTPException 415, which names the codings that are taken, for any other.
    """
    names = [name.strip().lower().removeprefix("x-") for name in header.split(",")]
    applied = [name for name in names if name not in {"", "identity"}]
    if len(applied) > 1 or not set(applied) <= set(CODINGS):
        detail = f"Unsupported Media Type: the Content-Encoding may be {' or '.join(CODINGS)}"
        raise HTTPException(415, detail, REFUSED)
    return applied[0] if applied else None


def unpacked(packed: bytes, name: str, grow: Grow) -> bytes:
    """`packed` without its coding, step by step, so that `grow` stops a bomb.

    Raises HTTPException 400 for data that do not have this coding, end too early or are followed by
    others (a second gzip member too); and what `grow` raises.
    """
    stream, parts, size = zlib.decompressobj(_window(name, packed)), list[bytes](), 0
    try:
        while part := stream.decompress(packed, STEP):
            size, packed = size + len(part), stream.unconsumed_tail
            grow(size)
            parts.append(part)
    except zlib.error:
        raise HTTPException(400, f"The body is not {name} data") from None
    if not stream.eof or stream.unused_data:
        raise HTTPException(400, f"The body is not one whole stream of {name} data")
    return b"".join(parts)


def _window(name: str, packed: bytes) -> int:
    """The `wbits` of `packed`; many clients call a raw stream deflate (RFC 9110, 8.4.1.2)."""
    if name == "gzip":
        return _GZIP
    is_zlib = packed[0] % 16 == _DEFLATED and int.from_bytes(packed[:2]) % 31 == 0
    return _ZLIB if is_zlib else _RAW
