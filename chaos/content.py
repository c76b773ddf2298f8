"""The payloads of the producers: a function of the record's number, which is also its key."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Template = bytes | tuple[bytes, bytes] | None


@dataclass(frozen=True)
class Content:
    """Templates, used in turn.

    A template is a fixed payload, a tombstone (None), or two parts around the record's number.
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
        """Return whether the record must reach the table or its quarantine."""
        return number % len(self.templates) not in self.dropped


def template(payload: bytes | None, key: str | None) -> Template:
    """Split the payload around its integer field `key`; return it unchanged without that field."""
    row = _object(payload)
    if payload is None or row is None or key is None or type(row.get(key)) is not int:
        return payload
    mark = f"number of {key}"
    head, _, tail = json.dumps(row | {key: mark}).partition(json.dumps(mark))
    return head.encode(), tail.encode()


def templates(payloads: Iterable[bytes | None], key: str | None) -> tuple[Template, ...]:
    """Return a template for each payload."""
    return tuple(template(payload, key) for payload in payloads)


def _object(payload: bytes | None) -> dict[str, Any] | None:
    """Return the payload as a JSON object, None if it is not one."""
    try:
        row = json.loads(payload or b"")
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
