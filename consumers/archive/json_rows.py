"""Rows of a Parquet file as JSON, which is what a pipeline's schema reads."""

import io
from collections.abc import Iterator

import polars as pl

from core.batch import VALUE

_ROWS = 10_000  # of a slice


def height(body: bytes) -> int:
    """Return how many rows the file has; raises errors of polars for what is no such file."""
    return int(pl.scan_parquet(io.BytesIO(body)).select(pl.len()).collect().item())


def rows(body: bytes) -> Iterator[pl.Series]:
    """Yield the rows in slices; ValueError for what JSON has not: its text would be a guess."""
    for first in range(0, height(body), _ROWS):
        found = pl.scan_parquet(io.BytesIO(body)).slice(first, _ROWS).collect()
        for column in found:
            _refuse_foreign(column.name, column)
        texts = found.select(pl.struct(pl.all()).struct.json_encode().alias(VALUE))
        yield texts.to_series().cast(pl.Binary)


def _refuse_foreign(name: str, column: pl.Series) -> None:
    dtype = column.dtype
    if isinstance(dtype, pl.List):
        _refuse_foreign(name, column.explode())
    elif isinstance(dtype, pl.Struct):
        for field in column.struct.fields:
            _refuse_foreign(f"{name}.{field}", column.struct.field(field))
    elif dtype.is_float():
        if not column.drop_nulls().is_finite().all():
            raise ValueError(f"column {name!r} has NaN or infinity, which JSON has not")
    elif not (dtype.is_integer() or dtype in {pl.String(), pl.Boolean(), pl.Null()}):
        raise ValueError(f"column {name!r} is a {dtype}, which JSON has not")
