"""Run a schema and a transform on payloads that no source sent: in a test, or to check them."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import polars as pl

from core.batch import (
    KAFKA,
    TIMESTAMP,
    VALUE,
    Batch,
    Coordinates,
    Partition,
    Position,
    Records,
    Span,
)
from transforms.process import Transform, processor
from transforms.schema import Schema

_MOMENT = datetime(2024, 2, 29, 12, 30, tzinfo=UTC)
_SOURCE = "trial"
_KEY_AND_ONE = 2
_TEXTS = ("text", "2024-02-29T12:30:00Z", "12", "", "Zürich \U0001f600")
_NUMBERS = (1, 0, -7, 2**31, 12)


def try_rows(
    schema: Schema,
    transform: Transform,
    rows: Iterable[Mapping[str, Any] | bytes],
    coordinates: Coordinates = KAFKA,
) -> Batch:
    """Return what a consumer makes of `rows`: JSON objects, or the bytes of any payload.

    `clean` and `rejected` of the batch are the rows of the table and of its quarantine. Raises
    ConfigError as a consumer does.
    """
    values = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    return processor(schema, transform, coordinates, keep_values=False)(
        records(values, coordinates)
    )


def records(values: list[bytes], coordinates: Coordinates) -> Records:
    """Return the payloads as one partition of a source has them, from its first record on."""
    held = {name: _column(dtype) for name, dtype in coordinates.metadata.items()}
    dtype = coordinates.metadata[coordinates.number]
    numbers = [coordinates.column_value(Position(n)) for n in range(len(values))]
    frame = pl.DataFrame(pl.Series(VALUE, values, pl.Binary())).select(
        *(pl.lit(value, coordinates.metadata[name]).alias(name) for name, value in held.items()),
        VALUE,
    )
    frame = frame.with_columns(pl.Series(coordinates.number, numbers, dtype))
    last = coordinates.after(len(values) - 1, None if coordinates.sub is None else 0)
    partition = Partition(_SOURCE, str(held[coordinates.partition]))
    spans = {partition: Span(None, last, len(values))} if values else {}
    return Records(frame, spans, coordinates)


def samples(schema: Schema) -> list[dict[str, Any]]:
    """Return synthetic JSON objects of the schema: whole ones, then one that lacks each field."""
    whole = [
        {name: _sample(dtype, n) for name, dtype in schema.fields.items()}
        for n in range(len(_TEXTS))
    ]
    lacking = [
        {name: None if name == absent else value for name, value in whole[0].items()}
        for absent in schema.fields
        if absent != schema.key and len(schema.fields) > _KEY_AND_ONE  # a key alone is no record
    ]
    return [*whole, *lacking, whole[0] | {"unknown_field": [1, {"a": None}]}]


def _sample(dtype: pl.DataType, number: int) -> Any:
    """Return a JSON value of the wire type; `number` chooses which."""
    if isinstance(dtype, pl.List):
        return [_sample(dtype.inner, number)] * (number % 3)  # type: ignore[arg-type]
    if isinstance(dtype, pl.Struct):
        return {f.name: _sample(f.dtype, number) for f in dtype.fields}  # type: ignore[arg-type]
    fixed: dict[type[pl.DataType], Any] = {
        pl.Boolean: number % 2 == 0,
        pl.Date: "2024-02-29",
        pl.Binary: "AAEC",
        pl.Decimal: "1.5",
        pl.Float32: number / 2,
        pl.Float64: number / 2,
        pl.String: _TEXTS[number],
    }
    return fixed.get(type(dtype), _NUMBERS[number])


def _column(dtype: pl.DataType) -> Any:
    if dtype == TIMESTAMP:
        return _MOMENT
    return _SOURCE if dtype == pl.String() else 0
