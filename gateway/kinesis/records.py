"""Records of the Kinesis routes' request bodies, and refusals in the format of Kinesis.

The data are JSON or text. Any bytes result in records or in a Refusal with a 4xx status.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from gateway.http.request_codec import MISSING, NULL, canonical, decoded, split
from gateway.http.responses import Refusal

MAX_PARTITION_KEY = 256
MAX_RECORD = 10 * 1024 * 1024  # of any stream; Kinesis checks the limit of each, 1 MiB or more
HASH_KEY_END = 2**128
SEQUENCE_END = 10**129
_NUMBER = re.compile(r"[0-9]{1,129}")  # passed on unchanged, with its leading zeros


class _Put(msgspec.Struct):
    data: Raw = msgspec.field(default=NULL, name="Data")
    key: Any = msgspec.field(default=None, name="PartitionKey")
    hash_key: Any = msgspec.field(default=UNSET, name="ExplicitHashKey")
    after: Any = msgspec.field(default=UNSET, name="SequenceNumberForOrdering")
    dry_run: Any = msgspec.field(default=False, name="DryRun")


class _Member(msgspec.Struct):
    data: Raw = NULL
    key: Any = msgspec.field(default=None, name="partition-key")
    hash_key: Any = msgspec.field(default=UNSET, name="explicit-hash-key")
    hash_key_too: Any = msgspec.field(default=UNSET, name="ExplicitHashKey")


class _PutMany(msgspec.Struct):
    records: Annotated[list[_Member], Meta(min_length=1)]
    dry_run: Any = msgspec.field(default=False, name="DryRun")


@dataclass(frozen=True, slots=True)
class KinesisRecord:
    """One record to put; `options` are further members of the Kinesis request."""

    data: bytes
    partition_key: str
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The size in bytes that Kinesis limits: the data and the key in UTF-8."""
        return len(self.data) + len(self.partition_key.encode())

    @property
    def members(self) -> dict[str, Any]:
        """The record as a member of PutRecord and PutRecords."""
        return {"Data": self.data, "PartitionKey": self.partition_key, **self.options}


_put = msgspec.json.Decoder(_Put)
_put_many = msgspec.json.Decoder(_PutMany)
_object = msgspec.json.Decoder(dict[str, Any])
_text = msgspec.json.Decoder(str)


def kinesis_record(body: bytes) -> KinesisRecord:
    """Return the record of `PUT …/record`: `{"Data":…,"PartitionKey":…}`.

    `ExplicitHashKey` and `SequenceNumberForOrdering` are passed on, other members ignored. Text is
    stored unchanged, other JSON as compact text. Raises Refusal 400.
    """
    put = decoded(_put, body, _serialization, _serialization)
    _refuse_dry_run(put.dry_run)
    # A JSON number would lose the leading zeros.
    after = put.after if isinstance(put.after, (str, UnsetType)) else ""
    options = {
        "ExplicitHashKey": _digits("ExplicitHashKey", put.hash_key, HASH_KEY_END),
        "SequenceNumberForOrdering": _digits("SequenceNumberForOrdering", after, SEQUENCE_END),
    }
    return _record("Data", put.data, "PartitionKey", put.key, options)


def kinesis_records(body: bytes) -> list[KinesisRecord]:
    """Return the records of `PUT …/records`: `{"records":[{"data":…,"partition-key":…}]}`.

    A record may have an `explicit-hash-key`, also as `ExplicitHashKey`; other members are ignored.
    Raises Refusal with status 400.
    """
    put = decoded(_put_many, body, _serialization, _invalid_member)
    _refuse_dry_run(put.dry_run)
    return [_member(f"records[{n}]", member) for n, member in enumerate(put.records)]


def _member(where: str, member: _Member) -> KinesisRecord:
    named = (("explicit-hash-key", member.hash_key), ("ExplicitHashKey", member.hash_key_too))
    wanted = [_digits(f"{where}.{name}", value, HASH_KEY_END) for name, value in named]
    options = {"ExplicitHashKey": wanted[0] or wanted[1]}
    return _record(f"{where}.data", member.data, f"{where}.partition-key", member.key, options)


def _refuse_dry_run(dry_run: Any) -> None:
    """Raise Refusal 400 for a dry run: Kinesis would store nothing, this gateway would store."""
    if dry_run is not False:
        raise invalid("DryRun", "must be false: this gateway stores what it takes")


def kinesis_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in `body`; raises Refusal 400."""
    return decoded(_object, body, _serialization, _serialization)


def _record(
    data_name: str, data: Raw, key_name: str, key: Any, options: Mapping[str, str | None]
) -> KinesisRecord:
    given = {name: value for name, value in options.items() if value is not None}
    record = KinesisRecord(_data(data_name, data), _partition_key(key_name, key), given)
    if record.size > MAX_RECORD:
        raise invalid(data_name, f"must hold at most {MAX_RECORD} bytes with its key")
    return record


def _digits(where: str, value: Any, end: int) -> str | None:
    """Return a number below `end`, sent as text or as an integer, or None."""
    if value is UNSET:
        return None
    text = "" if isinstance(value, bool) or not isinstance(value, (str, int)) else str(value)
    if not _NUMBER.fullmatch(text) or int(text) >= end:
        raise invalid(where, f"must be a decimal number from 0 to {end - 1}")
    return text


def _data(where: str, data: Raw) -> bytes:
    text = canonical(data)
    if text == b"null":
        raise invalid(where, "must not be null")
    return _text.decode(text).encode() if text.startswith(b'"') else text


def _partition_key(where: str, key: Any) -> str:
    if key is None:
        raise invalid(where, "must not be null")
    if isinstance(key, bool) or not isinstance(key, (str, int)):
        raise invalid(where, "must be text")
    if not 1 <= len(str(key)) <= MAX_PARTITION_KEY:
        raise invalid(where, f"must have 1 to {MAX_PARTITION_KEY} characters")
    return str(key)


def _serialization(message: str) -> Refusal:
    message, where = split(message)
    return Refusal(400, "SerializationException", f"{where}: {message}" if where else message)


def _invalid_member(message: str) -> Refusal:
    what, where = split(message)
    if what == MISSING or (where == "records" and "length" in what):
        return invalid("records", "must be an array that is not empty")
    return invalid(where, f"is not as it should be: {what}") if where else _serialization(message)


def invalid(where: str, rule: str) -> Refusal:
    """Return the ValidationException of Kinesis for one member of a request."""
    detail = f"Value at '{where}' failed to satisfy constraint: Member {rule}"
    return Refusal(400, "ValidationException", f"1 validation error detected: {detail}")
