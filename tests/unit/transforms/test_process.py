"""Records to batches, and the references of config.yaml."""

import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from core import __version__
from core.batch import (
    HEADERS,
    HEADERS_DTYPE,
    KAFKA,
    RESCUED,
    Batch,
    Partition,
    Position,
    Records,
    Span,
)
from core.errors import ConfigError
from transforms import geo, user
from transforms.load import load_schema, load_transform, version_of
from transforms.process import Transform, processor

SPANS = {Partition("demo.geo", "0"): Span(None, Position(3), 3)}
GEO = {"ind": 1, "timestamp": "2018-03-26", "latitude": 1.5, "longitude": 2, "country": "Peru"}


def records(*values: bytes | None) -> Records:
    columns = {
        "_topic": ["demo.geo"] * len(values),
        "_partition": [0] * len(values),
        "_offset": range(len(values)),
        "_key": ["1"] * len(values),
        "_timestamp": [datetime(2024, 1, 1, tzinfo=UTC)] * len(values),
        "_value": values,
        HEADERS: [[]] * len(values),
    }
    schema = {**KAFKA.metadata, "_value": pl.Binary(), HEADERS: HEADERS_DTYPE}
    return Records(pl.DataFrame(columns, schema=schema), SPANS, KAFKA)


def processed(transform: Transform = geo.clean, *, keep_values: bool = False) -> Batch:
    values = [json.dumps(GEO).encode(), b"{", b'{"ind":2,"country":"Mali"}']
    return processor(geo.SCHEMA, transform, KAFKA, keep_values=keep_values)(records(*values))


def test_a_batch_has_clean_rows_rejects_and_the_spans_of_its_records() -> None:
    batch = processed()
    own = ["ind", "country", "coordinates", "timestamp"]
    assert batch.clean.columns == [*own, *KAFKA.metadata, RESCUED]
    assert batch.clean["_offset"].to_list() == [0, 2]
    assert batch.rejected["_offset"].to_list() == [1]
    assert batch.spans == SPANS
    assert batch.coordinates is KAFKA


def test_rejects_name_the_version_that_rejected_them() -> None:
    rejected = processed().rejected
    last = ["_value", "reason", "detail", "transform_version", "pinpip_version"]
    assert rejected.columns == [*KAFKA.metadata, *last]
    assert rejected["pinpip_version"].to_list() == [__version__]
    nothing = processor(geo.SCHEMA, geo.clean, KAFKA, keep_values=False)(records()).rejected
    assert nothing.schema == rejected.schema


def test_the_raw_frame_keeps_values_only_for_an_archive() -> None:
    assert processed().raw.columns == list(KAFKA.metadata)
    assert processed(keep_values=True).raw.equals(
        records(*processed(keep_values=True).raw["_value"]).frame
    )


def test_a_tombstone_is_quarantined_with_a_reason_of_its_own() -> None:
    process = processor(geo.SCHEMA, geo.clean, KAFKA, keep_values=False)
    rejected = process(records(json.dumps(GEO).encode(), None, b"")).rejected
    assert rejected["reason"].to_list() == ["tombstone", "empty"]
    assert rejected["_value"].to_list() == [None, b""]


def test_a_dropped_tombstone_stays_in_the_raw_frame_alone() -> None:
    process = processor(geo.SCHEMA, geo.clean, KAFKA, keep_values=True, drop_tombstones=True)
    batch = process(records(None, json.dumps(GEO).encode(), None, b""))
    assert batch.raw["_value"].null_count() == 2
    assert batch.clean["_offset"].to_list() == [1]
    assert batch.rejected["_offset"].to_list() == [3]
    assert batch.spans == SPANS


def test_a_batch_of_dropped_tombstones_alone_has_frames_without_rows() -> None:
    process = processor(geo.SCHEMA, geo.clean, KAFKA, keep_values=False, drop_tombstones=True)
    batch = process(records(None, None))
    assert (batch.raw.height, batch.clean.height, batch.rejected.height) == (2, 0, 0)


def test_metadata_goes_last_wherever_the_transform_puts_it() -> None:
    batch = processed(
        lambda rows: rows.select(
            RESCUED, "_offset", "ind", pl.col("^_.*$").exclude(RESCUED, "_offset")
        )
    )
    assert batch.clean.columns == ["ind", *KAFKA.metadata, RESCUED]


def test_a_transform_may_drop_rows() -> None:
    batch = processed(lambda rows: geo.clean(rows.filter(pl.col("ind") == 2)))
    assert batch.clean["_offset"].to_list() == [2]


def _doubled(rows: pl.LazyFrame) -> pl.LazyFrame:
    return pl.concat([geo.clean(rows), geo.clean(rows)])


def _swapped(rows: pl.LazyFrame) -> pl.LazyFrame:
    """One record dropped, another one doubled: as many rows as records."""
    first = geo.clean(rows).filter(pl.col("_offset") == 0)
    return pl.concat([first, first])


def _exploded(rows: pl.LazyFrame) -> pl.LazyFrame:
    return geo.clean(rows).with_columns(tag=pl.lit(["a", "b"])).explode("tag")


def _joined(rows: pl.LazyFrame) -> pl.LazyFrame:
    twice = pl.LazyFrame({"country": ["Peru", "Peru"], "continent": ["America", "America"]})
    return geo.clean(rows).join(twice, on="country", how="left")


@pytest.mark.parametrize("transform", [_doubled, _swapped, _exploded, _joined])
def test_a_transform_that_doubles_records_is_named_before_anything_is_written(
    transform: Transform,
) -> None:
    with pytest.raises(ConfigError, match="the same record more than once") as raised:
        processed(transform)
    assert transform.__qualname__ in raised.value.message
    assert "demo.geo/0/0" in raised.value.message


def _shifted(rows: pl.LazyFrame) -> pl.LazyFrame:
    return geo.clean(rows).with_columns(pl.col("_offset") + 7)


def _unplaced(rows: pl.LazyFrame) -> pl.LazyFrame:
    return geo.clean(rows).with_columns(pl.lit(None, pl.Int32()).alias("_partition"))


@pytest.mark.parametrize("transform", [_shifted, _unplaced])
def test_a_transform_that_returns_other_records_is_named(transform: Transform) -> None:
    with pytest.raises(ConfigError, match="records it was not given"):
        processed(transform)


def test_a_transform_may_sort() -> None:
    batch = processed(lambda rows: geo.clean(rows).sort("_offset", descending=True))
    assert batch.clean["_offset"].to_list() == [2, 0]


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (lambda rows: rows.drop("_offset", RESCUED), "_offset, _rescued"),
        (lambda rows: rows.with_columns(pl.col("_offset").cast(pl.Int32())), "_offset"),
        (lambda rows: rows.with_columns(seen=pl.datetime(2024, 1, 1)), "seen"),
        (lambda rows: rows.select("no_such_column"), "no_such_column"),
        (user.clean, "transforms.user:clean"),
    ],
)
def test_a_broken_transform_is_a_clear_error(transform: Transform, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        processed(transform)
    assert caught.value.hint


def test_config_names_a_schema_and_a_function() -> None:
    assert load_schema("transforms.geo:SCHEMA") is geo.SCHEMA
    assert load_transform("transforms.geo:clean") is geo.clean


@pytest.mark.parametrize("load", [load_schema, load_transform])
@pytest.mark.parametrize(
    "reference",
    [
        "",
        "geo",
        ":clean",
        "transforms.geo:",
        "no.such.module:clean",
        "transforms.geo:polish",
        ".geo:x",
    ],
)
def test_a_reference_to_nothing_is_a_clear_error(
    load: Callable[[str], object], reference: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(reference)
    assert repr(reference) in str(caught.value)
    assert caught.value.hint


def test_a_reference_of_the_wrong_kind_is_a_clear_error() -> None:
    with pytest.raises(ConfigError, match="not a Schema"):
        load_schema("transforms.geo:clean")
    with pytest.raises(ConfigError, match="not a function"):
        load_transform("transforms.geo:SCHEMA")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Leave Python's path as it was: a file that is loaded adds its folder."""
    path = list(sys.path)
    yield tmp_path
    sys.path[:] = path


def _module(folder: Path, version: str) -> Transform:
    path = folder / "versioned.py"
    path.write_text(f"{version}\n\ndef clean(rows):\n    return rows\n", encoding="utf-8")
    return load_transform(f"{path}:clean")


@pytest.mark.parametrize(
    ("line", "version"), [("VERSION = 3", "3"), ("VERSION = '2026-11 b'", "2026-11 b")]
)
def test_the_version_beside_a_transform_is_its_version(
    folder: Path, line: str, version: str
) -> None:
    assert version_of(_module(folder, line)) == version


def test_without_one_the_source_of_its_module_is_the_version(folder: Path) -> None:
    versions = [version_of(_module(folder, line)) for line in ("", "# changed", "")]
    assert versions[0] == versions[2] != versions[1]
    assert len(versions[0]) == 12


@pytest.mark.parametrize("line", ["VERSION = ''", "VERSION = True", "VERSION = [1]"])
def test_a_version_that_is_neither_text_nor_a_number_is_refused(folder: Path, line: str) -> None:
    with pytest.raises(ConfigError, match="the VERSION beside versioned"):
        _module(folder, line)
