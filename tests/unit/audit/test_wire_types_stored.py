"""Values of every wire type come back from table, quarantine and archive as they were decoded."""

import json
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pytest
from deltalake import DeltaTable

from audit.archive import Archive
from audit.reread import Comparison
from audit.verify import snapshots, verify
from core.batch import KAFKA, VALUE, Batch, Partition, Position, Records, Span
from core.clock import SystemClock
from sinks.delta.sink import DeltaSink
from sinks.delta.target import DeltaTarget, Tables
from sinks.parquet.sink import ParquetSink
from sinks.storage.store import FolderStore
from transforms.process import processor
from transforms.schema import Schema

APP = "pinpip/rooms/1"
P0 = Partition("rooms", "0")
ROOM = Schema(
    "room",
    "ind",
    {
        "ind": pl.Int64(),
        "yes": pl.Boolean(),
        "size": pl.Float32(),
        "day": pl.Date(),
        "price": pl.Decimal(10, 2),
        "raw": pl.Binary(),
        "tags": pl.List(pl.String()),
        "place": pl.Struct({"lat": pl.Float64(), "days": pl.List(pl.Date())}),
        "stops": pl.List(pl.Struct({"at": pl.Int64(), "km": pl.Decimal(6, 3)})),
    },
)
WIRES: list[dict[str, Any] | bytes] = [
    {"ind": 1.0, "yes": True, "size": 0.1, "day": "2024-02-29", "price": "12.50", "raw": "/w=="},
    {"ind": 2, "tags": ["a", None, "é"], "place": {"lat": -1.5, "days": ["0001-01-01", None]}},
    {"ind": 3, "stops": [{"at": 1, "km": "1.125"}, None, {}], "tags": [], "price": -99999999.99},
    {"ind": 4, "place": {}, "raw": "", "day": "9999-12-31", "size": -0.0, "yes": False},
    {"ind": 5, "day": "2024-02-30", "price": 1.555, "raw": "QR==", "tags": "a", "place": {"x": 1}},
    b"{",
]
Stage = Literal["clean", "rejected"]


def read() -> Records:
    values = [wire if isinstance(wire, bytes) else json.dumps(wire).encode() for wire in WIRES]
    columns: dict[str, Any] = {
        "_topic": "rooms",
        "_partition": 0,
        "_offset": range(len(values)),
        "_key": None,
        "_timestamp": datetime(2024, 1, 1, tzinfo=UTC),
        VALUE: values,
    }
    frame = pl.DataFrame(columns, schema={**KAFKA.metadata, VALUE: pl.Binary()})
    return Records(frame, {P0: Span(None, Position(len(values)), len(values))}, KAFKA)


@pytest.fixture(scope="module")
def batch() -> Batch:
    return processor(ROOM, lambda rows: rows, KAFKA, keep_values=False)(read())


@pytest.fixture
def lake(tmp_path: Path, batch: Batch) -> Path:
    """Write the batch as a consumer does."""
    for stage, schema in (("clean", batch.clean.schema), ("rejected", batch.rejected.schema)):
        folder = tmp_path / stage
        target = DeltaTarget(str(folder), dict, schema, KAFKA, APP, stage=stage)  # type: ignore[arg-type]
        with closing(DeltaSink(stage, target, FolderStore(folder), SystemClock())) as sink:
            sink.positions([P0])
            sink.write(batch)
    chain = ParquetSink(FolderStore(tmp_path / "archive"), "clean", KAFKA, "archive")
    chain.positions([P0])
    chain.write(batch)
    return tmp_path


def compared(lake: Path, again: Batch) -> list[str]:
    """Verify the tables and the archive, and compare them with the batch."""
    tables = Tables(str(lake / "clean"), str(lake / "rejected"), dict, KAFKA, APP)
    archive = Archive(FolderStore(lake / "archive"), "clean", KAFKA)
    assert verify(tables, [archive]).findings == ()
    comparison = Comparison([*snapshots(tables), archive], {P0: Position(0)}, KAFKA)
    comparison.write(again)
    return [finding.detail for finding in comparison.findings()]


def test_values_of_every_type_come_back_as_they_were_written(lake: Path, batch: Batch) -> None:
    assert compared(lake, batch) == []
    types = {field.name: str(field.type) for field in DeltaTable(lake / "clean").schema().fields}
    assert types["price"] == 'PrimitiveType("decimal(10,2)")'
    assert (
        pl.read_delta(str(lake / "clean"))
        .select(list(ROOM.fields))
        .equals(batch.clean.select(list(ROOM.fields)))
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("yes", pl.lit(value=False)),
        ("size", pl.lit(0.5, pl.Float32())),
        ("day", pl.lit("2024-02-28").str.to_date()),
        ("price", pl.lit("12.51").cast(pl.Decimal(10, 2))),
        ("raw", pl.lit(b"\xfe")),
        ("tags", pl.lit(["a"])),
        ("place", pl.struct(lat=pl.lit(1.5), days=pl.lit(None, pl.List(pl.Date())))),
        ("stops", pl.lit(None, ROOM.fields["stops"])),
    ],
)
def test_a_changed_value_of_any_type_is_found(
    lake: Path, batch: Batch, field: str, value: pl.Expr
) -> None:
    [details] = [compared(lake, replace(batch, clean=batch.clean.with_columns(value.alias(field))))]
    assert len(details) == 2  # the table and the archive
    assert all(f"{field} is " in detail for detail in details)
