"""Bodies of requests → records, or a refusal that names the offending field.

Kafka: the REST Proxy's v2 produce request. Kinesis: the API of DATA's routes, where the data are
JSON or text. Any bytes end in records or in a Refusal with a 4xx status, nothing else.
"""

import base64
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Never

from gateway.answers import Refusal

PARTITION_MAX = 2**31 - 1
PARTITION_KEY_MAX = 256
KINESIS_RECORD_MAX = 1024 * 1024
_ENVELOPE = {"records", "key_schema", "key_schema_id", "value_schema", "value_schema_id"}
_FIELDS = {"key", "value", "partition"}


@dataclass(frozen=True, slots=True)
class KafkaRecord:
    """One record to produce; `partition` is None when the partitioner decides."""

    key: bytes | None
    value: bytes | None
    partition: int | None


@dataclass(frozen=True, slots=True)
class KinesisRecord:
    """One record to put."""

    data: bytes
    partition_key: str

    @property
    def size(self) -> int:
        """Bytes as Kinesis counts them: the data and the key in UTF-8."""
        return len(self.data) + len(self.partition_key.encode())


def _no_constant(name: str) -> Never:
    raise ValueError(f"{name} is not JSON")


_decode = json.JSONDecoder(parse_constant=_no_constant).decode
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def _tree(body: bytes, refuse: Callable[[str], Refusal]) -> Any:
    try:
        return _decode(body.decode())
    except UnicodeDecodeError as error:
        raise refuse(f"Malformed JSON: byte {error.start} is not UTF-8") from None
    except RecursionError:
        raise refuse("Malformed JSON: nested too deeply") from None
    except ValueError as error:
        raise refuse(f"Malformed JSON: {error}") from None


def _text(value: Any) -> bytes:
    """The compact JSON text of `value`; raises ValueError when UTF-8 or JSON cannot hold it."""
    try:
        return _encode(value).encode()
    except UnicodeEncodeError:
        raise ValueError("must not hold lone surrogates") from None
    except RecursionError:
        raise ValueError("must not be nested so deeply") from None
    except ValueError:
        raise ValueError("must not hold numbers beyond the range of a double") from None


def kafka_records(body: bytes, *, binary: bool) -> list[KafkaRecord]:
    """The records of a v2 produce request (ProduceRequest of kafka-rest's entities.v2).

    `binary`: keys and values are base64 text; otherwise any JSON, stored as its compact text.
    JSON's null is a null key or a null value (a tombstone). Raises Refusal: 400 for malformed
    JSON, 422 for anything else.
    """
    if not body:
        raise Refusal(422, 42206, "Payload error. Request body is empty. Data is required.")
    tree = _tree(body, lambda message: Refusal(400, 400, message))
    if not isinstance(tree, dict):
        raise _unprocessable('The request body must be an object: {"records":[{"value":…}]}')
    _known(tree, _ENVELOPE)
    records = tree.get("records")
    if records is None or records == []:
        raise _unprocessable("records must not be empty")
    if not isinstance(records, list):
        raise _unprocessable("records must be an array")
    serialise = _bytes if binary else _text
    return [_kafka_record(n, record, serialise) for n, record in enumerate(records)]


def _kafka_record(n: int, record: Any, serialise: Callable[[Any], bytes]) -> KafkaRecord:
    if not isinstance(record, dict):
        raise _unprocessable(f"records[{n}] must be an object")
    _known(record, _FIELDS)

    def stored(name: str) -> bytes | None:
        field = record.get(name)
        try:
            return None if field is None else serialise(field)
        except ValueError as error:
            raise _unprocessable(f"records[{n}].{name} {error}") from None

    return KafkaRecord(stored("key"), stored("value"), _partition(n, record.get("partition")))


def _partition(n: int, partition: Any) -> int | None:
    if partition is None:
        return None
    whole = isinstance(partition, int) and not isinstance(partition, bool)
    if not whole or not 0 <= partition <= PARTITION_MAX:
        raise _unprocessable(f"records[{n}].partition must be an integer of at least 0")
    return int(partition)


def _bytes(value: Any) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError):
        hint = "JSON goes as application/vnd.kafka.json.v2+json"
        raise ValueError(f"must be text in valid base64 ({hint})") from None


def _known(tree: dict[str, Any], names: Collection[str]) -> None:
    unknown = next((name for name in tree if name not in names), None)
    if unknown is not None:
        raise _unprocessable(f"Unrecognized field: {unknown}")


def _unprocessable(message: str) -> Refusal:
    return Refusal(422, 422, message)


def kinesis_record(body: bytes) -> KinesisRecord:
    """The record of `PUT …/record`: `{"Data":…,"PartitionKey":…}`; other fields are ignored.

    Text is stored as it is, other JSON as its compact text. Raises Refusal with status 400.
    """
    tree = kinesis_object(body)
    return _kinesis_record("Data", tree.get("Data"), "PartitionKey", tree.get("PartitionKey"))


def kinesis_records(body: bytes) -> list[KinesisRecord]:
    """The records of `PUT …/records`: `{"records":[{"data":…,"partition-key":…}]}`.

    Raises Refusal with status 400.
    """
    records = kinesis_object(body).get("records")
    if not isinstance(records, list) or not records:
        raise invalid("records", "must be an array that is not empty")
    return [_member(f"records[{n}]", record) for n, record in enumerate(records)]


def _member(where: str, record: Any) -> KinesisRecord:
    if not isinstance(record, dict):
        raise invalid(where, "must be an object")
    key = "partition-key"
    return _kinesis_record(f"{where}.data", record.get("data"), f"{where}.{key}", record.get(key))


def kinesis_object(body: bytes) -> dict[str, Any]:
    """The JSON object that `body` holds; raises Refusal with status 400."""
    tree = _tree(body, lambda message: Refusal(400, "SerializationException", message))
    if not isinstance(tree, dict):
        raise Refusal(400, "SerializationException", "The request body must be an object")
    return tree


def _kinesis_record(data_name: str, data: Any, key_name: str, key: Any) -> KinesisRecord:
    record = KinesisRecord(_data(data_name, data), _partition_key(key_name, key))
    if record.size > KINESIS_RECORD_MAX:
        raise invalid(data_name, f"must hold at most {KINESIS_RECORD_MAX} bytes with its key")
    return record


def _data(where: str, data: Any) -> bytes:
    if data is None:
        raise invalid(where, "must not be null")
    try:
        return _utf8(data) if isinstance(data, str) else _text(data)
    except ValueError as error:
        raise invalid(where, str(error)) from None


def _partition_key(where: str, key: Any) -> str:
    if key is None:
        raise invalid(where, "must not be null")
    if isinstance(key, bool) or not isinstance(key, (str, int)):
        raise invalid(where, "must be text")
    if not 1 <= len(str(key)) <= PARTITION_KEY_MAX:
        raise invalid(where, f"must have 1 to {PARTITION_KEY_MAX} characters")
    try:
        _utf8(str(key))
    except ValueError as error:
        raise invalid(where, str(error)) from None
    return str(key)


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ValueError("must not hold lone surrogates") from None


def invalid(where: str, rule: str) -> Refusal:
    """Kinesis's refusal of one member of a request."""
    detail = f"Value at '{where}' failed to satisfy constraint: Member {rule}"
    return Refusal(400, "ValidationException", f"1 validation error detected: {detail}")
