"""Record types for tests of `pinpip produce`, and the rows that come of a file."""

from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from producers.event import Event
from producers.record_type import RecordType
from producers.rows.events import from_inputs
from producers.rows.places import inputs_at
from transforms import geo, pin, user

TYPES = {
    schema.name: RecordType(schema.name, schema.key, schema.fields)
    for schema in (pin.SCHEMA, geo.SCHEMA, user.SCHEMA)
}
BOARD = RecordType(
    "boards",
    "board",
    {
        "board": pl.Int64(),
        "name": pl.String(),
        "score": pl.Float64(),
        "pins": pl.Int64(),
    },
)


def events_of(
    place: Path | str,
    *types: RecordType,
    kind: str | None = None,
    notes: list[str] | None = None,
) -> list[Event]:
    """Return the events of the rows at `place`, as pins, geos or users unless `types` are named."""
    note: Callable[[str], None] = list[str]().append if notes is None else notes.append
    inputs = inputs_at(str(place), kind, note, lambda: False)
    chosen: Sequence[RecordType] = types or list(TYPES.values())
    return list(from_inputs([(each, chosen) for each in inputs], note))


def boards_of(place: Path | str, **options: object) -> list[dict[str, object]]:
    """Return the rows at `place` as boards, as they go on the wire."""
    return [event.rows["boards"] for event in events_of(place, BOARD, **options)]  # type: ignore[arg-type]
