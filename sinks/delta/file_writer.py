"""Data files that are written row group by row group: only their encoded bytes are in memory."""

import io
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

import polars as pl
from deltalake.transaction import AddAction

from core.slices import ENCODING, rows_of_slice
from sinks.delta import data_file
from sinks.delta.data_file import Extent

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


def files(
    frames: Iterable[pl.DataFrame], bounded: Collection[str], folder: str, target: int, now_ms: int
) -> Iterator[tuple[AddAction, bytes]]:
    """Yield files of about `target` bytes that have the frames' rows in their order.

    The actions say that the rows are not new (`dataChange` false).
    """
    file = _File(bounded)
    for frame in frames:
        for rows in frame.iter_slices(rows_of_slice(frame)):
            file.write(rows)
            if file.size >= target:
                yield file.closed(folder, now_ms)
                file = _File(bounded)
    if file.extents:
        yield file.closed(folder, now_ms)


class _File:
    """A file that grows; polars has no writer that does."""

    def __init__(self, bounded: Collection[str]) -> None:
        self.extents: list[Extent] = []
        self._bounded = bounded
        self._buffer = io.BytesIO()
        self._writer: pq.ParquetWriter | None = None

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._buffer.tell()

    def write(self, rows: pl.DataFrame) -> None:
        """Add a row group."""
        table: pa.Table = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
        with ENCODING:
            self._opened(table).write_table(table, row_group_size=rows.height)
        self.extents.append(data_file.extent(rows, self._bounded))

    def closed(self, folder: str, now_ms: int) -> tuple[AddAction, bytes]:
        """Return the action that adds the file to `folder`, and the file's body."""
        if self._writer is not None:
            self._writer.close()
        body, stats = self._buffer.getvalue(), data_file.joined(self.extents)
        return data_file.add_of(stats, len(body), folder, now_ms, data_change=False), body

    def _opened(self, first: "pa.Table") -> "pq.ParquetWriter":
        import pyarrow.parquet as pq  # noqa: PLC0415  # large, and few want it

        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self._buffer,
                first.schema,
                compression="zstd",
                compression_level=data_file.LEVEL,
                store_schema=False,
            )
        return self._writer
