"""Media types: what a request carries, and which of those on offer its answer takes."""

from collections.abc import Mapping
from functools import lru_cache

from starlette.exceptions import HTTPException
from starlette.requests import Request

ANYTHING = "*/*"


def essence(header: str) -> str:
    """The media type of `header` without its parameters, in lower case."""
    return header.partition(";")[0].strip().lower()


def demand(request: Request, *types: str) -> str:
    """The media type of the request's body; raises HTTPException 415 when it is none of `types`.

    A web page may send a form, text, or bytes without a type to any site; for these types a
    browser asks first (a preflight).
    """
    found = essence(request.headers.get("content-type", ""))
    if found not in types:
        raise HTTPException(415, f"Unsupported Media Type: send {' or '.join(types)}")
    return found


@lru_cache(1000)
def accepted(accept: str, offered: tuple[str, ...]) -> str | None:
    """The one of `offered` that `accept` likes best, the first of equals; None when it likes none.

    The most specific range decides (RFC 9110, 12.5.1); a range with a malformed q counts as q=0.
    """
    ranges = dict(map(_range, accept.split(",")))
    qualities = [_quality(media_type, ranges) for media_type in offered]
    best = max(qualities)
    return offered[qualities.index(best)] if best > 0 else None


def _range(part: str) -> tuple[str, float]:
    name, *parameters = [text.strip().lower() for text in part.split(";")]
    q = next((text[2:] for text in parameters if text.startswith("q=")), "1")
    return ANYTHING if name == "*" else name, _weight(q)  # "*": what Java's own client sends


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
