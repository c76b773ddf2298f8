"""Rows of a quarantine as NDJSON: coordinates, reason, and the payload byte for byte."""

import json
from base64 import b64encode
from collections.abc import Iterator
from datetime import datetime
from typing import Any, BinaryIO

from core.batch import VALUE
from pinpip.quarantine.rows import DETAIL, REASON, VERSIONS, Choice, Quarantine


def lines(quarantine: Quarantine | None, choice: Choice) -> Iterator[bytes]:
    """Yield a line for each of the chosen rows, in the order of the table's files.

    A payload is in `value` as text when it is UTF-8, else in `value_base64`; without a payload
    both are null.
    """
    if quarantine is None:
        return
    names = [*quarantine.coordinates.metadata, REASON, DETAIL, *VERSIONS, VALUE]
    for batch in quarantine.batches(choice):
        for row in batch.select(names).iter_rows(named=True):
            yield json.dumps(tree(row), ensure_ascii=False).encode() + b"\n"


def write(quarantine: Quarantine | None, choice: Choice, out: BinaryIO) -> int:
    """Write the lines; return how many."""
    rows = 0
    for line in lines(quarantine, choice):
        out.write(line)
        rows += 1
    return rows


def tree(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as JSON can say it."""
    times = {n: v.isoformat() if isinstance(v, datetime) else v for n, v in row.items()}
    return {name: value for name, value in times.items() if name != VALUE} | payload(row[VALUE])


def payload(value: bytes | None) -> dict[str, str | None]:
    """Return `value` and `value_base64`, of which one is the payload."""
    if value is None:
        return {"value": None, "value_base64": None}
    try:
        return {"value": value.decode(), "value_base64": None}
    except UnicodeDecodeError:
        return {"value": None, "value_base64": b64encode(value).decode()}
