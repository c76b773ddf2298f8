"""Rows of a Parquet file, in slices."""

import gzip
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from typing import IO

import polars as pl

from producers.rows.json_text import Numbered

SLICE = 2_000  # rows that are in memory at once
_INDEX = re.compile(r"__index_level_[0-9]+__")  # an index of pandas without a name
_SECOND = "%Y-%m-%dT%H:%M:%S"


def rows(stream: BufferedReader, note: Callable[[str], None]) -> Numbered:
    """Yield the rows by the names of the columns; a Parquet file has no lines.

    Raises pyarrow's errors, which are ValueError and OSError, for what is not such a file.
    """
    from pyarrow import parquet  # noqa: PLC0415 - slow to import

    with _seekable(stream) as file:
        table = parquet.ParquetFile(file, pre_buffer=False)
        names = table.schema_arrow.names
        columns = [name for name in names if not _INDEX.fullmatch(name)]
        if len(columns) < len(names):
            note("the index of pandas, which has no name, is left out")
        for batch in table.iter_batches(SLICE, columns=columns, use_threads=False):
            for row in _exact(pl.DataFrame(batch)).iter_rows(named=True):
                yield None, row


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
    """Return the frame with text for times of which Python's would lose the nanoseconds."""
    return frame.with_columns(_with_nanoseconds(frame))


def _with_nanoseconds(frame: pl.DataFrame) -> Iterator[pl.Expr]:
    for name, dtype in frame.schema.items():
        column = pl.col(name)
        if dtype == pl.Time:
            yield column.dt.to_string("%H:%M:%S%.f")
        elif isinstance(dtype, pl.Datetime) and dtype.time_unit == "ns":
            zone = "%:z" if dtype.time_zone else ""
            is_exact = (frame[name].dt.nanosecond() % 1000 == 0).all()
            yield (
                column.dt.cast_time_unit("us")
                if is_exact
                else column.dt.to_string(f"{_SECOND}%.f{zone}")
            )
