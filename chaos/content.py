"""What the producer sends: record `n` is known from its number, and its key is that number."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Template = bytes | tuple[bytes, bytes] | None


@dataclass(frozen=True)
class Content:
    """Templates to go round in.

    A template is a payload as it is, a tombstone (None), or two parts around the record's number.
    `dropped`: indexes of the templates that the pipeline's transform filters out.
    """

    templates: tuple[Template, ...]
    dropped: frozenset[int] = frozenset()

    def payload(self, number: int) -> bytes | None:
        """Return the value of record `number`."""
        template = self.templates[number % len(self.templates)]
        if isinstance(template, tuple):
            return b"%s%d%s" % (template[0], number, template[1])
        return template

    def arrives(self, number: int) -> bool:
        """Whether a table or its quarantine is to hold the record."""
        return number % len(self.templates) not in self.dropped


def template(payload: bytes | None, key: str | None) -> Template:
    """Take the number, the integer field `key`, out of the payload, if it has one."""
    row = _object(payload)
    if payload is None or row is None or key is None or type(row.get(key)) is not int:
        return payload
    mark = f"number of {key}"
    head, _, tail = json.dumps(row | {key: mark}).partition(json.dumps(mark))
    return head.encode(), tail.encode()


def templates(payloads: Iterable[bytes | None], key: str | None) -> tuple[Template, ...]:
    """Make a template for each payload."""
    return tuple(template(payload, key) for payload in payloads)


def _object(payload: bytes | None) -> dict[str, Any] | None:
    """Parse a payload that is a JSON object and can be written again without loss."""
    try:
        row = json.loads(payload or b"")
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
