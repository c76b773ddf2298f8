"""Bodies of the REST Proxy's v2 produce requests → records, or a refusal that names the field.

Any bytes end in records or in a Refusal with a 4xx status, nothing else. Values are checked but not
rebuilt: a number keeps every digit it was sent with.
"""

import json
import re
from collections.abc import Callable
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Raw

from gateway.http.responses import Refusal

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
Partition = Annotated[int, Meta(ge=0, le=PARTITION_MAX)]
Refuse = Callable[[str], Refusal]


class KafkaRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One record to produce; `partition` is None when the partitioner decides."""

    key: bytes | None = None
    value: bytes | None = None
    partition: Partition | None = None


class _JsonRecord(msgspec.Struct, forbid_unknown_fields=True):
    key: Raw = NULL
    value: Raw = NULL
    partition: Partition | None = None


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


def decoded(decoder: msgspec.json.Decoder[T], body: bytes, malformed: Refuse, misfit: Refuse) -> T:
    """`body` as `decoder` reads it; raises `malformed` when it is no JSON, else `misfit`."""
    try:
        return decoder.decode(body.decode())
    except UnicodeDecodeError as error:
        raise malformed(f"Malformed JSON: byte {error.start} is not UTF-8") from None
    except RecursionError:
        raise malformed("Malformed JSON: nested too deeply") from None
    except msgspec.ValidationError as error:
        raise misfit(str(error)) from None
    except msgspec.DecodeError as error:
        said = _lone_surrogate(body) or str(error).removeprefix("JSON is malformed: ")
        raise malformed(f"Malformed JSON: {said}") from None


def _lone_surrogate(body: bytes) -> str | None:
    """What to say of the first escape that is half of a pair; the decoder only says "truncated"."""
    text = body.decode()
    for found in _SURROGATES.finditer(text):
        if found[1]:
            at = len(text[: found.start()].encode())
            return f"{found[1]} is half of a surrogate pair, no character (byte {at})"
    return None


def _compact(value: Raw) -> bytes:
    """The text of a JSON value without blanks."""
    text: bytes = msgspec.json.format(value, indent=-1)
    return text


def canonical(value: Raw) -> bytes:
    """The same for every spelling: without blanks, and with characters instead of escapes."""
    text = bytes(value)
    if text.isalnum():  # numbers, as most keys are, and null
        return text
    text = _compact(value)
    return _ESCAPES.sub(_unescaped, text.decode()).encode() if b"\\u" in text else text


def _unescaped(escapes: re.Match[str]) -> str:
    if not escapes[0].startswith("\\u"):
        return escapes[0]
    return json.dumps(json.loads(f'"{escapes[0]}"'), ensure_ascii=False)[1:-1]


def kafka_records(body: bytes, *, binary: bool) -> list[KafkaRecord]:
    """The records of a v2 produce request (ProduceRequest of kafka-rest's entities.v2).

    `binary`: keys and values are base64 text; otherwise any JSON, stored as its compact text, a
    key's escapes resolved, for its bytes choose the partition. JSON's null is a null key or a null
    value (a tombstone). Raises Refusal: 400 for malformed JSON and for values of another type, 422
    for anything else.
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
    """A decoder's message, and the path in the body that it ends with."""
    found = _WHERE.fullmatch(message)
    return (found[1], found[2]) if found else (message, "")
