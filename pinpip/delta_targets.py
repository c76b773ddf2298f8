"""What a pipeline writes into its clean table, and into its quarantine."""

from collections.abc import Callable
from dataclasses import replace

import polars as pl

from core.batch import HEADERS, HEADERS_DTYPE, VALUE, Batch, Coordinates, Records
from sinks.delta.target import DeltaTarget, Tables

QUARANTINE_DEFER = 10.0  # seconds that "nothing was rejected up to here" may wait for a commit


def targets_of(
    tables: Tables,
    process: Callable[[Records], Batch],
    *,
    begins: bool = False,
    rules: str = "",
    where: str | None = None,
) -> tuple[DeltaTarget, DeltaTarget]:
    """Return what is written into the clean table, and into its quarantine."""
    coordinates = tables.coordinates
    empty = process(_nothing(coordinates))
    clean = DeltaTarget(
        tables.clean,
        tables.options,
        empty.clean.schema,
        coordinates,
        tables.app,
        folder=tables.folder,
        begins=begins,
        rules=rules,
        where=where,
    )
    rejected = replace(
        clean,
        rules="",
        uri=tables.quarantine,
        schema=empty.rejected.schema,
        stage="rejected",
        defer=QUARANTINE_DEFER,
    )
    return clean, rejected


def _nothing(coordinates: Coordinates) -> Records:
    schema = pl.Schema({**coordinates.metadata, VALUE: pl.Binary(), HEADERS: HEADERS_DTYPE})
    return Records(pl.DataFrame(schema=schema), {}, coordinates)
