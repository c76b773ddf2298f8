"""What decoding and encoding may take beside their results, which is several times their input.

Large frames go through in slices, and no more steps run at once than a machine has cores for,
whatever the number of pipelines and sinks.
"""

import os
from collections.abc import Iterator
from threading import BoundedSemaphore

import polars as pl

SLICE_BYTES = 8 * 1024 * 1024
_LARGE = 64 * 1024  # bytes of a record; of smaller ones twice as many bytes take no more
_HUGE = 2 * 1024 * 1024
_AT_ONCE = max(2, min(4, os.cpu_count() or 1))
DECODING = BoundedSemaphore(_AT_ONCE)
ENCODING = BoundedSemaphore(_AT_ONCE)


def slices(frame: pl.DataFrame, column: str) -> Iterator[pl.DataFrame]:
    """Yield the rows in order, cut where the bytes of the binary `column` reach SLICE_BYTES.

    Twice that where the records are small. A slice has one row at least, a frame without rows is
    one slice.
    """
    sizes = frame[column].bin.size().fill_null(0).cast(pl.Int64)
    bound = SLICE_BYTES if sizes.sum() > frame.height * _LARGE else 2 * SLICE_BYTES
    if sizes.sum() <= bound:
        yield frame
        return
    first = 0
    for rows in (sizes.cum_sum() // bound).rle().struct.field("len"):
        yield frame[first : first + rows]
        first += rows


def undecoded(nbytes: int, rows: int) -> int:
    """Return the bytes that so many records take up to the end of their decoding.

    A large record is there as payload, as text and as values at once. Of small ones only a slice
    is, which is little beside a batch. The factors are measured (`python -m benchmarks memory`).
    """
    return nbytes * (1 + (nbytes > rows * _LARGE) + (nbytes > rows * _HUGE))


def rows_of_slice(frame: pl.DataFrame) -> int:
    """Return how many rows of the frame make up SLICE_BYTES, one at least."""
    return max(SLICE_BYTES * frame.height // max(int(frame.estimated_size()), 1), 1)
