"""One Parquet data file of a Delta table: its bytes, and the statistics the log keeps of it."""

import io
import json
from typing import Any
from uuid import uuid4

import polars as pl
from deltalake.transaction import AddAction

from pinpip.batch import Coordinates

_LEVEL = 1  # zstd 1: half of snappy's bytes for a sixth of the time of the decode


def encode(frame: pl.DataFrame) -> bytes:
    """The frame as a Parquet file."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", compression_level=_LEVEL)
    return buffer.getvalue()


def add_action(
    frame: pl.DataFrame, size: int, coordinates: Coordinates, folder: str, now_ms: int
) -> AddAction:
    """A fresh name in `folder` for the frame's file, with the statistics to skip it by."""
    return AddAction(
        path=f"{folder}part-{uuid4()}.zstd.parquet",
        size=size,
        partition_values={},
        modification_time=now_ms,
        data_change=True,
        stats=json.dumps(statistics(frame, coordinates)),
    )


def statistics(frame: pl.DataFrame, coordinates: Coordinates) -> dict[str, Any]:
    """Row count, and minimum, maximum and nulls of coordinates, integers and times."""
    names = [n for n, dtype in frame.schema.items() if _is_ordered(n, dtype, coordinates)]
    columns = frame.select(names)
    low = columns.select(pl.all().min()).row(0, named=True)
    high = columns.select(pl.all().max()).row(0, named=True)
    return {
        "numRecords": frame.height,
        "minValues": {n: _text(v) for n, v in low.items() if v is not None},
        "maxValues": {n: _text(v) for n, v in high.items() if v is not None},
        "nullCount": columns.null_count().row(0, named=True),
    }


def _is_ordered(name: str, dtype: pl.DataType, coordinates: Coordinates) -> bool:
    return name in coordinates.identity or dtype.is_integer() or dtype.is_temporal()


def _text(value: Any) -> Any:
    return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if hasattr(value, "strftime") else value
