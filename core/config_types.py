"""Types of single values in config.yaml, which say in words what they take."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ByteSize,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

NOTHING = "is empty"
BOOLEAN = "is read as a boolean: quote it if it is a word"
NO_PERIOD = "is no time: write a number and a unit (s, m, h or d), such as 10m"
JsonSchema = dict[str, Any]
_PERIOD = r"^([0-9]{1,6}(?:\.[0-9]{1,6})?) ?([smhd])$"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Misplaced(ValueError):
    """What is wrong with a section, and at which of its keys."""

    def __init__(self, message: str, *at: str | int) -> None:
        super().__init__(message)
        self.at = at


@dataclass(frozen=True)
class Matching:
    """Texts that match `pattern` as a whole; of others, `otherwise` is said."""

    pattern: str
    otherwise: str

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Check after pydantic's own checks."""
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchema:
        """Add the pattern."""
        return handler(core) | {"pattern": f"^(?:{self.pattern})$"}

    def _check(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text):
            raise ValueError(self.otherwise if text else NOTHING)
        return text


class OneOrMany:
    """A list whose only item may stand without brackets."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Make a list of a text or a mapping."""
        return core_schema.no_info_before_validator_function(_listed, handler(source))

    def __get_pydantic_json_schema__(
        self, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchema:
        """Take the item, too."""
        many = handler(core)
        return {"anyOf": [many["items"], many]}


def _listed(value: object) -> object:
    return (value,) if isinstance(value, (str, dict)) else value


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError(NOTHING)
    return text


def period(text: str) -> timedelta:
    """Parse a time like 10m or 7d; raise ValueError for anything else."""
    found = re.fullmatch(_PERIOD, text.strip())
    if found is None:
        raise ValueError(NO_PERIOD)
    return timedelta(seconds=float(found[1]) * _SECONDS[found[2]])


def _period(value: object) -> object:
    if isinstance(value, timedelta):
        return value
    return period(str(value))


def spelled(value: timedelta) -> str:
    """Spell a time as `period` reads it."""
    seconds = value.total_seconds()
    whole = (unit for unit in ("d", "h", "m") if seconds % _SECONDS[unit] == 0)
    unit = next(whole, "s") if seconds else "s"
    return f"{seconds / _SECONDS[unit]:g}{unit}"


_SIZES = [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^[0-9.]+ ?[A-Za-z]*$"}]
Text = Annotated[str, AfterValidator(_filled), WithJsonSchema({"type": "string", "minLength": 1})]
Size = Annotated[ByteSize, WithJsonSchema({"anyOf": _SIZES})]
Period = Annotated[
    timedelta,
    BeforeValidator(_period),
    PlainSerializer(spelled, return_type=str),
    WithJsonSchema({"type": "string", "pattern": _PERIOD}),
]
Identifier = Annotated[str, Matching(r"[A-Za-z0-9]+", "may have letters and digits only")]
Word = Annotated[
    str, Matching(r"[A-Za-z0-9_-]+", "is no name: only letters, digits, `_` and `-` are allowed")
]
Incarnation = Annotated[
    str, Matching(r"[A-Za-z0-9_.-]+", "may have letters, digits, `_`, `.` and `-` only")
]
StreamName = Annotated[
    str,
    Matching(
        r"[A-Za-z0-9_.-]{1,128}",
        "is no name of a stream: Kinesis allows 128 letters, digits, `_`, `.` and `-`",
    ),
]
KeyHash = Annotated[
    str, Matching(r"sha256:[0-9a-f]{64}", "is no hash of a key: see `pinpip config api-key`")
]
HostPattern = Annotated[
    str,
    Matching(
        r"\*|(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*",
        "is neither a host name nor `*.name` nor `*`",
    ),
]
Origin = Annotated[
    str,
    Matching(
        r"\*|null|[a-z][a-z0-9+.-]*://[^/?#\sA-Z]+",
        "is no origin: write scheme://host:port in lower case, without a path",
    ),
]
