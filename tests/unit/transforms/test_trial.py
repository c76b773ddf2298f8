"""Trying a schema and a transform on payloads that no source sent."""

import polars as pl
import pytest

from core.batch import KAFKA, KINESIS, Coordinates
from core.errors import ConfigError
from transforms import geo, pin, trial, user
from transforms.schema import Schema


@pytest.mark.parametrize("coordinates", [KAFKA, KINESIS], ids=["kafka", "kinesis"])
@pytest.mark.parametrize("module", [pin, geo, user])
def test_every_synthetic_record_of_a_schema_becomes_a_row(
    module: object, coordinates: Coordinates
) -> None:
    schema, clean = module.SCHEMA, module.clean  # type: ignore[attr-defined]
    samples = trial.samples(schema)
    batch = trial.try_rows(schema, clean, samples, coordinates)
    assert batch.rejected.is_empty()
    assert batch.clean.height == len(samples) == len(schema.fields) + 5
    assert batch.clean.select(coordinates.identity).is_unique().all()
    assert list(batch.clean.columns)[-len(coordinates.metadata) - 1 : -1] == [*coordinates.metadata]
    (span,) = batch.spans.values()
    assert span.records == len(samples)


EVERY_TYPE: dict[str, pl.DataType] = {
    "boolean": pl.Boolean(),
    "float": pl.Float32(),
    "date": pl.Date(),
    "decimal": pl.Decimal(10, 2),
    "binary": pl.Binary(),
    "list": pl.List(pl.String()),
    "struct": pl.Struct({"a": pl.Int64(), "dates": pl.List(pl.Date())}),
}


@pytest.mark.parametrize(
    "fields",
    [{}, {"v": pl.String()}, {"v": pl.Float64(), "w": pl.Int64()}, EVERY_TYPE],
    ids=["key alone", "text", "numbers", "every type"],
)
def test_schemas_of_any_size_and_type_have_synthetic_records(
    fields: dict[str, pl.DataType],
) -> None:
    schema = Schema("s", "k", {"k": pl.String(), **fields})
    batch = trial.try_rows(schema, lambda rows: rows, trial.samples(schema))
    assert batch.rejected.is_empty()
    assert batch.clean["_rescued"].drop_nulls().len() == 1  # the field that the schema lacks


def test_what_a_consumer_rejects_is_rejected() -> None:
    rows: list[dict[str, object] | bytes] = [
        {"ind": 1, "country": "Chile"},
        {"country": "Peru"},
        b"no JSON",
        b"",
    ]
    batch = trial.try_rows(geo.SCHEMA, geo.clean, rows)
    assert batch.clean["country"].to_list() == ["Chile"]
    assert batch.rejected["reason"].to_list() == ["missing_key", "not_json", "empty"]
    assert batch.rejected["_offset"].to_list() == [1, 2, 3]


def test_no_payload_at_all_gives_the_columns() -> None:
    batch = trial.try_rows(geo.SCHEMA, geo.clean, [])
    assert batch.clean.is_empty()
    assert batch.clean.columns[:2] == ["ind", "country"]


def test_a_transform_that_a_consumer_refuses_is_refused() -> None:
    with pytest.raises(ConfigError, match="lost or changed"):
        trial.try_rows(geo.SCHEMA, lambda rows: rows.select("ind"), [])
