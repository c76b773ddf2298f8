"""Rows of a Parquet file, in slices."""

import gzip
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from typing import IO, Any

import polars as pl

from core.dtypes import instance
from producers.rows.json_text import Numbered

SLICE = 500  # rows that are in memory at once, and
SLICE_BYTES = 8 * 1024 * 1024  # about so many bytes
BUFFER = 1024 * 1024  # bytes of a column; without it a whole row group is in memory
_INDEX = re.compile(r"__index_level_[0-9]+__")  # an index of pandas without a name


def rows(stream: BufferedReader, note: Callable[[str], None]) -> Numbered:
    """Yield the rows by the names of the columns; a Parquet file has no lines.

    Raises pyarrow's errors, which are ValueError and OSError, for what is not such a file.
    """
    from pyarrow import parquet  # noqa: PLC0415 - slow to import

    with _seekable(stream) as file:
        table = parquet.ParquetFile(file, pre_buffer=False, buffer_size=BUFFER)
        names = table.schema_arrow.names
        columns = [name for name in names if not _INDEX.fullmatch(name)]
        if len(columns) < len(names):
            note("the index of pandas, which has no name, is left out")
        for batch in table.iter_batches(_height(table), columns=columns, use_threads=False):
            for row in _exact(pl.DataFrame(batch)).iter_rows(named=True):
                yield None, row


def _height(table: Any) -> int:
    """Return how many rows of the file make a slice."""
    whole = table.metadata
    size = sum(whole.row_group(n).total_byte_size for n in range(whole.num_row_groups))
    rows: int = SLICE_BYTES * whole.num_rows // max(1, size)
    return max(1, min(SLICE, rows))


@contextmanager
def _seekable(stream: BufferedReader) -> Iterator[IO[bytes]]:
    if stream.seekable() and not isinstance(stream, gzip.GzipFile):
        yield stream
        return
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(stream, copy)
        copy.seek(0)
        yield copy


def _exact(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame without nanoseconds that Python's times would lose: as text, or refused."""
    return frame.with_columns(_without_nanoseconds(frame))


def _without_nanoseconds(frame: pl.DataFrame) -> Iterator[pl.Expr]:
    for name, dtype in frame.schema.items():
        coarse = _coarse(dtype)
        if dtype == pl.Time:
            yield pl.col(name).dt.to_string("%H:%M:%S%.f")
        elif coarse != dtype and frame[name].cast(coarse).cast(dtype).equals(frame[name]):
            yield pl.col(name).cast(coarse)
        elif isinstance(dtype, pl.Datetime) and coarse != dtype:
            zone = "%:z" if dtype.time_zone else ""
            yield pl.col(name).dt.to_string(f"%Y-%m-%dT%H:%M:%S%.f{zone}")
        elif coarse != dtype:
            raise ValueError(f"column {name!r} has nanoseconds inside lists or objects")


def _coarse(dtype: pl.DataType) -> pl.DataType:
    """Return the type with microseconds instead of nanoseconds."""
    match dtype:
        case pl.Datetime(time_unit="ns"):
            return pl.Datetime("us", dtype.time_zone)
        case pl.List():
            return pl.List(_coarse(instance(dtype.inner)))
        case pl.Struct():
            return pl.Struct([pl.Field(f.name, _coarse(instance(f.dtype))) for f in dtype.fields])
        case _:
            return dtype
