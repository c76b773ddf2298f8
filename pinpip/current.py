"""The rows of a pipeline's table, all or of each key the newest, without holding all in memory."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import polars as pl

from core.batch import RESCUED, Coordinates
from core.config import Config
from core.errors import ConfigError
from pinpip.pipelines import tables_of
from reports.latest import newest, taken
from sinks.delta.scan import TableReader
from sinks.delta.table import find_own
from transforms.load import load_schema, load_transform
from transforms.process import Transform
from transforms.schema import Schema

READ_AHEAD = 64 * 2**20  # bytes of data files
_PROBES = (1_204_177, 3_918_553)  # two keys that no transform makes of something else


@dataclass(frozen=True)
class View:
    """Rows to read once: how many there are, and their batches, which hold `limit` at most."""

    schema: pl.Schema
    rows: int
    batches: Iterator[pl.DataFrame]
    key: str | None = None


def view_of(config: Config, name: str, *, latest: bool, limit: int) -> View:
    """Open the clean table of the pipeline `name`, or its current view; `limit` 0 means all rows.

    Raises ConfigError when there is no table, or no column with the key of its records.
    """
    tables = tables_of(config, name)
    table = find_own(tables.clean, tables.options, tables.coordinates)
    if table is None:
        raise ConfigError(
            f"pipeline {name} has no table yet: {tables.clean}", f"fill it: pinpip consume {name}"
        )
    reader = TableReader(table, tables.options)
    parts = _parts(reader)
    if not latest:
        return View(reader.schema, reader.count(), _first(parts, limit or None))
    pipeline = config.pipeline(name)
    schema, transform = load_schema(pipeline.schema_), load_transform(pipeline.transform)
    key = key_column(schema, transform, tables.coordinates, reader.schema)
    numbers = newest(pl.concat(parts), key)
    wanted = numbers.head(limit) if limit else numbers
    return View(reader.schema, len(numbers), taken(_first(parts, None), wanted), key)


def _parts(reader: TableReader) -> list[pl.LazyFrame]:
    """Return scans of a few files each: a scan reads far ahead of who takes its batches."""
    group = pl.col("size_bytes").cum_sum() // READ_AHEAD
    groups = reader.files.group_by(group, maintain_order=True).agg("path")["path"].to_list()
    return [reader.scan(paths) for paths in groups or [[]]]


def _first(parts: Iterable[pl.LazyFrame], limit: int | None) -> Iterator[pl.DataFrame]:
    """Yield the rows in batches, the first `limit` only when it is given."""
    for part in parts:
        rows = part if limit is None else part.head(limit)
        for batch in rows.collect_batches(maintain_order=True):
            yield batch
            limit = None if limit is None else limit - batch.height
        if limit == 0:
            return


def key_column(
    schema: Schema, transform: Transform, coordinates: Coordinates, table: pl.Schema
) -> str:
    """Return the column of the table that has the schema's key, whatever the transform calls it.

    Raises ConfigError when there is none.
    """
    if schema.key in table:
        return schema.key
    keys = pl.Series(schema.key, _PROBES).cast(schema.fields[schema.key])
    columns = {**schema.fields, **coordinates.metadata, RESCUED: pl.String()}
    nothing = pl.DataFrame(schema=columns).clear(len(keys))
    try:
        clean = transform(nothing.with_columns(keys).lazy()).collect()
    except pl.exceptions.PolarsError:  # it asks for a metadata column, or for more than a key
        clean = pl.DataFrame()
    text = keys.cast(pl.String)
    for column in clean:
        if column.name in table and column.cast(pl.String, strict=False).equals(text):
            return column.name
    raise ConfigError(
        f"no column of the table has the key {schema.key!r} of its records as it is",
        "keep the key in a column of the transform's result",
    )
