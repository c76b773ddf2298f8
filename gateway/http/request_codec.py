"""Request bodies: content coding, media type, and the JSON of the REST Proxy's produce requests.

Any bytes result in records, or in a Refusal or HTTPException with a 4xx status. JSON values are
checked, not parsed and written again: a number keeps all its digits.
"""

import json
import re
import zlib
from collections.abc import Callable
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Raw
from starlette.exceptions import HTTPException
from starlette.requests import Request

from gateway.http.responses import Refusal

CODINGS = ("gzip", "deflate")
REFUSED = {"Accept-Encoding": ", ".join(CODINGS)}
STEP = 256 * 1024
"""Bytes that are decompressed at a time."""
_GZIP, _ZLIB, _RAW = 31, 15, -15  # zlib's wbits
_DEFLATED = 8  # the method in the first byte of a zlib stream
PARTITION_MAX = 2**31 - 1
NULL = Raw(b"null")
_ESCAPES = re.compile(r"(?:\\u[0-9a-fA-F]{4})+|\\.")  # a run: surrogates come in pairs
_WHERE = re.compile(r"(.*) - at `\$\.?(.*)`", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
MISSING = "Object missing required field `records`"
_NO_LIST = "Expected `array`, got `null`"
_MISTYPED = re.compile(r"Expected `.*`, got `.*`|Expected `int` <= .*", re.DOTALL)
_SURROGATES = re.compile(
    r"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.DOTALL
)

T = TypeVar("T")
PartitionNumber = Annotated[int, Meta(ge=0, le=PARTITION_MAX)]
Refuse = Callable[[str], Refusal]
Grow = Callable[[int], None]
"""Reserve this many bytes in total; raises HTTPException when they exceed a limit."""


def coding(header: str) -> str | None:
    """Return the one coding of a Content-Encoding header, or None.

    Raises HTTPException 415, which names the supported codings, for any other.
    """
    names = [name.strip().lower().removeprefix("x-") for name in header.split(",")]
    applied = [name for name in names if name not in {"", "identity"}]
    if len(applied) > 1 or not set(applied) <= set(CODINGS):
        detail = f"Unsupported Media Type: the Content-Encoding may be {' or '.join(CODINGS)}"
        raise HTTPException(415, detail, REFUSED)
    return applied[0] if applied else None


def unpacked(packed: bytes, name: str, grow: Grow) -> bytes:
    """Decompress `packed` step by step; `grow` stops a decompression bomb.

    Raises HTTPException 400 for data that do not have the coding `name`, that end too early or
    that continue after its end (a second gzip member is refused); and what `grow` raises.
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
    """Return zlib's `wbits`; many clients send raw streams as deflate (RFC 9110, 8.4.1.2)."""
    if name == "gzip":
        return _GZIP
    is_zlib = packed[0] % 16 == _DEFLATED and int.from_bytes(packed[:2]) % 31 == 0
    return _ZLIB if is_zlib else _RAW


def essence(header: str) -> str:
    """Return the media type of a Content-Type header, without parameters, in lower case."""
    return header.partition(";")[0].strip().lower()


def check_media_type(request: Request, *types: str) -> None:
    """Raise HTTPException 415 when the body's media type is none of `types`.

    A web page may send a form, text, or bytes without a type to any site. For other types a
    browser sends a CORS preflight first.
    """
    if essence(request.headers.get("content-type", "")) not in types:
        raise HTTPException(415, f"Unsupported Media Type: send {' or '.join(types)}")


class KafkaRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One record to produce; `partition` is None when the partitioner decides."""

    key: bytes | None = None
    value: bytes | None = None
    partition: PartitionNumber | None = None


class _JsonRecord(msgspec.Struct, forbid_unknown_fields=True):
    key: Raw = NULL
    value: Raw = NULL
    partition: PartitionNumber | None = None


class _Schemas(msgspec.Struct, forbid_unknown_fields=True):
    key_schema: str | None = None
    key_schema_id: int | None = None
    value_schema: str | None = None
    value_schema_id: int | None = None


class _Json(_Schemas, kw_only=True):
    records: Annotated[list[_JsonRecord], Meta(min_length=1)]


class _Binary(_Schemas, kw_only=True):
    records: Annotated[list[KafkaRecord], Meta(min_length=1)]


_json = msgspec.json.Decoder(_Json)
_binary = msgspec.json.Decoder(_Binary)


def decoded(decoder: msgspec.json.Decoder[T], body: bytes, malformed: Refuse, invalid: Refuse) -> T:
    """Decode `body`; raises `malformed` when it is not JSON, `invalid` when it has other types."""
    try:
        return decoder.decode(body.decode())
    except UnicodeDecodeError as error:
        raise malformed(f"Malformed JSON: byte {error.start} is not UTF-8") from None
    except RecursionError:
        raise malformed("Malformed JSON: nested too deeply") from None
    except msgspec.ValidationError as error:
        raise invalid(str(error)) from None
    except msgspec.DecodeError as error:
        said = _lone_surrogate(body) or str(error).removeprefix("JSON is malformed: ")
        raise malformed(f"Malformed JSON: {said}") from None


def _lone_surrogate(body: bytes) -> str | None:
    """Describe the first escape that is half of a pair; the decoder's message is "truncated"."""
    text = body.decode()
    for found in _SURROGATES.finditer(text):
        if found[1]:
            at = len(text[: found.start()].encode())
            return f"{found[1]} is half of a surrogate pair, no character (byte {at})"
    return None


def _compact(value: Raw) -> bytes:
    """Return a JSON value without whitespace."""
    text: bytes = msgspec.json.format(value, indent=-1)
    return text


def canonical(value: Raw) -> bytes:
    """Return one spelling of a JSON value: no whitespace, characters instead of escapes."""
    text = bytes(value)
    if text.isalnum():  # null and numbers: most keys are numbers
        return text
    text = _compact(value)
    return _ESCAPES.sub(_unescaped, text.decode()).encode() if b"\\u" in text else text


def _unescaped(escapes: re.Match[str]) -> str:
    if not escapes[0].startswith("\\u"):
        return escapes[0]
    return json.dumps(json.loads(f'"{escapes[0]}"'), ensure_ascii=False)[1:-1]


def kafka_records(body: bytes, *, binary: bool) -> list[KafkaRecord]:
    """Return the records of a v2 produce request (ProduceRequest of kafka-rest's entities.v2).

    `binary`: keys and values are base64 text; otherwise they are any JSON, which is stored as
    compact text. The escapes of a key are resolved, because its bytes choose the partition. JSON's
    null is a null key or a null value (a tombstone). Raises Refusal: 400 for malformed JSON and for
    values of another type, 422 for anything else.
    """
    if body.strip() in (b"", b"null"):
        raise Refusal(422, 42206, "Payload error. Request body is empty. Data is required.")
    if binary:
        return decoded(_binary, body, _malformed, _not_binary).records
    records = decoded(_json, body, _malformed, _unprocessable).records
    return [
        KafkaRecord(_stored(canonical(r.key)), _stored(_compact(r.value)), r.partition)
        for r in records
    ]


def _stored(text: bytes) -> bytes | None:
    return None if text == b"null" else text


def _malformed(message: str) -> Refusal:
    return Refusal(400, 400, message)


def _unprocessable(message: str) -> Refusal:
    message, where = split(message)
    unknown = _UNKNOWN.fullmatch(message)
    if unknown:
        return Refusal(422, 422, f"Unrecognized field: {unknown[1]}")
    if message == MISSING or (where == "records" and ("length" in message or message == _NO_LIST)):
        return Refusal(422, 422, "records must not be empty")
    status = 400 if _MISTYPED.fullmatch(message) else 422  # Jackson's and the validator's status
    return Refusal(status, status, f"{where}: {message}" if where else message)


def _not_binary(message: str) -> Refusal:
    refusal = _unprocessable(message)
    if "base64" in message or message.endswith((".key`", ".value`")):
        refusal.message += " (base64 text; JSON goes as application/vnd.kafka.json.v2+json)"
    return refusal


def split(message: str) -> tuple[str, str]:
    """Split a decoder's message from the path in the body that it ends with."""
    found = _WHERE.fullmatch(message)
    return (found[1], found[2]) if found else (message, "")
