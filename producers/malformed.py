"""Malformed payloads of every kind that a pipeline must quarantine."""

import base64
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from producers.emulator import event
from producers.event import KEY, Row

OVERSIZE = 900_000
OVERSIZE_SHARE = 0.002
OTHER = {"pin": "geo", "geo": "user", "user": "pin"}

Make = Callable[[str, Row], Any]


def _text(row: Row) -> bytes:
    return json.dumps(row).encode()


def _with_key(record: str, row: Row, key: Any) -> Row:
    return row | {KEY[record]: key}


def _other_type(record: str, row: Row) -> Row:
    other = OTHER[record]
    return _with_key(other, event(0, 0).rows[other], row[KEY[record]])


def _duplicated_key(record: str, row: Row) -> bytes:
    return b'{"%s": 0, ' % KEY[record].encode() + _text(row)[1:]


def _truncated(_: str, row: Row) -> bytes:
    text = _text(row)
    return text[: len(text) // 2]


def _oversize(_: str, row: Row) -> bytes:
    return _text(row)[:-1] + b', "more": "' + b"x" * OVERSIZE


# Bytes are sent unchanged; anything else is a JSON value.
KINDS: dict[str, Make] = {
    "empty": lambda *_: b"",
    "not_json": lambda *_: b"<html>502 Bad Gateway</html>",
    "truncated": _truncated,
    "not_a_number": lambda record, row: _text(row | {"latitude": float("nan"), KEY[record]: 1}),
    "duplicated_key": _duplicated_key,
    "invalid_utf8": lambda _, row: _text(row)[:-1] + b', "note": "\xff\xfe\xc3"}',
    "oversize": _oversize,
    "number": lambda record, row: row[KEY[record]],
    "array": lambda _, row: [row],
    "other_type": _other_type,
    "missing_key": lambda record, row: {k: v for k, v in row.items() if k != KEY[record]},
    "null_key": lambda record, row: _with_key(record, row, None),
    "text_key": lambda record, row: _with_key(record, row, "not a number"),
    "nested_key": lambda record, row: _with_key(record, row, {"value": row[KEY[record]]}),
    "encoded_twice": lambda _, row: base64.b64encode(_text(row)).decode(),
}
COMMON = [kind for kind in KINDS if kind != "oversize"]


def malformed_value(kind: str, record: str, row: Row) -> Any:
    """Return a payload of `kind` from a valid `row` of type `record`: bytes, or a JSON value."""
    return KINDS[kind](record, row)


def is_text(value: Any) -> bool:
    """Whether a route for JSON values and text only can send `value`."""
    if not isinstance(value, bytes):
        return True
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


@dataclass(frozen=True)
class MalformedRecords:
    """Malformed payloads beside valid rows, `ratio` of their number; seeded like the emulator."""

    ratio: float = 0.0
    seed: int = 1

    def beside(self, number: int, record: str, row: Row, *, text_only: bool) -> Iterator[Any]:
        """Yield the malformed payload, if any, beside the row of type `record` of event `number`.

        Every kind is equally frequent, except the rare oversize. `text_only` replaces payloads that
        are not text.
        """
        if not self.ratio:
            return
        rng = random.Random(f"{self.seed} bad {number} {record}")
        if rng.random() >= self.ratio:
            return
        kind = "oversize" if rng.random() < OVERSIZE_SHARE else rng.choice(COMMON)
        value = malformed_value(kind, record, row)
        can_send = not text_only or is_text(value)
        yield value if can_send else malformed_value("truncated", record, row)
