"""The objects of a raw archive: Parquet with the columns of `core.batch.Records`."""

import io
from collections.abc import Iterator, Mapping

import polars as pl

from consumers.archive.pieces import Decode, Piece, damaged
from core.batch import HEADERS, HEADERS_DTYPE, VALUE, Coordinates, Position, Stretch


def decoder(coordinates: Coordinates, place: str, *, headers: bool) -> Decode:
    """Return what reads the objects below `place`, with the headers where they are wanted."""
    columns = {**coordinates.metadata, VALUE: pl.Binary()}
    if headers:
        columns[HEADERS] = HEADERS_DTYPE

    def decode(piece: Piece, body: bytes) -> Iterator[pl.DataFrame]:
        start = piece.start
        try:
            for rows in _slices(piece, body, columns):
                start = _checked(rows, piece, start, coordinates)
                yield rows
        except (ValueError, OSError, pl.exceptions.PolarsError) as error:
            raise damaged(piece, place, str(error)) from error

    return decode


def _checked(
    rows: pl.DataFrame, piece: Piece, start: Position, coordinates: Coordinates
) -> Position:
    """Return where rows end that begin at `start`; ValueError if the piece cannot have them."""
    c = coordinates
    own = c.of(piece.partition) & c.within({piece.partition: Stretch(start, piece.end)})
    if rows.is_empty():
        return start
    numbers = pl.struct([c.number] if c.sub is None else [c.number, c.sub])
    changes = numbers.rle_id().max()  # none of two neighbours is the same record
    found = rows.select(own.all(ignore_nulls=False), changes).row(0)
    if found != (True, rows.height - 1) or not rows[c.number].is_sorted():
        raise ValueError("its records are not those that its name and its metadata say")
    last = rows.row(-1, named=True)
    return c.after(last[c.number], None if c.sub is None else last[c.sub])


def _slices(
    piece: Piece, body: bytes, columns: Mapping[str, pl.DataType]
) -> Iterator[pl.DataFrame]:
    """Yield the row groups, at least one slice; the sink makes groups of SLICE_BYTES.

    Raises pyarrow's errors, which are ValueError and OSError, and those of polars. Only polars
    reads rows: what it takes over from pyarrow stays allocated when other threads drop it.
    """
    from pyarrow import parquet  # noqa: PLC0415 - slow to import

    whole = parquet.read_metadata(io.BytesIO(body))
    if whole.num_rows != piece.records:
        raise ValueError(f"it has {whole.num_rows} records instead of {piece.records}")
    if not piece.records:
        yield pl.DataFrame(schema=columns)
    first = 0
    for group in range(whole.num_row_groups):
        height = whole.row_group(group).num_rows
        rows = pl.scan_parquet(io.BytesIO(body)).select(list(columns)).slice(first, height)
        yield rows.cast(pl.Schema(columns)).collect()
        first += height
