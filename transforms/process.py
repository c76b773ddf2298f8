"""Records to batches: decode, transform, and the shape that sinks rely on."""

import hashlib
import importlib
import inspect
from collections.abc import Callable, Collection

import polars as pl

from core import __version__
from core.batch import HEADERS, RESCUED, VALUE, Batch, Coordinates, Records
from core.errors import ConfigError
from transforms.decode import decode
from transforms.schema import Schema

Transform = Callable[[pl.LazyFrame], pl.LazyFrame]


def processor(
    schema: Schema,
    transform: Transform,
    coordinates: Coordinates,
    *,
    keep_values: bool,
    drop_tombstones: bool = False,
) -> Callable[[Records], Batch]:
    """What turns Records into a Batch.

    `keep_values` leaves `_value` and `_headers` in the batch's raw frame. Null values are rejects
    unless `drop_tombstones` filters them out. The batch's maker raises ConfigError when the
    transform fails, loses a metadata column, makes a datetime without zone, or returns a record
    twice or one that it was not given; a record that it does not return is filtered.
    """
    version = pl.lit(__version__).alias("transform_version")

    def process(records: Records) -> Batch:
        payloads = records.frame.drop_nulls(VALUE) if drop_tombstones else records.frame
        decoded = decode(payloads, schema, coordinates)
        unkept = () if keep_values else (VALUE, HEADERS)
        return Batch(
            raw=records.frame.drop(unkept, strict=False),
            clean=_clean(decoded.rows, transform, coordinates),
            rejected=decoded.rejected.with_columns(version),
            spans=records.spans,
            coordinates=coordinates,
            notes=records.notes,
        )

    return process


def _clean(rows: pl.DataFrame, transform: Transform, coordinates: Coordinates) -> pl.DataFrame:
    name = f"{transform.__module__}:{transform.__qualname__}"
    try:
        clean = transform(rows.lazy()).collect()
    except pl.exceptions.PolarsError as error:
        raise ConfigError(
            f"transform {name} cannot be run: {error}", "mend the transform; nothing was written"
        ) from error
    last = {**coordinates.metadata, RESCUED: pl.String()}
    _check(name, clean.schema, last)
    _check_once(name, rows, clean, coordinates)
    return clean.select(pl.exclude(*last), *last)


def _check(name: str, schema: pl.Schema, last: dict[str, pl.DataType]) -> None:
    lost = [column for column, dtype in last.items() if schema.get(column) != dtype]
    if lost:
        raise ConfigError(
            f"transform {name} lost or changed the columns {', '.join(lost)}",
            "hand every column that starts with '_' on: select(..., cs.starts_with('_'))",
        )
    naive = [column for column, dtype in schema.items() if dtype == pl.Datetime(time_zone=None)]
    if naive:
        raise ConfigError(
            f"transform {name} makes datetimes without a zone: {', '.join(naive)}",
            "say which zone they are in: .dt.replace_time_zone('UTC')",
        )


def rules_of(schema: Schema, transform: Transform, options: Collection[str]) -> str:
    """A digest of what decides whether a record is rejected; it changes when any of it changes.

    Of a transform its whole module counts, not what that imports.
    """
    try:
        source = inspect.getsource(inspect.getmodule(transform) or transform)
    except (OSError, TypeError):
        source = ""  # made at run time: its name must do
    fields = {name: str(dtype) for name, dtype in schema.fields.items()}
    name = f"{transform.__module__}:{transform.__qualname__}"
    parts = [__version__, schema.key, str(fields), name, source, *options]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _check_once(
    name: str, rows: pl.DataFrame, clean: pl.DataFrame, coordinates: Coordinates
) -> None:
    """Each row of `clean` is a record of `rows`, and none is there twice."""
    given, made = (frame.select(coordinates.identity) for frame in (rows, clean))
    if made.equals(given):
        return
    foreign = made.join(given, on=coordinates.identity, how="anti", nulls_equal=True)
    wrong = made.filter(made.is_duplicated()) if foreign.is_empty() else foreign
    if wrong.is_empty():
        return
    what = "the same record more than once" if foreign.is_empty() else "records it was not given"
    at = "/".join(map(str, wrong.row(0)))
    raise ConfigError(
        f"transform {name} returned {what}: {clean.height} rows of {rows.height} records, the first"
        f" is {at}",
        "return at most one row for each record and leave the columns that start with '_' as they"
        " are; nothing was written",
    )


def load_schema(reference: str) -> Schema:
    """The Schema that `module:name` refers to; raises ConfigError."""
    found = load(reference)
    if not isinstance(found, Schema):
        raise ConfigError(
            f"{reference} is not a Schema", "name a transforms.schema.Schema, like the examples'"
        )
    return found


def load_transform(reference: str) -> Transform:
    """The function LazyFrame → LazyFrame that `module:name` refers to; raises ConfigError."""
    found = load(reference)
    if not callable(found):
        raise ConfigError(f"{reference} is not a function", "name a function LazyFrame → LazyFrame")
    return found


def load(reference: str) -> object:
    """What `module:name` refers to; raises ConfigError when there is no such thing."""
    module, _, name = reference.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, ValueError, TypeError, AttributeError, SyntaxError) as error:
        raise ConfigError(
            f"{reference!r} cannot be loaded: {error}",
            "write module:name, and have the module on PYTHONPATH or installed",
        ) from error
