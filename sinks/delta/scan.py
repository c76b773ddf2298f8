"""Data files of a Delta table, read as the table's protocol and schema require.

Supported: deletion vectors; columns that a file lacks, orders otherwise or spells in another case;
INT96, millisecond and dictionary encodings; text without its annotation. Source: Delta
transaction protocol, "Reader Requirements for Deletion Vectors" and "Data Files".
"""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import polars as pl
from deltalake import DeltaTable

from core.batch import Coordinates, Partition, Position
from core.errors import SinkError
from core.paths import of_delta_rs
from core.protocols import Options

if TYPE_CHECKING:
    from polars._typing import SchemaDict

Ends = tuple[Position | None, Position | None]  # None: from the first record, to the last

_OWN = re.compile(r"(^|/)part-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.zstd\.parquet$")
_ROW = "__row"
_TEXTS = (pl.String, pl.Binary)
_CASTS = pl.ScanCastOptions(
    integer_cast="upcast",
    float_cast="upcast",
    datetime_cast=["nanosecond-downcast", "millisecond-upcast", "convert-timezone"],
    missing_struct_fields="insert",
    categorical_to_string="allow",
)


def is_own(path: str) -> bool:
    """Return whether pinpip wrote the data file; other engines name theirs otherwise."""
    return _OWN.search(path) is not None


class TableReader:
    """The data files of one version of a table."""

    def __init__(self, table: DeltaTable, options: Options) -> None:
        self._table = table
        self._options = options

    @cached_property
    def schema(self) -> pl.Schema:
        """The table's columns, in its order."""
        return pl.Schema(self._table.schema())

    @cached_property
    def files(self) -> pl.DataFrame:
        """One row a file: `path`, `num_records` (null: not known), `modification_time`, `min.…`.

        `num_records` counts the rows that a reader sees: not the deleted ones.
        """
        found = pl.DataFrame(self._table.get_add_actions(flatten=True))
        if "num_records" not in found.columns:  # no file has statistics
            found = found.with_columns(num_records=pl.lit(None, pl.Int64))
        gone = {path: rows.len() for path, rows in self._deleted.items()}
        lost = pl.col("path").replace_strict(gone, default=0, return_dtype=pl.Int64)
        return found.with_columns(pl.col("num_records") - lost)

    def count(self) -> int:
        """Count the rows; reads only the files whose number of rows is not known."""
        known = self.files.filter(pl.col("num_records").is_not_null())
        others = self.files.join(known, on="path", how="anti")["path"].to_list()
        rest = self.scan(others).select(pl.len()).collect().item() if others else 0
        return int(known["num_records"].sum()) + int(rest)

    @property
    def masked(self) -> set[str]:
        """The paths of the files that have a deletion vector."""
        return set(self._deleted)

    def columns(self, path: str) -> set[str]:
        """Return the columns that one file has."""
        return set(self._scan([self._uri(path)]).collect_schema())

    def rows(self) -> pl.LazyFrame:
        """Scan all rows."""
        return self.scan(self.files["path"].to_list())

    def scan(self, paths: Sequence[str], file: str | None = None) -> pl.LazyFrame:
        """Scan the rows of some files; `file` names a column for the URI of each row's file."""
        apart = {path: spelled for path in paths if (spelled := self._spelled(path)) is not None}
        together = [path for path in paths if path not in apart]
        parts = [self._together(together, file)] if together or not apart else []
        parts += [self._apart(path, spelled, file) for path, spelled in apart.items()]
        return pl.concat(parts)

    @cached_property
    def _deleted(self) -> dict[str, pl.Series]:
        """The numbers of the deleted rows of each file that has any.

        Raises SinkError when a deletion vector belongs to no file of the table.
        """
        if "deletionVectors" not in (self._table.protocol().reader_features or []):
            return {}
        own = pl.DataFrame(self._table.get_add_actions())["path"]
        known = {self._uri(path): path for path in own}
        found: dict[str, pl.Series] = {}
        for uri, kept in pl.DataFrame(self._table.deletion_vectors()).iter_rows():
            path = known.get(of_delta_rs(uri))
            if path is None:
                raise SinkError(
                    f"table {of_delta_rs(self._table.table_uri)} has a deletion vector of {uri}, "
                    "which is not a file of it",
                    "restore the table's log from a backup; no row was read",
                )
            found[path] = (~pl.Series(_ROW, kept, pl.Boolean)).arg_true()
        return found

    def _spelled(self, path: str) -> dict[str, pl.DataType] | None:
        """Return the file's own columns if it must be read apart from the others, else None."""
        if is_own(path):
            return {} if path in self._deleted else None
        held = dict(self._scan([self._uri(path)]).collect_schema())
        simple = all(
            name in self.schema and not _are_texts(dtype, self.schema[name])
            for name, dtype in held.items()
        )
        return None if simple and path not in self._deleted else held

    def _together(self, paths: Sequence[str], file: str | None) -> pl.LazyFrame:
        if not paths:
            none = pl.LazyFrame(schema=self.schema)
            return none if file is None else none.with_columns(pl.lit("").alias(file))
        return self._scan(list(map(self._uri, paths)), schema=self.schema, file=file)

    def _apart(self, path: str, held: Mapping[str, pl.DataType], file: str | None) -> pl.LazyFrame:
        """Scan one file's rows less the deleted ones, its columns found whatever their case."""
        names = {name: _name(name, held) for name in self.schema}
        types = {
            own: held[own] if own in held and _are_texts(held[own], dtype) else dtype
            for (name, dtype) in self.schema.items()
            for own in [names[name]]
        }
        rows = self._scan(
            [self._uri(path)],
            schema=types,
            file=file,
            row=_ROW,
        )
        deleted = self._deleted.get(path)
        if deleted is not None:
            rows = rows.filter(~pl.col(_ROW).is_in(deleted.implode()))
        columns = [pl.col(own).cast(self.schema[name]).alias(name) for name, own in names.items()]
        return rows.select(*columns, *([] if file is None else [file]))

    def _scan(
        self,
        uris: list[str],
        *,
        schema: "SchemaDict | None" = None,
        file: str | None = None,
        row: str | None = None,
    ) -> pl.LazyFrame:
        """Scan the files' rows; `row` names a column of their numbers and allows more columns."""
        return pl.scan_parquet(
            uris,
            schema=schema,
            storage_options=self._options(),
            hive_partitioning=False,
            glob=False,
            missing_columns="insert",
            extra_columns="raise" if row is None else "ignore",
            cast_options=_CASTS,
            row_index_name=row,
            include_file_paths=file,
        )

    def _uri(self, path: str) -> str:
        """Return where the file is; the log escapes it, and is absolute in a shallow clone."""
        file = of_delta_rs(path)
        return file if "://" in path else f"{of_delta_rs(self._table.table_uri)}/{file}"


def _are_texts(held: pl.DataType, wanted: pl.DataType) -> bool:
    """Return whether one is text and the other bytes: old writers do not annotate text."""
    return held != wanted and held in _TEXTS and wanted in _TEXTS


def _name(name: str, held: Mapping[str, object]) -> str:
    """Return the file's own spelling of a column; Delta compares names without case."""
    if name in held:
        return name
    return next((own for own in held if own.lower() == name.lower()), name)


def touching(
    found: pl.DataFrame, coordinates: Coordinates, ranges: Mapping[Partition, Ends]
) -> list[str]:
    """Return the paths of the files that may have rows of `ranges`, by their statistics."""
    may = [_may_hold(coordinates, p, *ends) for p, ends in ranges.items()]
    known = {f"{side}.{name}" for side in ("min", "max") for name in coordinates.identity}
    if may and known <= set(found.columns):
        found = found.filter(pl.any_horizontal(may))
    return found["path"].to_list() if may else []


def _may_hold(
    coordinates: Coordinates, partition: Partition, start: Position | None, end: Position | None
) -> pl.Expr:
    """Return whether a file's statistics allow rows between the ends; without any they do."""
    dtype = coordinates.metadata[coordinates.partition]
    id_ = pl.lit(partition.id).cast(dtype)
    source = pl.lit(partition.source)
    room = [
        pl.col(f"min.{coordinates.source}") <= source,
        pl.col(f"max.{coordinates.source}") >= source,
        pl.col(f"min.{coordinates.partition}") <= id_,
        pl.col(f"max.{coordinates.partition}") >= id_,
    ]
    if start is not None:
        first = pl.lit(coordinates.column_value(start))
        room.append(pl.col(f"max.{coordinates.number}") >= first)
    if end is not None:
        last = pl.lit(coordinates.column_value(end))
        room.append(pl.col(f"min.{coordinates.number}") <= last)
    return pl.all_horizontal(expr.fill_null(value=True) for expr in room)
