"""Every statistic in the log is true of its file, and no reader skips a row by one."""

import json
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.dataset as ds
import pytest
from deltalake import DeltaTable, QueryBuilder, Schema
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.verify import verify
from core.batch import KAFKA, RESCUED, TIMESTAMP
from sinks.delta import data_file, log, setup
from tests.support import engines
from tests.support.batches import CLEAN_SCHEMA
from tests.support.commits import before_the_next_commit
from tests.support.examples import examples
from tests.support.pairs import A, B, Pair

SCHEMA = pl.Schema(
    {
        "day": pl.Date(),
        "local": pl.Datetime("us"),
        "small": pl.Int8(),
        "ratio": pl.Float64(),
        "text": pl.String(),
        "yes": pl.Boolean(),
        "list": pl.List(pl.Int64()),
        **KAFKA.metadata,
    }
)
_LOW, _HIGH = 1 - 719_163, 2_932_896  # days from 1970 to the ends of the years 1 and 9999
_DAY = 86_400_000_000
_DAYS = st.integers(_LOW - 400, _HIGH + 400) | st.sampled_from([_LOW - 1, _LOW, _HIGH, _HIGH + 1])
_MICROS = st.builds(lambda day, rest: day * _DAY + rest, _DAYS, st.integers(0, _DAY - 1))
_FAR = st.sampled_from([_LOW * _DAY, (_HIGH + 1) * _DAY - 1, (_HIGH + 1) * _DAY, -1, 0, 999_999])
_LONG = st.sampled_from(["é" * 300, "\U0010ffff" * 40, "a" * 33, "\x00", "", 'a"b\\'])
ROWS = st.fixed_dictionaries(
    {
        "day": st.none() | _DAYS,
        "local": st.none() | _MICROS | _FAR,
        "small": st.none() | st.integers(-128, 127),
        "ratio": st.none() | st.floats(width=64) | st.sampled_from([0.0, -0.0]),
        "text": st.none() | st.text(max_size=5) | _LONG,
        "yes": st.none() | st.booleans(),
        "list": st.none() | st.lists(st.integers(-1, 1), max_size=2),
        "_topic": st.text("abc._-", min_size=1, max_size=3) | st.sampled_from(["t" * 249]),
        "_partition": st.integers(0, 2**31 - 1),
        "_offset": st.integers(0, 2**63 - 1),
        "_key": st.none() | st.text(max_size=3),
        "_timestamp": st.none() | _MICROS | _FAR,
    }
)
_PHYSICAL = pl.Schema(SCHEMA | {"day": pl.Int32(), "local": pl.Int64(), "_timestamp": pl.Int64()})
FRAMES = st.lists(ROWS, min_size=1, max_size=5).map(
    lambda rows: pl.DataFrame(rows, schema=_PHYSICAL).cast(SCHEMA)
)


def parsed(text: Any, dtype: pl.DataType) -> Any:
    """Parse a bound exactly as the protocol writes it."""
    if dtype == pl.Date:
        assert len(text) == len("2024-05-01")
        return date.fromisoformat(text)
    if isinstance(dtype, pl.Datetime):
        assert text.endswith("Z") == (dtype.time_zone is not None)
        assert text.index("-") == 4
        return datetime.fromisoformat(text)
    return text


def in_the_calendar(schema: pl.Schema) -> list[pl.Expr]:
    """Whether all of a column lies in the years that the log can spell, for each."""
    return [
        pl.col(name).dt.year().is_between(1, 9999).all()
        for name, dtype in schema.items()
        if dtype.is_temporal()
    ]


@settings(deadline=None)
@given(FRAMES)
def test_each_bound_is_the_files_own(frame: pl.DataFrame) -> None:
    found = json.loads(
        json.dumps(data_file.statistics(frame, data_file.bounded(frame.schema, KAFKA)))
    )
    assert found.pop("numRecords") == frame.height
    if not found:
        assert not all(frame.select(in_the_calendar(frame.schema)).row(0))
        return
    for name, nulls in found["nullCount"].items():
        assert nulls == frame[name].null_count()
    for side, bound in (("min", "minValues"), ("max", "maxValues")):
        for name, text in found[bound].items():
            own = frame.select(getattr(pl.col(name), side)()).item()
            assert parsed(text, frame.schema[name]) == own
    assert found["minValues"].keys() == found["maxValues"].keys()
    empty = {name for name, nulls in found["nullCount"].items() if nulls == frame.height}
    assert found["minValues"].keys() == found["nullCount"].keys() - empty
    assert found["nullCount"].keys() == {"day", "local", "small", "_timestamp", *KAFKA.identity}


@pytest.mark.parametrize("year", ["0001", "0999", "1000", "9999"])
@pytest.mark.parametrize("dtype", [pl.Date(), pl.Datetime("us"), pl.Datetime("us", "Asia/Tokyo")])
def test_a_year_has_four_digits(year: str, dtype: pl.DataType) -> None:
    moments = pl.Series("t", [f"{year}-06-01"]).str.to_date().cast(pl.Datetime("us"))
    frame = pl.DataFrame({"t": moments.dt.replace_time_zone(getattr(dtype, "time_zone", None))})
    frame = frame.cast({"t": dtype})
    [low] = data_file.statistics(frame, data_file.bounded(frame.schema, KAFKA))[
        "minValues"
    ].values()
    assert low.startswith((f"{year}-06-01", f"{year}-05-31"))


def test_times_of_a_day_lengths_and_nanoseconds_have_no_bound() -> None:
    frame = pl.DataFrame(
        {"at": [1], "long": [1], "fine": [1], "big": [2**64 - 1], "_offset": [7]},
        schema={
            "at": pl.Time(),
            "long": pl.Duration(),
            "fine": pl.Datetime("ns"),
            "big": pl.UInt64(),
            "_offset": pl.Int64(),
        },
        strict=False,
    )
    found = data_file.statistics(frame, data_file.bounded(frame.schema, KAFKA))
    assert found["minValues"] == found["maxValues"] == {"_offset": 7}
    assert found["nullCount"] == {"_offset": 0}


# --- As readers use them

Query = Callable[[DeltaTable, str, str, Any], int]


def by_polars(table: DeltaTable, name: str, sign: str, value: Any) -> int:
    """How many rows polars finds."""
    column = pl.col(name)
    wanted = {"=": column == value, "<=": column <= value, ">=": column >= value}[sign]
    return pl.scan_delta(table).filter(wanted).select("_offset").collect().height


def by_pyarrow(table: DeltaTable, name: str, sign: str, value: Any) -> int:
    """How many rows delta-rs's pyarrow dataset finds."""
    field = ds.field(name)
    wanted = {"=": field == value, "<=": field <= value, ">=": field >= value}[sign]
    return int(table.to_pyarrow_dataset().count_rows(filter=wanted))


def by_delta_rs(table: DeltaTable, name: str, sign: str, value: Any) -> int:
    """How many rows delta-rs's filters find."""
    found = table.to_pyarrow_table(filters=[(name, sign, value)], columns=["_offset"])
    return int(found.num_rows)


def by_datafusion(table: DeltaTable, name: str, sign: str, value: Any) -> int:
    """How many rows delta-rs's SQL finds."""
    dtype = SCHEMA[name]
    if dtype == TIMESTAMP and not 1678 <= value.year <= 2261:
        return by_polars(table, name, sign, value)  # its literals are nanoseconds
    kind = {pl.Date: "DATE", pl.String: ""}.get(type(dtype), "TIMESTAMP")
    text = value.isoformat() if dtype.is_temporal() else str(value).replace("'", "''")
    literal = f"{kind} '{text}'" if dtype.is_temporal() or dtype == pl.String else text
    engine = QueryBuilder().register("t", table)
    sql = f'SELECT count(*) AS n FROM t WHERE "{name}" {sign} {literal}'
    return int(pl.DataFrame(engine.execute(sql).read_all())["n"][0])


READERS = [by_polars, by_pyarrow, by_delta_rs, by_datafusion]


def tabled(folder: Path, frames: list[pl.DataFrame]) -> DeltaTable:
    """Write these files to a table as the sink does."""
    bounded = data_file.bounded(frames[0].schema, KAFKA)
    told: Any = setup.configuration(bounded)
    DeltaTable.create(str(folder), Schema.from_arrow(frames[0].schema), configuration=told)
    added = []
    for frame in frames:
        body = data_file.encode(frame)
        action = data_file.add_action(frame, len(body), bounded, "", 1)
        (folder / action.path).write_bytes(body)
        added.append(log.add(action))
    engines.put_entry(str(folder), *added)
    return DeltaTable(str(folder))


@settings(max_examples=examples(12), deadline=None)
@given(st.lists(FRAMES, min_size=2, max_size=3), st.data())
def test_no_reader_skips_a_row_by_a_bound(
    tmp_path_factory: pytest.TempPathFactory, frames: list[pl.DataFrame], data: st.DataObject
) -> None:
    plain = [frame.drop("local", "list") for frame in frames]
    table = tabled(tmp_path_factory.mktemp("table"), plain)
    whole = pl.concat(plain)
    for name in plain[0].columns:
        if name == "ratio":  # readers do not agree on NaN and -0.0
            continue
        in_reach = whole.select(name).filter(_is_in_reach(name))[name].drop_nulls()
        if in_reach.is_empty():
            continue
        value = data.draw(st.sampled_from(in_reach.to_list()), label=name)
        sign = data.draw(st.sampled_from(["=", "<=", ">="]))
        wanted = by_polars_alone(whole, name, sign, value)
        for reader in READERS:
            found = reader(table, name, sign, value)
            assert found == wanted, (reader.__name__, name, sign, value)


def by_polars_alone(whole: pl.DataFrame, name: str, sign: str, value: Any) -> int:
    """How many rows there are."""
    column = pl.col(name)
    wanted = {"=": column == value, "<=": column <= value, ">=": column >= value}[sign]
    return whole.filter(wanted).height


def _is_in_reach(name: str) -> pl.Expr:
    """Whether Python can say the value."""
    if SCHEMA[name].is_temporal():
        return pl.col(name).dt.year().is_between(1, 9999)
    return pl.lit(value=True)


# --- Tables of before, and of other hands


def properties(pair: Pair) -> dict[str, str]:
    """Return the properties of the clean table."""
    return dict(pair.table("clean").metadata().configuration)


def unbounded(pair: Pair, **more: str) -> None:
    """Make the clean table as the releases up to 0.1.0 did, or with properties of another hand."""
    schema = pl.Schema(CLEAN_SCHEMA | dict(pair.coordinates.metadata) | {RESCUED: pl.String()})
    told: Any = {f"delta.{name}": value for name, value in more.items()}
    DeltaTable.create(pair.uri("clean"), Schema.from_arrow(schema), name="pins", configuration=told)


def found_by_key(pair: Pair) -> int:
    """How many rows a filter of delta-rs finds by a column without bounds."""
    return by_delta_rs(pair.table("clean"), "_key", "=", "key-4")


def test_a_table_of_before_learns_once_which_columns_have_bounds(tmp_path: Path) -> None:
    pair = Pair(str(tmp_path), KAFKA)
    unbounded(pair, logRetentionDuration="interval 9 days")
    pair.write(pair.log.batch({A: (0, 9)}))
    before = pair.table("clean").metadata()
    pair.write(pair.log.batch({A: (9, 18)}), pair.log.batch({A: (18, 27)}))
    assert found_by_key(pair) == 1
    assert pair.table("clean").metadata().id == before.id
    assert (before.name, before.created_time) == (
        "pins",
        pair.table("clean").metadata().created_time,
    )
    assert properties(pair) == {
        "delta.logRetentionDuration": "interval 9 days",
        "delta.dataSkippingStatsColumns": "ind,_topic,_partition,_offset,_timestamp",
    }
    assert sum('"metaData"' in path.read_text() for path in pair.logs("clean")) == 2
    assert verify(pair.tables).findings == ()


@pytest.mark.parametrize("name", ["a b", "a,b", "a.b", "a`b", "ä", "1a"])
def test_a_column_of_any_name_has_bounds_that_readers_find(tmp_path: Path, name: str) -> None:
    frame = pl.DataFrame({"_offset": [1, 2], name: [3, 4], "_key": ["x", "key-4"]})
    table = tabled(tmp_path, [frame])
    assert f"max.{name}" in pl.DataFrame(table.get_add_actions(flatten=True)).columns
    assert by_delta_rs(table, "_key", "=", "key-4") == 1
    own = data_file.bounded(frame.schema, KAFKA)
    assert setup.bounds(table, own) == own


@pytest.mark.parametrize("named", ["title", "_key,ind"])
def test_files_have_no_bounds_where_another_hand_asks_for_those_of_text(
    tmp_path: Path, named: str
) -> None:
    pair = Pair(str(tmp_path), KAFKA)
    unbounded(pair, dataSkippingStatsColumns=named)
    pair.write(pair.log.batch({A: (0, 9)}))
    pair.write(pair.log.batch({A: (9, 18)}))
    assert properties(pair) == {"delta.dataSkippingStatsColumns": named}
    assert found_by_key(pair) == 1
    assert by_delta_rs(pair.table("clean"), "title", "=", "plain") == 3
    assert verify(pair.tables).findings == ()


def test_two_writers_that_learn_it_together_both_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = Pair(str(tmp_path), KAFKA)
    unbounded(pair)
    other = pair.log.batch({B: (0, 9)})
    before_the_next_commit(monkeypatch, lambda: pair.write(other, stages=("clean",)))
    pair.write(pair.log.batch({A: (0, 9)}), stages=("clean",))
    assert sum('"metaData"' in path.read_text() for path in pair.logs("clean")) == 2
    assert pair.rows("clean").height == 12
