"""Rows of a quarantine judged again: what passes is what a consumer would have written."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from core.batch import KAFKA, Batch, Records
from core.config import Config
from pinpip import configfile
from pinpip.pipelines import tables_of
from pinpip.quarantine.again import FILTERED, NO_HEADERS, NOT_TAKEN, Judged, judge_of
from pinpip.quarantine.rows import Choice, opened
from tests.support.board_lake import NEW, BoardLake, Member, write
from tests.support.examples import examples

STRICT = 'rows.with_columns(pl.col("title").cast(pl.Int64).cast(pl.String))'
WAVED = 'rows.filter(pl.col("title") != "gone").with_columns(pl.col("title").str.to_uppercase())'
TITLES = st.sampled_from(["Oak", "7", "gone", "Zürich 😀", "", None, 3])
RECORDS = st.fixed_dictionaries(
    {"title": TITLES},
    optional={
        "id": st.sampled_from([1, "2", None, "x"]),
        "pins": st.sampled_from([3, "3", None, {"a": [1]}]),
        "other": st.just(1.5),
    },
)
PAYLOADS = st.lists(RECORDS | st.sampled_from([b"{", b"\xff", b"[]", b""]), max_size=12)


@pytest.fixture
def lake(tmp_path: Path) -> BoardLake:
    return BoardLake(tmp_path, str(tmp_path / "lake"))


def held(config: Config) -> pl.DataFrame:
    """Return the rows of the quarantine."""
    found = opened(config, "boards")
    assert found is not None
    return pl.concat(found.batches(Choice())).sort("_offset")


def configured(path: Path) -> Config:
    return configfile.load(path, {})


def records_of(batch: Batch, frame: pl.DataFrame) -> Records:
    """Return the records of a batch with another frame."""
    return Records(frame, batch.spans, batch.coordinates)


def judged(config: Config, rows: pl.DataFrame) -> Judged:
    return judge_of(config, "boards", tables_of(config, "boards"))(rows)


@settings(max_examples=examples(25), deadline=None)
@given(PAYLOADS)
def test_what_passes_is_the_row_that_a_consumer_of_today_writes(
    tmp_path_factory: pytest.TempPathFactory, payloads: list[Any]
) -> None:
    folder = tmp_path_factory.mktemp("boards")
    lake = BoardLake(folder, str(folder / "lake"))
    write(lake.config(body=STRICT), b"{", *payloads)
    rows, config = held(lake.config()), lake.config(NEW, WAVED)
    found = judged(config, rows)
    member = Member(BoardLake(folder, str(folder / "empty")).config(NEW, WAVED))
    live = member.batch([b"{", *payloads])
    of_ours = pl.col("_offset").is_in(rows["_offset"].implode())
    assert_frame_equal(found.clean, live.clean.filter(of_ours))
    assert_frame_equal(found.rejected, live.rejected.filter(of_ours).select(found.rejected.columns))
    parts = pl.concat(
        frame.select(KAFKA.identity) for frame in (found.clean, found.rejected, found.left)
    )
    assert_frame_equal(parts.sort("_offset"), rows.select(KAFKA.identity))
    assert set(found.left["why"]) <= {FILTERED}


def test_a_record_of_another_pipeline_is_left_alone(lake: BoardLake) -> None:
    write(lake.config(), b"{", b'{"title": "no id"}')
    path = lake.path()
    path.write_text(
        path.read_text().replace("      topics:", "      where: {key: own}\n      topics:")
    )
    config = configured(path)
    found = judged(config, held(config))
    assert found.left["why"].to_list() == [NOT_TAKEN] * 2
    assert found.clean.height == found.rejected.height == 0


def test_without_its_headers_only_the_ledger_says_that_a_record_was_taken(
    lake: BoardLake,
) -> None:
    write(lake.config(), b"{")
    path = lake.path()
    told = "      where: {header: {kind: board}}\n      topics:"
    path.write_text(path.read_text().replace("      topics:", told))
    config = configured(path)
    member = Member(config)
    batch = Member(lake.config()).batch([b"[]"])  # what the source gives
    kept = batch.raw.with_columns(
        _headers=pl.lit([{"key": "kind", "value": b"board"}], dtype=batch.raw.schema["_headers"])
    )
    batch = member.process(records_of(batch, kept))
    for sink in member.sinks:
        sink.write(batch)
    member.close()
    found = judged(config, held(config))
    assert found.left.rows() == [("demo.boards", 0, 0, NO_HEADERS)]
    assert found.rejected["_offset"].to_list() == [1]
