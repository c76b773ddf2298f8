"""What the records of a pipeline have that its schema does not take: `_rescued`, summed up.

Only that column and the coordinates are read, a few files at a time; a file without such a value
costs its footer.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import polars as pl
from deltalake import DeltaTable

from core.batch import RESCUED, Coordinates
from core.config import Config
from core.errors import ConfigError, FatalError, SinkError, TransientError
from pinpip.pipelines import tables_of
from sinks.delta.scan import TableReader
from sinks.delta.table import find_own, sorted_errors
from sinks.delta.target import Tables
from transforms.load import load_schema

_READ_AHEAD = 64 * 2**20  # bytes of data files
_SAMPLE = 120  # characters
_NEVER = datetime.max.replace(tzinfo=UTC)
_TIME, _KNOWN = "_timestamp", "num_records"
# By the type that Python's parser makes, as JSON Schema names them.
_TYPES = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}
Tell = Callable[[int, int], None]  # files that were read, of so many


@dataclass(frozen=True)
class FieldDrift:
    """One field in `_rescued`: how many rows have it, and how many of each JSON type.

    `declared`: its type in the schema, which did not take these values; None: it has none.
    `first_seen`: the earliest broker time; `record`: where that record is. `sample`: its value.
    """

    field: str
    declared: str | None
    rows: int
    types: Mapping[str, int]
    first_seen: datetime | None
    record: str
    sample: str


@dataclass(frozen=True)
class Drift:
    """The fields of one table at one version, the most frequent first.

    `looked_at`: how many of the `rows` were read; what the others have is not known. `rescued`:
    rows that have a `_rescued`; `unreadable`: of these, those where it is not a JSON object.
    `version` is None without a table. `unknown`: what could not be read, and why.
    """

    pipeline: str
    table: str
    version: int | None = None
    rows: int | None = None
    looked_at: int = 0
    rescued: int = 0
    unreadable: int = 0
    fields: Sequence[FieldDrift] = ()
    unknown: Mapping[str, str] = field(default_factory=dict)

    def tree(self) -> dict[str, Any]:
        """Return it as JSON can say it."""
        rows = [vars(own) | {"first_seen": _iso(own.first_seen)} for own in self.fields]
        return vars(self) | {"fields": rows, "unknown": dict(self.unknown)}


@dataclass
class _Tally:
    """One field in some rows; `first`: time, partition and number of the earliest of them."""

    rows: int
    types: Counter[str]
    first: tuple[Any, ...]
    sample: Any

    def add(self, other: "_Tally") -> None:
        self.rows += other.rows
        self.types += other.types
        if other.first < self.first:
            self.first, self.sample = other.first, other.sample


@dataclass
class _Part:
    """What some files have."""

    rows: int = 0
    rescued: int = 0
    unreadable: int = 0
    fields: dict[str, _Tally] = field(default_factory=dict)

    def see(self, first: tuple[Any, ...], text: str) -> None:
        """Count one row."""
        self.rescued += 1
        try:
            members = json.loads(text).items()
        except (ValueError, AttributeError, RecursionError):
            self.unreadable += 1
            return
        for name, value in members:
            self.count(name, _Tally(1, Counter([_TYPES[type(value)]]), first, value))

    def count(self, name: str, tally: _Tally) -> None:
        """Add what is known of a field."""
        if (held := self.fields.get(name)) is None:
            self.fields[name] = tally
        else:
            held.add(tally)

    def add(self, other: "_Part") -> None:
        """Add what other files have."""
        self.rows += other.rows
        self.rescued += other.rescued
        self.unreadable += other.unreadable
        for name, tally in other.fields.items():
            self.count(name, tally)


def drift_of(config: Config, name: str, tell: Tell = lambda _done, _of: None) -> Drift:
    """Sum up `_rescued` of the clean table of the pipeline `name`; `tell` hears of the progress.

    Files that cannot be read now are in `unknown`. Raises SinkError for a table without that
    column, ConfigError for a schema that cannot be loaded.
    """
    tables, declared = tables_of(config, name), load_schema(config.pipeline(name).schema_).fields
    try:
        table = find_own(tables.clean, tables.options, tables.coordinates)
    except (TransientError, ConfigError) as error:
        return Drift(name, tables.clean, unknown={tables.clean: error.message})
    if table is None:
        return Drift(name, tables.clean)
    whole, rows, unknown = _read(table, tables, tell)
    fields = [_told(n, declared.get(n), t, tables.coordinates) for n, t in whole.fields.items()]
    return Drift(
        pipeline=name,
        table=tables.clean,
        version=table.version(),
        rows=rows,
        looked_at=whole.rows,
        rescued=whole.rescued,
        unreadable=whole.unreadable,
        fields=sorted(fields, key=lambda own: (-own.rows, own.field)),
        unknown=unknown,
    )


def _read(
    table: DeltaTable, tables: Tables, tell: Tell
) -> tuple[_Part, int | None, dict[str, str]]:
    """Return what all files have, the rows of the table, and what cannot be read now."""
    reader = TableReader(table, tables.options)
    if RESCUED not in reader.schema:
        raise SinkError(
            f"table {tables.clean} has no column {RESCUED}", "name the pipeline that writes it"
        )
    with sorted_errors(tables.clean):
        groups, files = _groups(reader), reader.files.height
    whole, unknown, done = _Part(), dict[str, str](), 0
    for group in groups:
        try:
            with sorted_errors(tables.clean):
                whole.add(_part(reader, group, tables.coordinates))
        except (TransientError, FatalError) as error:
            unknown[f"{group.height} files of {tables.clean}"] = error.message
        done += group.height
        tell(done, files)
    counted = reader.files[_KNOWN]
    rows = whole.rows if not unknown else None if counted.null_count() else int(counted.sum())
    return whole, rows, unknown


def _groups(reader: TableReader) -> list[pl.DataFrame]:
    """Return the files in groups: a scan reads far ahead of who takes its batches."""
    group = (pl.col("size_bytes").cum_sum() // _READ_AHEAD).alias("group")
    files = reader.files.select("path", _KNOWN, "size_bytes").with_columns(group)
    return files.partition_by("group", maintain_order=True)


def _part(reader: TableReader, files: pl.DataFrame, names: Coordinates) -> _Part:
    found, known = _Part(), files[_KNOWN]
    rows = reader.scan(files["path"].to_list())
    found.rows = rows.select(pl.len()).collect().item() if known.null_count() else int(known.sum())
    columns = [RESCUED, _TIME, *names.identity]
    kept = rows.filter(pl.col(RESCUED).is_not_null()).select(columns)
    for batch in kept.collect_batches(maintain_order=False):
        for text, *first in batch.iter_rows():
            found.see(_order(*first), text)
    return found


def _order(at: datetime | None, *where: Any) -> tuple[Any, ...]:
    """Return what the earliest row is the least of: one without a time is the last."""
    return (at is None, at or _NEVER, *where)


def _told(name: str, declared: pl.DataType | None, tally: _Tally, names: Coordinates) -> FieldDrift:
    untimed, at, *where = tally.first
    own = dict(zip(names.identity, where, strict=True))
    text = json.dumps(tally.sample, ensure_ascii=False)
    return FieldDrift(
        field=name,
        declared=None if declared is None else str(declared),
        rows=tally.rows,
        types=dict(tally.types.most_common()),
        first_seen=None if untimed else at,
        record=f"{own[names.source]}/{own[names.partition]}:{own[names.number]}",
        sample=text if len(text) <= _SAMPLE else f"{text[:_SAMPLE]}…",
    )


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()
