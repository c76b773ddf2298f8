"""Tables that earlier versions made of unsigned integers: their type stays, numbers must fit."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from core.batch import KAFKA, Batch, Partition, Position, Span
from core.clock import SystemClock
from core.config import Aws
from core.errors import SinkError
from sinks.delta.sink import DeltaSink
from sinks.delta.target import DeltaTarget
from sinks.storage.store import open_store
from transforms import trial
from transforms.process import Transform
from transforms.schema import Schema

SCHEMA = Schema("boards", "id", {"id": pl.Int64(), "title": pl.String()})
ONE = Partition("trial", "0")


def transform(dtype: pl.DataType) -> Transform:
    """Make a table with a column of the numbers of the records."""
    return lambda rows: rows.with_columns(pl.col("id").cast(dtype).alias("n"))


def batch(dtype: pl.DataType, start: int, numbers: list[int]) -> Batch:
    """Return a batch whose records begin at the offset `start`."""
    made = trial.try_rows(SCHEMA, transform(dtype), [{"id": n, "title": "a"} for n in numbers])
    frames = [
        f.with_columns(pl.col("_offset") + start) for f in (made.raw, made.clean, made.rejected)
    ]
    before = Position(start) if start else None
    span = Span(before, Position(start + len(numbers)), len(numbers))
    raw, clean, rejected = frames
    return replace(made, raw=raw, clean=clean, rejected=rejected, spans={ONE: span})


def write(folder: Path, written: Batch) -> pl.DataFrame:
    """Write the batch as a consumer that starts does; return the table."""
    target = DeltaTarget(str(folder), dict, written.clean.schema, KAFKA, "pinpip/boards/1")
    sink = DeltaSink("clean", target, open_store(str(folder), Aws()), SystemClock())
    sink.positions([ONE])
    sink.write(written)
    sink.close()
    return pl.read_delta(str(folder))


@pytest.mark.parametrize(
    ("narrow", "unsigned", "number"),
    [
        (pl.Int32(), pl.UInt32(), 2**31 - 1),
        (pl.Int16(), pl.UInt16(), 2**15 - 1),
        (pl.Int8(), pl.UInt8(), 2**7 - 1),
    ],
    ids=str,
)
def test_a_table_of_an_earlier_version_is_continued(
    tmp_path: Path, narrow: pl.DataType, unsigned: pl.DataType, number: int
) -> None:
    write(tmp_path, batch(narrow, 0, [1]))
    read = write(tmp_path, batch(unsigned, 1, [2, number]))
    assert read.schema["n"] == narrow
    assert sorted(read["n"]) == [1, 2, number]


def test_a_number_that_such_a_table_cannot_hold_stops_the_sink_before_it_writes(
    tmp_path: Path,
) -> None:
    write(tmp_path, batch(pl.Int32(), 0, [1]))
    with pytest.raises(SinkError, match=r"was made for smaller numbers: .*'n'") as caught:
        write(tmp_path, batch(pl.UInt32(), 1, [2, 2**31]))
    assert caught.value.hint
    assert pl.read_delta(str(tmp_path))["n"].to_list() == [1]
    assert DeltaTable(str(tmp_path)).version() == 1


@pytest.mark.parametrize("narrow", [pl.Int16(), pl.Int8(), pl.String()], ids=str)
def test_any_other_type_is_another_schema(tmp_path: Path, narrow: pl.DataType) -> None:
    write(tmp_path, batch(narrow, 0, [1]))
    with pytest.raises(SinkError, match="another schema"):
        write(tmp_path, batch(pl.UInt32(), 1, [2]))


def test_a_new_table_has_the_wider_type(tmp_path: Path) -> None:
    read = write(tmp_path, batch(pl.UInt32(), 0, [2**32 - 1]))
    assert read["n"].to_list() == [2**32 - 1]
