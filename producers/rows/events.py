"""Events from inputs: each row as its target's record type, exact, or refused by row and column."""

import csv
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from polars.exceptions import PolarsError

from producers.event import Event, Row
from producers.numbers import shown
from producers.record_type import RecordType
from producers.rows import csv_text, json_text, parquet
from producers.rows.inputs import CSV, JSON, Input, InputError, opened
from producers.rows.json_text import Numbered
from producers.wire import depth, to_wire, unicode

Note = Callable[[str], None]
Chosen = tuple[Input, Sequence[RecordType]]

_UNREADABLE = (OSError, ValueError, TypeError, NotImplementedError, EOFError, RecursionError)
_BROKEN = (*_UNREADABLE, csv.Error, zlib.error, PolarsError)
_ROWS = "rows are objects, or lines of a CSV file with a header, in UTF-8 and with commas"
_FIX = "the rows before it are sent: correct it, and send the rows from it on"
_NOTED = 500  # names of fields; then no more are noted
MAX_DEPTH = 100  # levels of a record
_LEAST = 2  # fields by which a record type is recognised


class Refused(ValueError):
    """A row that cannot be sent."""


def from_inputs(chosen: Iterable[Chosen], note: Note) -> Iterator[Event]:
    """Yield an event per row, in order; the record type is the one whose fields the row has.

    `note` is told what is left out, and which columns no schema knows. Raises InputError at the
    first row that cannot be sent as it is; it names the input, the row and the column.
    """
    for source, types in chosen:
        yield from _events(source, types, note)


def _events(source: Input, types: Sequence[RecordType], note: Note) -> Iterator[Event]:
    done, line, known = 0, None, set[str]()
    rows = _rows(source, lambda said: note(f"{source.name}: {said}"))
    fields = {name for each in types for name in each.fields}
    own = {name: text for name, text in source.columns.items() if name in fields}
    try:
        for line, row in rows:  # noqa: B007 - an error names it
            event = event_of(own | row if own and isinstance(row, dict) else row, types)
            if len(known) < _NOTED and row.keys() - known:
                _note_unknown(source, row.keys() - known, event, types, note)
                known |= row.keys()
            yield event
            done += 1
        if not done:
            note(f"{source.name}: no rows")
    except Refused as refused:
        at = f" (line {line})" if line else ""
        raise InputError(f"{source.name}, row {done + 1}{at}, {refused}", _FIX) from refused
    except _BROKEN as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{source.name}, after {done} rows: {said}", _ROWS) from error


def _rows(source: Input, note: Note) -> Numbered:
    with opened(source) as (kind, stream):
        if kind == JSON:
            yield from json_text.rows(stream)
        elif kind == CSV:
            yield from csv_text.rows(stream, note)
        else:
            yield from parquet.rows(stream, note)


def _note_unknown(
    source: Input, names: set[str], event: Event, types: Sequence[RecordType], note: Note
) -> None:
    fields = {name for each in types if each.name in event.rows for name in each.fields}
    unknown = ", ".join(sorted(names - fields))
    if unknown:
        note(f"{source.name}: not in the schema, so kept in _rescued: {shown(unknown)}")


def event_of(row: Any, types: Sequence[RecordType]) -> Event:
    """Return the event of one row; ValueError names the column that cannot be sent, and why."""
    if not isinstance(row, dict):
        raise Refused(f"which is {shown(row)}: not an object")
    own = record_type(row, types)
    wire = wire_row(row, own)
    return Event(own.key_of(wire), {own.name: wire})


def wire_row(row: Mapping[str, Any], own: RecordType) -> Row:
    """Return the row as JSON in the types of `own`; ValueError names the column, and why."""
    wire = {name: _converted(name, value, own) for name, value in row.items()}
    if wire.get(own.key) is None:
        raise Refused(f"column {own.key!r}: the key is missing")
    if own.longest_key and not 0 < len(str(own.key_of(wire))) <= own.longest_key:
        raise Refused(
            f"column {own.key!r}: a key for Kinesis has 1 to {own.longest_key} characters"
        )
    others = own.fields.keys() - {own.key}
    if others and all(wire.get(name) is None for name in others):
        raise Refused(
            f"column {own.key!r}: the row has nothing but its key, which consumers reject"
        )
    return wire


def _converted(name: str, value: Any, own: RecordType) -> Any:
    if depth(value) >= MAX_DEPTH:
        raise Refused(
            f"column {name!r}: nested deeper than {MAX_DEPTH} levels: consumers reject it"
        )
    try:
        unicode(name)
        return to_wire(value, own.fields.get(name))
    except (ValueError, OverflowError) as error:
        raise Refused(f"column {name!r}: {error}") from error


def record_type(row: Mapping[str, Any], types: Sequence[RecordType]) -> RecordType:
    """Return the one of `types` whose fields `row` has; ValueError if none."""
    if len(types) == 1:
        return _named(row, types[0])
    shared = {each.name: len(each.fields.keys() & row.keys()) for each in types}
    best = max(types, key=lambda each: shared[each.name])
    if best.key not in row or shared[best.name] < _LEAST:
        names = " or ".join(each.name for each in types)
        raise Refused(f"fields {shown(', '.join(row))}: no {names} has them; see --pipeline")
    return best


def _named(row: Mapping[str, Any], own: RecordType) -> RecordType:
    if own.key not in row:
        raise Refused(f"fields {shown(', '.join(row))}: the key {own.key!r} is not among them")
    return own
