"""Records to batches: decode, transform, and check the shape that sinks rely on.

Decoding is fast where that is exact, else it goes row by row. The NDJSON reader of polars drops
unknown keys, takes the first of two equal keys and writes anything into a text column. So its rows
count only where the payload proves that nothing was lost or guessed; every other payload goes to
`record.read`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import polars as pl

from core import __version__
from core.batch import HEADERS, RESCUED, VALUE, Batch, Coordinates, Records
from core.slices import DECODING, slices
from transforms import code_file, columns, refusals
from transforms.isolate import (
    FAULTS,
    NO_RECORDS_FAULT,
    MostRejects,
    TransformFailed,
    isolate,
    joined,
)
from transforms.record import NO_REJECTS, judge
from transforms.schema import Schema
from transforms.wire import ROW, TEXT, Reading

Transform = Callable[[pl.LazyFrame], pl.LazyFrame]

CHUNK = 12_500
SMALL = 64
_PAIR = r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_UNREADABLE = r"[\x00-\x1f]|\\u[dD][89a-fA-F]"
_UNSAFE = (
    r'"[ \t\r\n]+:|NaN|Infinity',  # hides a key's colon; stops the reader
    r"\\u(?:0000|[dD][89abAB][0-9a-fA-F]{2}(?:[^\\]|\\[^u]))",  # comes out as NUL
)


def processor(
    schema: Schema,
    transform: Transform,
    coordinates: Coordinates,
    *,
    keep_values: bool,
    drop_tombstones: bool = False,
    limit: MostRejects | None = None,
    version: str = "",
) -> Callable[[Records], Batch]:
    """Return the function that turns Records into a Batch.

    `version` is the transform's (see `transforms.load.version_of`). `keep_values` leaves `_value`
    and `_headers` in the batch's raw frame. Null values are rejects unless `drop_tombstones`
    filters them out. A record that the transform fails on is a reject, one
    that it does not return is filtered; TooManyRejects when it fails on more than `limit`. Both
    functions raise ConfigError when the transform cannot be run without rows, loses a metadata
    column, makes a column that no table can hold (see `transforms.columns`), or other columns for
    these records than for none; or when it returns a record twice or one that it was not given.
    """
    versions = [
        pl.lit(version).alias("transform_version"),
        pl.lit(__version__).alias("pinpip_version"),
    ]
    run = _Run(transform, coordinates, try_out(schema, transform, coordinates), limit)

    def outcome(payloads: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        decoded = decode(payloads, schema, coordinates)
        clean, failed = run(decoded.rows)
        rejected = decoded.rejected
        return clean, rejected if failed is None else joined(rejected, failed, payloads)

    def process(records: Records) -> Batch:
        payloads = records.frame.drop_nulls(VALUE) if drop_tombstones else records.frame
        with DECODING:
            parts = [outcome(part) for part in slices(payloads, VALUE)]
        clean, rejected = (pl.concat(frames) for frames in zip(*parts, strict=True))
        unkept = () if keep_values else (VALUE, HEADERS)
        return Batch(
            raw=records.frame.drop(unkept, strict=False),
            clean=clean,
            rejected=rejected.with_columns(versions),
            spans=records.spans,
            coordinates=coordinates,
            notes=records.notes,
            transform_version=version,
        )

    return process


def try_out(schema: Schema, transform: Transform, coordinates: Coordinates) -> pl.Schema:
    """Run the transform on no rows; return the columns of its table, the metadata columns last.

    Raises ConfigError as `processor` does.
    """
    given = {**schema.fields, **coordinates.metadata, RESCUED: pl.String()}
    run = _Run(transform, coordinates)
    try:
        return run.once(pl.DataFrame(schema=given)).schema
    except TransformFailed as error:
        raise refusals.broken(run.name, str(error)) from error


def once(transform: Transform, coordinates: Coordinates) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Return the function that transforms decoded rows in one call; it raises TransformFailed."""
    return _Run(transform, coordinates).once


def name_of(transform: Transform) -> str:
    """Return `module:name` or `file.py:name`; of a callable object, as a partial, its type's."""
    named = transform if hasattr(transform, "__qualname__") else type(transform)
    return f"{code_file.label(named.__module__)}:{named.__qualname__}"


class _Run:
    """A transform, and the checks of what it returns."""

    def __init__(
        self,
        transform: Transform,
        coordinates: Coordinates,
        expected: pl.Schema | None = None,
        limit: MostRejects | None = None,
    ) -> None:
        self.name = name_of(transform)
        self._transform = transform
        self._coordinates = coordinates
        self._last = {**coordinates.metadata, RESCUED: pl.String()}
        self._expected = expected
        self._limit = limit

    def __call__(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame | None]:
        """Return the clean rows, and the coordinates of the rows that the transform fails on."""
        try:
            clean, failed = self.once(rows), None
        except TransformFailed:
            clean, failed = isolate(self.name, self.once, rows, self._coordinates, self._limit)
        _check_once(self.name, rows, clean, self._coordinates)
        return clean, failed

    def once(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Transform the rows in one call; TransformFailed when that raises an exception."""
        try:
            found = self._transform(rows.lazy())
            if not isinstance(found, pl.LazyFrame):
                raise TypeError(f"it returns {type(found).__name__}, not LazyFrame")
            clean = found.collect()
        except NO_RECORDS_FAULT as error:
            raise refusals.broken(self.name, refusals.words(error)) from error
        except FAULTS as error:
            raise TransformFailed(error) from error
        return clean if clean.schema == self._expected else self._checked(clean)

    def _checked(self, clean: pl.DataFrame) -> pl.DataFrame:
        """Return the frame as its table holds it: checked types, the metadata columns last."""
        for problem in columns.problems(self.name, clean.schema, self._last):
            raise problem
        clean = columns.fit(clean.select(pl.exclude(*self._last), *self._last))
        if self._expected is not None and clean.schema != self._expected:
            raise refusals.varying(self.name, self._expected, clean.schema)
        return clean


def _check_once(
    name: str, rows: pl.DataFrame, clean: pl.DataFrame, coordinates: Coordinates
) -> None:
    """Each row of `clean` is a record of `rows`, and none is there twice."""
    given, made = (frame.select(coordinates.identity) for frame in (rows, clean))
    if made.equals(given):
        return
    foreign = made.join(given, on=coordinates.identity, how="anti", nulls_equal=True)
    if refused := refusals.not_once(name, given, made, foreign):
        raise refused


@dataclass(frozen=True)
class Decoded:
    """Both frames are in input order; each input row is in exactly one.

    `rows`: the wire fields, the metadata columns, `_rescued` (JSON text or null).
    `rejected`: the metadata columns, `_value`, `reason`, `detail`.
    """

    rows: pl.DataFrame
    rejected: pl.DataFrame


def decode(frame: pl.DataFrame, schema: Schema, coordinates: Coordinates) -> Decoded:
    """Decode the payloads of `frame` (as in Records.frame) to `schema`; no payload raises."""
    payloads = frame.select(VALUE).with_row_index(ROW)
    exact, doubtful = _read_at_once(payloads, schema)
    judged, rejects = schema.no_rows, NO_REJECTS
    if not doubtful.is_empty():
        judged, rejects = judge(doubtful, schema)
    rows = exact if judged.is_empty() else pl.concat([exact, judged]).sort(ROW)
    metadata = frame.select(coordinates.metadata.keys())
    own = metadata if rejects.is_empty() else metadata[rows[ROW]]
    wire = [rows.select(schema.fields.keys()), own, rows.select(RESCUED)]
    bad = [frame.select(*coordinates.metadata, VALUE)[rejects[ROW]], rejects.drop(ROW)]
    return Decoded(pl.concat(wire, how="horizontal"), pl.concat(bad, how="horizontal"))


def _read_at_once(payloads: pl.DataFrame, schema: Schema) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows that the batch reader decodes exactly, in order, and the other payloads."""
    exact, left = schema.no_rows, payloads
    for reading in schema.readings:
        found = pl.concat([schema.no_rows, *_exact_chunks(left, schema, reading)])
        if len(found) == len(left):
            left = left[:0]
        elif not found.is_empty():
            left = left.join(found, on=ROW, how="anti", maintain_order="left")
        exact = found if exact.is_empty() else pl.concat([exact, found]).sort(ROW)
        if len(left) <= SMALL:
            break
    return exact, left


def _exact_chunks(
    payloads: pl.DataFrame, schema: Schema, reading: Reading
) -> Iterator[pl.DataFrame]:
    """Yield the rows that are read exactly, in chunks that fit the CPU's cache."""
    for chunk in payloads.iter_slices(CHUNK):
        text = _as_text(chunk[VALUE])
        if text.str.ends_with("\n").any():
            text = text.str.strip_suffix("\n")
        lines = _kept(chunk.select(ROW, text.alias(TEXT)), _is_line())
        if reading.lines is not None:
            lines = _kept(lines, reading.lines)
        for rows in _read(lines, reading):
            yield _kept(rows, reading.exact).select(
                ROW, *schema.fields, pl.lit(None, pl.String()).alias(RESCUED)
            )


def _kept(frame: pl.DataFrame, condition: pl.Expr) -> pl.DataFrame:
    """Filter the rows; where the condition holds for all, as is usual, nothing is copied."""
    mask = frame.select(condition).to_series()
    return frame if mask.all(ignore_nulls=False) else frame.filter(mask)


def _as_text(values: pl.Series) -> pl.Series:
    """Return the payloads as text; empty where they are not UTF-8."""
    try:
        return values.cast(pl.String)
    except pl.exceptions.ComputeError:
        valid = pl.Series([value is not None and _is_utf8(value) for value in values.to_list()])
        kept = pl.when(valid).then(values).otherwise(pl.lit(b""))
        return pl.select(kept).to_series().cast(pl.String)


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_line() -> pl.Expr:
    """Whether a payload looks like one object on one line that the reader reads as it is."""
    text = pl.col(TEXT)
    unsafe = pl.any_horizontal(text.str.contains(pattern) for pattern in _UNSAFE)
    return text.str.starts_with("{") & text.str.ends_with("}") & ~unsafe


def _read(lines: pl.DataFrame, reading: Reading) -> Iterator[pl.DataFrame]:
    """Yield the lines with their fields, in order, without small pieces that cannot be read."""
    if lines.is_empty():
        return
    buffer = b"\n".join(lines[TEXT].cast(pl.Binary).to_list())
    try:
        fields = pl.read_ndjson(buffer, schema=reading.types, ignore_errors=True)
    except pl.exceptions.ComputeError:
        fields = None
    if fields is not None and len(fields) == len(lines):
        rows = pl.concat([lines, fields], how="horizontal")
        yield rows.with_columns(reading.values) if reading.values else rows
    elif len(lines) > SMALL:
        for part in _parts(lines):
            yield from _read(part, reading)


def _parts(lines: pl.DataFrame) -> list[pl.DataFrame]:
    """Split off the lines that are known to stop the reader, or else halve them."""
    unreadable = pl.col(TEXT).str.replace_all(_PAIR, "").str.contains(_UNREADABLE)
    readable = lines.remove(unreadable)
    half = len(lines) // 2
    return [readable] if len(readable) < len(lines) else [lines[:half], lines[half:]]
