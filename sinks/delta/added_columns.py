"""Columns that another program added to a table: the pipeline's files lack them, they read as null.

A reader returns null for a column that a data file lacks: that is how Delta adds columns without a
rewrite. So nothing is written for a nullable column, whatever its type is.
"""

from collections.abc import Collection

import polars as pl
from deltalake import DeltaTable

from core.errors import SinkError
from core.protocols import Options
from sinks.delta import table as tables
from sinks.delta.incarnation import COLUMN
from sinks.delta.merging import MARK
from sinks.delta.scan import TableReader, is_own


def of(table: DeltaTable, own: Collection[str]) -> list[str]:
    """Return the table's columns that are not the pipeline's `own`, in the table's order."""
    return [field.name for field in table.schema().fields if field.name not in {*own, COLUMN}]


def refuse_own(table: DeltaTable, uri: str, options: Options, names: Collection[str]) -> None:
    """Raise SinkError for one of these columns that the pipeline itself has written.

    Its transform makes the column no longer: null in its place would lose data. The column's mark
    tells, or the pipeline's newest file; without one, any value does.
    """
    written = [f.name for f in table.schema().fields if f.name in names and MARK in f.metadata]
    written = written or _written(table, uri, options, names)
    if written:
        raise SinkError(
            f"table {uri} has another schema: the transform does not make {', '.join(written)}, of "
            "which the table holds values",
            "let the transform return these columns (null where it has no value), as the code that "
            "wrote them does, or name another table in config.yaml",
        )


def _written(table: DeltaTable, uri: str, options: Options, names: Collection[str]) -> list[str]:
    """Return the columns that the pipeline's newest file has, or that have any value."""
    with tables.sorted_errors(uri):
        reader = TableReader(table, options)
        files = reader.files.sort("modification_time")["path"].to_list()
        newest = [path for path in files if is_own(path)][-1:]
        if newest:
            held = reader.columns(newest[0])
            return [name for name in names if name in held]
        filled = reader.scan(files).select(pl.col(*names).is_not_null().any()).collect()
        return [name for name in names if filled[name].item()]
