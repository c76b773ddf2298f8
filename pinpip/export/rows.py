"""Rows as CSV, JSON, Markdown or Parquet, in batches."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO

import polars as pl
from polars import selectors as cs

from core.dtypes import instance
from pinpip.export.formats import Format
from pinpip.export.markdown import heading, lines

SLICE = 25_000  # rows that are encoded at once, and in a row group
_TIME = "%Y-%m-%dT%H:%M:%S%.f%:z"
# What a spreadsheet takes for a formula (OWASP, "CSV Injection"), less plain numbers.
_FORMULA = "^[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"
_NUMBER = r"^[+-][0-9.,]+$"


@dataclass
class Written:
    """What was written: `rows`, and `guarded`, the CSV cells that got an apostrophe in front."""

    rows: int = 0
    guarded: int = 0


def write(
    form: Format, schema: pl.Schema, batches: Iterable[pl.DataFrame], out: BinaryIO
) -> Written:
    """Write the batches, all of `schema`, as UTF-8 (Parquet: zstd).

    Lossless but for these: text and CSV have bytes as base64 and nested values as JSON; JSON has
    null for NaN; in CSV, text that a spreadsheet would take for a formula gets an apostrophe in
    front.
    """
    done = Written()
    none = pl.DataFrame(schema=schema)
    _WRITERS[form](chain([none], _counted(batches, done)), out, done)
    return done


def _counted(batches: Iterable[pl.DataFrame], done: Written) -> Iterator[pl.DataFrame]:
    for batch in batches:
        done.rows += batch.height
        yield from batch.iter_slices(SLICE)


def _csv(batches: Iterable[pl.DataFrame], out: BinaryIO, done: Written) -> None:
    for number, batch in enumerate(batches):
        flat = _flat(batch)
        text = cs.string()
        risky = text.str.contains(_FORMULA) & ~text.str.contains(_NUMBER)
        done.guarded += sum(flat.select(risky.sum()).row(0)) if flat.select(text).width else 0
        guarded = pl.when(risky).then(pl.lit("'") + text).otherwise(text).name.keep()
        flat = flat.with_columns(guarded)
        said = flat.write_csv(include_header=number == 0, datetime_format=_TIME)
        out.write(said.encode())


def _json(batches: Iterable[pl.DataFrame], out: BinaryIO, _done: Written) -> None:
    """Write an array with one line a row."""
    before = b"[\n"
    for batch in batches:
        body = _without_bytes(batch).write_ndjson().encode().removesuffix(b"\n")
        if batch.height:
            out.write(before + body.replace(b"\n", b",\n"))
            before = b",\n"
    out.write(b"[]\n" if before == b"[\n" else b"\n]\n")


def _md(batches: Iterable[pl.DataFrame], out: BinaryIO, _done: Written) -> None:
    for number, batch in enumerate(batches):
        text = heading(batch) if number == 0 else lines(_flat(batch))
        out.write(text.encode("utf-8", "replace"))


def _parquet(batches: Iterable[pl.DataFrame], out: BinaryIO, _done: Written) -> None:
    import pyarrow.parquet as pq

    frames = iter(batches)
    schema = next(frames).to_arrow().schema
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        for frame in frames:
            writer.write_table(frame.to_arrow().cast(schema))


_WRITERS: dict[Format, Callable[[Iterable[pl.DataFrame], BinaryIO, Written], None]] = {
    Format.CSV: _csv,
    Format.JSON: _json,
    Format.MD: _md,
    Format.PARQUET: _parquet,
}


def _flat(batch: pl.DataFrame) -> pl.DataFrame:
    """Return the batch with nested values as JSON and bytes as base64."""
    nested = [_as_json(name) for name, dtype in batch.schema.items() if dtype.is_nested()]
    return _without_bytes(batch).with_columns(nested)


def _as_json(name: str) -> pl.Expr:
    whole = pl.struct(pl.col(name).alias("v")).struct.json_encode()
    text = whole.str.strip_prefix('{"v":').str.head(-1)
    return pl.when(pl.col(name).is_not_null()).then(text).alias(name)


def _without_bytes(batch: pl.DataFrame) -> pl.DataFrame:
    return batch.with_columns(
        _as_base64(pl.col(name), dtype).alias(name) for name, dtype in batch.schema.items()
    )


def _as_base64(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Encode bytes as base64, however deep they are."""
    if isinstance(dtype, pl.Binary):
        return value.bin.encode("base64")
    if isinstance(dtype, pl.List):
        return value.list.eval(_as_base64(pl.element(), instance(dtype.inner)))
    if isinstance(dtype, pl.Struct):
        fields = [
            _as_base64(value.struct.field(f.name), instance(f.dtype)).alias(f.name)
            for f in dtype.fields
        ]
        return pl.when(value.is_not_null()).then(pl.struct(fields))
    return value
