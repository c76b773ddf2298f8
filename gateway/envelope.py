"""Bodies of requests → records, or a refusal that names the offending field.

Kafka: the REST Proxy's v2 produce request. Kinesis: the API of DATA's routes, where the data are
JSON or text. Any bytes end in records or in a Refusal with a 4xx status, nothing else. Values are
checked but not rebuilt: a number keeps every digit it was sent with.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Raw

from gateway.answers import Refusal

PARTITION_MAX = 2**31 - 1
PARTITION_KEY_MAX = 256
KINESIS_RECORD_MAX = 1024 * 1024
_NULL = Raw(b"null")
_ESCAPES = re.compile(r"(?:\\u[0-9a-fA-F]{4})+|\\.")  # a run: surrogates come in pairs
_WHERE = re.compile(r"(.*) - at `\$\.?(.*)`", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = "Object missing required field `records`"

T = TypeVar("T")
Partition = Annotated[int, Meta(ge=0, le=PARTITION_MAX)]
Refuse = Callable[[str], Refusal]


class KafkaRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One record to produce; `partition` is None when the partitioner decides."""

    key: bytes | None = None
    value: bytes | None = None
    partition: Partition | None = None


class _JsonRecord(msgspec.Struct, forbid_unknown_fields=True):
    key: Raw = _NULL
    value: Raw = _NULL
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


class _Put(msgspec.Struct):
    data: Raw = msgspec.field(default=_NULL, name="Data")
    key: Any = msgspec.field(default=None, name="PartitionKey")


class _Member(msgspec.Struct):
    data: Raw = _NULL
    key: Any = msgspec.field(default=None, name="partition-key")


class _PutMany(msgspec.Struct):
    records: Annotated[list[_Member], Meta(min_length=1)]


@dataclass(frozen=True, slots=True)
class KinesisRecord:
    """One record to put."""

    data: bytes
    partition_key: str

    @property
    def size(self) -> int:
        """Bytes as Kinesis counts them: the data and the key in UTF-8."""
        return len(self.data) + len(self.partition_key.encode())


_json = msgspec.json.Decoder(_Json)
_binary = msgspec.json.Decoder(_Binary)
_put = msgspec.json.Decoder(_Put)
_put_many = msgspec.json.Decoder(_PutMany)
_object = msgspec.json.Decoder(dict[str, Any])
_text = msgspec.json.Decoder(str)


def _decoded(decoder: msgspec.json.Decoder[T], body: bytes, malformed: Refuse, misfit: Refuse) -> T:
    try:
        return decoder.decode(body.decode())
    except UnicodeDecodeError as error:
        raise malformed(f"Malformed JSON: byte {error.start} is not UTF-8") from None
    except RecursionError:
        raise malformed("Malformed JSON: nested too deeply") from None
    except msgspec.ValidationError as error:
        raise misfit(str(error)) from None
    except msgspec.DecodeError as error:
        said = str(error).removeprefix("JSON is malformed: ")
        raise malformed(f"Malformed JSON: {said}") from None


def _compact(value: Raw) -> bytes:
    """The text of a JSON value without blanks."""
    text: bytes = msgspec.json.format(value, indent=-1)
    return text


def _canonical(value: Raw) -> bytes:
    """The same for every spelling: without blanks, and with characters instead of escapes."""
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
    value (a tombstone). Raises Refusal: 400 for malformed JSON, 422 for anything else.
    """
    if not body:
        raise Refusal(422, 42206, "Payload error. Request body is empty. Data is required.")
    if binary:
        return _decoded(_binary, body, _malformed, _not_binary).records
    records = _decoded(_json, body, _malformed, _unprocessable).records
    return [
        KafkaRecord(_stored(_canonical(r.key)), _stored(_compact(r.value)), r.partition)
        for r in records
    ]


def _stored(text: bytes) -> bytes | None:
    return None if text == b"null" else text


def _malformed(message: str) -> Refusal:
    return Refusal(400, 400, message)


def _unprocessable(message: str) -> Refusal:
    message, where = _split(message)
    unknown = _UNKNOWN.fullmatch(message)
    if unknown:
        return Refusal(422, 422, f"Unrecognized field: {unknown[1]}")
    if message == _MISSING or (where == "records" and "length" in message):
        return Refusal(422, 422, "records must not be empty")
    return Refusal(422, 422, f"{where}: {message}" if where else message)


def _not_binary(message: str) -> Refusal:
    refusal = _unprocessable(message)
    if "base64" in message or message.endswith((".key`", ".value`")):
        refusal.message += " (base64 text; JSON goes as application/vnd.kafka.json.v2+json)"
    return refusal


def _split(message: str) -> tuple[str, str]:
    """A decoder's message, and the path in the body that it ends with."""
    found = _WHERE.fullmatch(message)
    return (found[1], found[2]) if found else (message, "")


def kinesis_record(body: bytes) -> KinesisRecord:
    """The record of `PUT …/record`: `{"Data":…,"PartitionKey":…}`; other fields are ignored.

    Text is stored as it is, other JSON as its compact text. Raises Refusal with status 400.
    """
    put = _decoded(_put, body, _serialization, _serialization)
    return _kinesis_record("Data", put.data, "PartitionKey", put.key)


def kinesis_records(body: bytes) -> list[KinesisRecord]:
    """The records of `PUT …/records`: `{"records":[{"data":…,"partition-key":…}]}`.

    Raises Refusal with status 400.
    """
    records = _decoded(_put_many, body, _serialization, _misfit).records
    return [
        _kinesis_record(f"records[{n}].data", r.data, f"records[{n}].partition-key", r.key)
        for n, r in enumerate(records)
    ]


def kinesis_object(body: bytes) -> dict[str, Any]:
    """The JSON object that `body` holds; raises Refusal with status 400."""
    return _decoded(_object, body, _serialization, _serialization)


def _kinesis_record(data_name: str, data: Raw, key_name: str, key: Any) -> KinesisRecord:
    record = KinesisRecord(_data(data_name, data), _partition_key(key_name, key))
    if record.size > KINESIS_RECORD_MAX:
        raise invalid(data_name, f"must hold at most {KINESIS_RECORD_MAX} bytes with its key")
    return record


def _data(where: str, data: Raw) -> bytes:
    text = _canonical(data)
    if text == b"null":
        raise invalid(where, "must not be null")
    return _text.decode(text).encode() if text.startswith(b'"') else text


def _partition_key(where: str, key: Any) -> str:
    if key is None:
        raise invalid(where, "must not be null")
    if isinstance(key, bool) or not isinstance(key, (str, int)):
        raise invalid(where, "must be text")
    if not 1 <= len(str(key)) <= PARTITION_KEY_MAX:
        raise invalid(where, f"must have 1 to {PARTITION_KEY_MAX} characters")
    return str(key)


def _serialization(message: str) -> Refusal:
    message, where = _split(message)
    return Refusal(400, "SerializationException", f"{where}: {message}" if where else message)


def _misfit(message: str) -> Refusal:
    what, where = _split(message)
    if what == _MISSING or (where == "records" and "length" in what):
        return invalid("records", "must be an array that is not empty")
    return invalid(where, f"is not as it should be: {what}") if where else _serialization(message)


def invalid(where: str, rule: str) -> Refusal:
    """Kinesis's refusal of one member of a request."""
    detail = f"Value at '{where}' failed to satisfy constraint: Member {rule}"
    return Refusal(400, "ValidationException", f"1 validation error detected: {detail}")
