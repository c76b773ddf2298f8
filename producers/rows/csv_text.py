"""Rows of a CSV text (RFC 4180, UTF-8, a header): every cell is text, an empty one is null."""

import csv
from collections.abc import Callable, Iterator
from io import BufferedReader
from typing import Any

from producers.numbers import Cell
from producers.rows.inputs import MAX_ROW
from producers.rows.json_text import Numbered

_INDEX = "Unnamed: 0"  # how pandas reads back the nameless index column that it wrote
_OTHERS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def rows(stream: BufferedReader, note: Callable[[str], None]) -> Numbered:
    """Yield the line at which each row ends, and its cells by the names of the header.

    Raises ValueError for a text that is not such a table; it names the line.
    """
    csv.field_size_limit(MAX_ROW)
    reader = csv.reader(_lines(stream), strict=True)
    try:
        yield from _table(reader, note)
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from error


def _table(reader: Any, note: Callable[[str], None]) -> Numbered:
    header: list[str] = next(reader, [])
    first = _first(header, note)
    names = header[first:]
    _check(names, first)
    for cells in reader:
        if len(cells) != len(header) and cells:
            what = f"{len(cells)} cells where the header has {len(header)}"
            raise ValueError(f"line {reader.line_num}: {what}")
        filled = (Cell(cell) if cell else None for cell in cells[first:])
        if cells:
            yield reader.line_num, dict(zip(names, filled, strict=True))


def _lines(stream: BufferedReader) -> Iterator[str]:
    encoding = "utf-8-sig"
    for number, line in enumerate(iter(lambda: stream.readline(MAX_ROW + 1), b""), 1):
        if len(line) > MAX_ROW:
            raise ValueError(f"line {number}: more than {MAX_ROW} bytes")
        try:
            yield line.decode(encoding)
        except UnicodeDecodeError as error:
            byte = line[error.start]
            raise ValueError(f"line {number}: byte 0x{byte:02x} is not UTF-8") from None
        encoding = "utf-8"


def _first(header: list[str], note: Callable[[str], None]) -> int:
    """Return how many columns at the left are an index that pandas wrote without a name."""
    if header[:1] == [_INDEX] and len(header) > 1:
        note(f"the column {_INDEX!r}, an index of pandas, is left out")
        return 1
    nameless = next((n for n, name in enumerate(header) if name), len(header))
    if 0 < nameless < len(header):
        note("the first column has no name, as an index of pandas (to_csv), and is left out")
    return nameless


def _check(names: list[str], first: int) -> None:
    if len(names) == 1:
        others = [word for mark, word in _OTHERS.items() if mark in names[0]]
        if others:
            raise ValueError(f"the header has one column, {names[0]!r}, and {others[0]} in it")
    for number, name in enumerate(names, first + 1):
        if not name:
            raise ValueError(f"column {number} of the header has no name")
        if names.count(name) > 1:
            raise ValueError(f"the header has the column {name!r} more than once")
