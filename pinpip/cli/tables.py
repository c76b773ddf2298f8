"""Rows as tables that a terminal holds: one line a row, and a second table for what has no room."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pinpip.cli.output import clean, print_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Row = Mapping[str, Any]
GAP = 2  # blanks between columns
WRAPPED = 24  # a text of words is wrapped at so many characters if it must be
CUT = 16  # a text that may be cut keeps so many if it must
WORD = 8  # a column of numbers may hold words that are no longer: unknown
_NAMING = re.compile(
    r"year|^ind$|_partition|_offset|^(start|end|position|version|seed)$"
)  # numbers that name, and count nothing


@dataclass(frozen=True)
class _Column:
    """A column of cells as text; `least` is the width that it needs, `width` the one it likes."""

    name: str
    cells: Sequence[str]
    number: bool
    cut: bool
    least: int
    width: int


def show(
    title: str,
    rows: Sequence[Row],
    *,
    as_json: bool,
    identity: int = 1,
    rare: Collection[str] = (),
    cut: Collection[str] = (),
) -> None:
    """Rows of like keys as tables for people, or whole as JSON for programs.

    The first `identity` columns are repeated in front of the columns that need another table.
    Columns in `rare` are left out when all they hold is nothing, 0 or no; those in `cut` are
    texts that end in an ellipsis where the line ends.
    """
    if as_json:
        print_json(list(rows))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console()
    console.print(Text(clean(title), style="bold"), soft_wrap=True)
    if not rows:
        console.print("nothing")
    names = [name for name in (rows[0] if rows else ()) if name not in rare or _tells(rows, name)]
    columns = [_column(name, rows, cut=name in cut) for name in names]
    for part in _parts(columns, console.width, identity):
        console.print(_table(part, console))
        console.print()


def _tells(rows: Sequence[Row], name: str) -> bool:
    return any(row[name] not in (None, 0, False, "", "0", "no") for row in rows)


def _column(name: str, rows: Sequence[Row], *, cut: bool) -> _Column:
    from rich.cells import cell_len

    cells = [_cell(name, row[name]) for row in rows]
    if cut:
        cells = [" ".join(cell.split()) for cell in cells]
    lines = [line for cell in cells for line in cell.splitlines()]
    title = _heading(name)  # it wraps at blanks, but not in a column that may be cut
    heading = max(map(cell_len, [title] if cut else title.split()), default=0)
    width = max([heading, *map(cell_len, lines)])
    numbers = [isinstance(row[name], (int, float)) for row in rows]
    number = any(numbers) and all(n or len(c) <= WORD for n, c in zip(numbers, cells, strict=True))
    word = max((cell_len(word) for line in lines for word in line.split()), default=0)
    least = min(width, max(heading, CUT if cut else max(WRAPPED, word)))
    return _Column(name, cells, number, cut, least, width)


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    amount = isinstance(value, (int, float)) and not _NAMING.search(name)
    return f"{value:,}" if amount else clean(str(value))


def _heading(name: str) -> str:
    own = name.startswith("_")  # a metadata column: `_timestamp` is not a record's `timestamp`
    return clean(name if own else name.replace("_", " ").strip())


def _parts(columns: Sequence[_Column], room: int, identity: int) -> Iterator[Sequence[_Column]]:
    """Split the columns into tables no wider than `room`, each with the identity in front."""
    front, rest = list(columns[:identity]), list(columns[identity:])
    while front:
        part, used = list(front), sum(column.least + GAP for column in front)
        while rest and (len(part) == len(front) or used + rest[0].least <= room):
            used += rest[0].least + GAP
            part.append(rest.pop(0))
        yield part
        if not rest:
            return


def _table(columns: Sequence[_Column], console: "Console") -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    spare = console.width + GAP - sum(column.least + GAP for column in columns)
    for column in columns:
        more = min(column.width - column.least, max(0, spare))
        spare -= more
        table.add_column(
            Text(_heading(column.name)),
            justify="right" if column.number else "left",
            overflow="ellipsis" if column.cut else "fold",
            no_wrap=column.cut,
            max_width=column.least + more,
            min_width=min(column.least + more, console.width),
        )
    for row in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*map(Text, row))  # no markup
    return table
