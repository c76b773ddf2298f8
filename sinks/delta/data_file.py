"""One Parquet data file of a Delta table: its bytes, and the statistics the log keeps of it."""

import io
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import polars as pl
from deltalake.transaction import AddAction

from core.batch import Coordinates
from core.slices import ENCODING, rows_of_slice

LEVEL = 1  # half of snappy's bytes; takes a sixth of the time of decoding


def encode(frame: pl.DataFrame) -> bytes:
    """Encode the frame as a Parquet file."""
    buffer = io.BytesIO()
    rows = rows_of_slice(frame)
    with ENCODING:
        frame.write_parquet(
            buffer, compression="zstd", compression_level=LEVEL, row_group_size=rows
        )
    return buffer.getvalue()


def add_action(
    frame: pl.DataFrame, size: int, bounded: Collection[str], folder: str, now_ms: int
) -> AddAction:
    """Return the action that adds the frame's file to `folder`, with a new name and statistics."""
    return add_of(statistics(frame, bounded), size, folder, now_ms, data_change=True)


def add_of(
    stats: dict[str, Any], size: int, folder: str, now_ms: int, *, data_change: bool
) -> AddAction:
    """Return the action that adds a file with these statistics to `folder`, with a new name."""
    return AddAction(
        path=f"{folder}part-{uuid4()}.zstd.parquet",
        size=size,
        partition_values={},
        modification_time=now_ms,
        data_change=data_change,
        stats=json.dumps(stats),
    )


def bounded(schema: pl.Schema, coordinates: Coordinates) -> list[str]:
    """Select the columns that get bounds: coordinates, integers, dates and times.

    Floats have NaN, and what is finer than a microsecond would be cut off.
    """
    return [name for name, t in schema.items() if name in coordinates.identity or _is_ordered(t)]


@dataclass(frozen=True)
class Extent:
    """How many rows some have, and minimum, maximum and nulls of their columns in a row each."""

    rows: int
    low: pl.DataFrame
    high: pl.DataFrame
    nulls: pl.DataFrame


def extent(frame: pl.DataFrame, bounded: Collection[str]) -> Extent:
    """Measure the `bounded` columns of the frame."""
    # `select` by names would put the chunks together, which takes longer than all the rest.
    columns = pl.DataFrame([frame.get_column(name) for name in bounded])
    low, high = columns.select(pl.all().min()), columns.select(pl.all().max())
    return Extent(frame.height, low, high, columns.null_count())


def statistics(frame: pl.DataFrame, bounded: Collection[str]) -> dict[str, Any]:
    """Return the statistics of a file with these rows, as `joined`."""
    return joined([extent(frame, bounded)])


def joined(parts: Sequence[Extent]) -> dict[str, Any]:
    """Count the rows of a file's parts; add minimum, maximum and nulls of the measured columns.

    Return the row count alone when a bound cannot be spelled (a year outside 1 to 9999): delta-rs's
    readers lose rows of a file that lacks a bound they look for.
    """
    whole = parts[0] if len(parts) == 1 else _together(parts)
    count = {"numRecords": whole.rows}
    if not whole.low.width:
        return count
    low, high = _spelled(whole.low), _spelled(whole.high)
    nulls = whole.nulls.row(0, named=True)
    for name, missing in nulls.items():
        if missing < whole.rows and None in {low[name], high[name]}:
            return count
    return count | {
        "minValues": {name: value for name, value in low.items() if value is not None},
        "maxValues": {name: value for name, value in high.items() if value is not None},
        "nullCount": nulls,
    }


def _together(parts: Sequence[Extent]) -> Extent:
    return Extent(
        sum(part.rows for part in parts),
        pl.concat([part.low for part in parts]).min(),
        pl.concat([part.high for part in parts]).max(),
        pl.concat([part.nulls for part in parts]).sum(),
    )


def _is_ordered(dtype: pl.DataType) -> bool:
    is_time = isinstance(dtype, pl.Datetime) and dtype.time_unit != "ns"
    return dtype.is_signed_integer() or isinstance(dtype, pl.Date) or is_time


def _spelled(bounds: pl.DataFrame) -> dict[str, Any]:
    """Spell the bounds as the Delta protocol does in JSON ("Per-file Statistics"), or as None."""
    texts = [_text(name, dtype) for name, dtype in bounds.schema.items() if dtype.is_temporal()]
    return bounds.with_columns(texts).row(0, named=True)


def _text(name: str, dtype: pl.DataType) -> pl.Expr:
    moment, format_ = pl.col(name), "%Y-%m-%d"
    if isinstance(dtype, pl.Datetime):
        format_ += "T%H:%M:%S%.6f"
        if dtype.time_zone is not None:
            moment, format_ = moment.dt.convert_time_zone("UTC"), f"{format_}Z"
    return pl.when(moment.dt.year().is_between(1, 9999)).then(moment.dt.strftime(format_))


def made(
    rows: pl.DataFrame, bounded: Collection[str], folder: str, now_ms: int
) -> tuple[AddAction, bytes]:
    """Encode the rows; return the action that adds their file, and the file's body."""
    body = encode(rows)
    return add_action(rows, len(body), bounded, folder, now_ms), body
