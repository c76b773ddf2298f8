"""`table`: the rows of a pipeline's table, and of each key the newest."""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from deltalake import DeltaTable
from hypothesis import given
from hypothesis import strategies as st

from core.batch import KAFKA, KINESIS
from core.config import Config
from core.errors import ConfigError
from pinpip import configfile, current
from pinpip.current import View, key_column, view_of
from reports.latest import newest, taken
from tests.support.aws import TestAws
from tests.support.engines import delete_rows
from tests.support.report_tables import STORED, Row, on_kafka, stored
from transforms import geo, pin, user
from transforms.schema import Schema

GEOS: list[Row] = [(1, "Peru", None), (2, "Cuba", None), (1, "Chad", None), (3, None, None)]


def config_of(folder: Path, root: str, **sections: object) -> Config:
    pipeline = {
        "source": {"topics": ["demo.geo"]},
        "schema": "transforms.geo:SCHEMA",
        "transform": "transforms.geo:clean",
        "sinks": [{"delta": "geo"}],
    }
    tree = {"id": "demo", "kafka": {"bootstrap.servers": "127.0.0.1:1"}, **sections}
    tree |= {"lake": {"root": root}, "pipelines": {"geo": pipeline}}
    (folder / "config.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    return configfile.load(folder / "config.yaml", {})


def append(root: str, rows: Sequence[Row], first: int, later: int = 0, **options: Any) -> None:
    at = STORED + timedelta(seconds=later)
    frame = on_kafka("geo", rows, first, at).drop("_rescued").collect()
    frame.write_delta(f"{root}/geo", mode="append", **options)


def countries(view: View) -> list[str | None]:
    return [name for batch in view.batches for name in batch["country"]]


@pytest.fixture
def lake(tmp_path: Path) -> Config:
    """Write a table of two files; the second has older times at higher offsets."""
    root = str(tmp_path / "lake")
    append(root, GEOS, 0, later=60)
    append(root, [(2, "Old", None), (4, "Fiji", None)], 100)
    return config_of(tmp_path, root)


def test_without_latest_the_table_has_all_its_rows(lake: Config) -> None:
    view = view_of(lake, "geo", latest=False, limit=0)
    assert (view.rows, view.key) == (6, None)
    assert sorted(map(str, countries(view))) == ["Chad", "Cuba", "Fiji", "None", "Old", "Peru"]


def test_the_current_view_has_the_row_with_the_latest_time_of_each_key(lake: Config) -> None:
    view = view_of(lake, "geo", latest=True, limit=0)
    assert (view.rows, view.key) == (4, "ind")
    assert sorted(map(str, countries(view))) == ["Chad", "Cuba", "Fiji", "None"]


@pytest.mark.parametrize(("latest", "rows"), [(False, 6), (True, 4)])
@pytest.mark.parametrize("limit", [1, 3, 5, 100])
def test_a_limit_counts_the_rows_that_are_given(
    lake: Config, monkeypatch: pytest.MonkeyPatch, limit: int, rows: int, *, latest: bool
) -> None:
    monkeypatch.setattr(current, "READ_AHEAD", 1)  # each file is read apart
    view = view_of(lake, "geo", latest=latest, limit=limit)
    assert view.rows == rows
    assert len(countries(view)) == min(limit, rows)


def test_rows_that_another_engine_deleted_are_not_the_newest(tmp_path: Path) -> None:
    root = str(tmp_path / "lake")
    append(root, GEOS, 0)
    append(root, [(1, "Later", None)], 100, later=1)
    delete_rows(f"{root}/geo", pl.col("country") == "Later")
    view = view_of(config_of(tmp_path, root), "geo", latest=True, limit=0)
    assert sorted(map(str, countries(view))) == ["Chad", "Cuba", "None"]


def test_after_compaction_the_current_view_is_the_same(lake: Config) -> None:
    before = countries(view_of(lake, "geo", latest=True, limit=0))
    DeltaTable(lake.lake.uri("geo")).optimize.compact()
    after = countries(view_of(lake, "geo", latest=True, limit=0))
    assert sorted(map(str, before)) == sorted(map(str, after))


@pytest.mark.moto
def test_the_current_view_of_a_lake_on_s3(tmp_path: Path, aws: TestAws) -> None:
    root = f"s3://{aws.bucket()}/lake"
    append(root, GEOS, 0, storage_options=aws.storage_options())
    keys = {"access_key_id": "local", "secret_access_key": "local"}
    config = config_of(tmp_path, root, aws={"endpoint_url": aws.endpoint, **keys})
    view = view_of(config, "geo", latest=True, limit=0)
    assert sorted(map(str, countries(view))) == ["Chad", "Cuba", "None"]


def test_a_pipeline_without_a_table_says_how_to_fill_it(tmp_path: Path) -> None:
    config = config_of(tmp_path, str(tmp_path / "lake"))
    with pytest.raises(ConfigError, match="has no table yet") as caught:
        view_of(config, "geo", latest=True, limit=0)
    assert caught.value.hint == "fill it: pinpip consume geo"


@pytest.mark.parametrize("kind", [KAFKA, KINESIS], ids=["kafka", "kinesis"])
@pytest.mark.parametrize("module", [pin, geo, user])
def test_the_key_is_found_by_the_schema_also_where_the_transform_renames_it(
    module: Any, kind: Any
) -> None:
    table = pl.Schema({"ind": pl.Int64(), "category": pl.String()})
    assert key_column(module.SCHEMA, module.clean, kind, table) == "ind"


@pytest.mark.parametrize("dtype", [pl.Int64(), pl.Float64(), pl.String()])
def test_a_key_of_any_type_is_found_under_its_new_name(dtype: pl.DataType) -> None:
    schema = Schema("board", "id", {"id": dtype, "name": pl.String()})
    renamed: Callable[[pl.LazyFrame], pl.LazyFrame] = lambda rows: rows.rename({"id": "board_id"})  # noqa: E731
    table = pl.Schema({"name": pl.String(), "board_id": dtype})
    assert key_column(schema, renamed, KAFKA, table) == "board_id"


def test_a_key_that_the_transform_changes_is_refused() -> None:
    schema = Schema("board", "id", {"id": pl.Int64()})
    table = pl.Schema({"hash": pl.UInt64()})
    with pytest.raises(ConfigError, match="no column of the table has the key 'id'"):
        key_column(schema, lambda rows: rows.select(hash=pl.col("id").hash()), KAFKA, table)


written = st.lists(
    st.tuples(
        st.integers(1, 3), st.integers(0, 2), st.integers(0, 2), st.sampled_from([None, "2"])
    ),
    max_size=12,
)


@given(rows=written, cuts=st.lists(st.integers(0, 12), max_size=3))
def test_the_newest_row_is_that_of_plain_python(
    rows: list[tuple[int, int, int, str | None]], cuts: list[int]
) -> None:
    """Rows of key, second, partition, incarnation; their offset is their number."""
    where = [
        ("demo.geo", partition, i, None, STORED + timedelta(seconds=second))
        for i, (_, second, partition, _) in enumerate(rows)
    ]
    table = stored(
        "geo", [(key, f"row {i}", None) for i, (key, *_) in enumerate(rows)], where, KAFKA
    )
    lives = pl.Series("_incarnation", [life for *_, life in rows], pl.String)
    frame = table.collect().with_columns(lives)
    wanted: dict[int, tuple[Any, ...]] = {}
    for i, (key, second, partition, _) in enumerate(rows):
        wanted[key] = max(wanted.get(key, ()), (second, partition, i))
    ends = sorted({0, len(frame), *(min(cut, len(frame)) for cut in cuts)})
    batches: Iterator[pl.DataFrame] = (
        frame[a:b] for a, b in zip(ends, [*ends[1:], len(frame)], strict=True)
    )
    found = [batch for batch in taken(batches, newest(frame.lazy(), "ind")) if batch.height]
    names = [name for batch in found for name in batch["country"]]
    assert sorted(names) == sorted(f"row {i}" for _, _, i in wanted.values())


def test_rows_that_agree_in_time_and_coordinates_are_ordered_by_incarnation() -> None:
    frame = pl.concat([on_kafka("geo", [(1, name, None)], 7).collect() for name in "ab"])
    for lives, wanted in (([None, "2"], "b"), (["2", None], "a")):
        rows = frame.with_columns(pl.Series("_incarnation", lives))
        [row] = newest(rows.lazy(), "ind")
        assert rows["country"][row] == wanted
