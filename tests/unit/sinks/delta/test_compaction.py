"""Which files are merged, how rows are sorted in bounded memory, and how their file is written."""

import io
from collections.abc import Iterator

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from core.batch import KAFKA
from sinks.delta import compaction, data_file, file_writer, sorting
from sinks.delta.compaction import DataFile, Goal, bins
from tests.support.batches import RecordLog

GOAL = Goal(1000, 1 << 20)
SIZES = st.lists(st.integers(1, GOAL.target // compaction.SMALL - 1), max_size=60)


def files(sizes: list[int], folder: str = "") -> list[DataFile]:
    return [DataFile(f"{folder}part-{n:03}", size, None, n) for n, size in enumerate(sizes)]


@given(SIZES)
def test_none_of_the_files_that_are_merged_outweighs_the_others(sizes: list[int]) -> None:
    merged = [file for group in bins(files(sizes), GOAL) for file in group]
    assert len(set(merged)) == len(merged)
    if merged:
        assert 2 * max(file.size for file in merged) <= sum(file.size for file in merged)


@given(SIZES)
def test_the_files_that_are_left_are_few(sizes: list[int]) -> None:
    """Each merge makes one small file at most; in the end sizes double from file to file."""
    left, rounds = files(sizes), 0
    while groups := list(bins(left, GOAL)):
        merged = {file for group in groups for file in group}
        made = [sum(f.size for f in group) for group in groups]
        kept = [file.size for file in left if file not in merged]
        small = [size for size in made if size * compaction.SMALL < GOAL.target]
        assert len(kept) + len(small) < len(left)
        left, rounds = files(kept + small), rounds + 1
    assert len(left) <= 8 + compaction.LEAST
    assert rounds <= len(sizes)


@given(SIZES)
def test_a_bin_is_bounded_and_close_in_time(sizes: list[int]) -> None:
    groups = list(bins(files(sizes), GOAL))
    assert all(len(group) > 1 for group in groups)
    assert all(sum(f.size for f in group) <= 4 * GOAL.target for group in groups)
    times = [file.written for group in groups for file in group]
    assert times == sorted(times)


def test_files_of_two_incarnations_are_never_merged() -> None:
    both = files([10] * 4) + files([10] * 4, "incarnation=2/")
    assert [{file.folder for file in group} for group in bins(both, GOAL)] == [
        {""},
        {"incarnation=2/"},
    ]
    assert list(bins(files([10] * 3) + files([10] * 3, "incarnation=2/"), GOAL)) == []


KEYS = st.one_of(st.none(), st.integers(-3, 3))
BATCHES = st.lists(st.lists(st.tuples(KEYS, st.text(max_size=40)), max_size=20), max_size=6)


@given(BATCHES, st.integers(1, 3000))
def test_parts_are_the_rows_in_order_and_hold_as_much_as_they_may(
    batches: list[list[tuple[int | None, str]]], most: int
) -> None:
    schema = {"key": pl.Int64(), "text": pl.String()}
    frames = [pl.DataFrame(rows, schema=schema, orient="row") for rows in batches]
    parts = list(sorting.sorted_parts(lambda: iter(frames), ["key", "text"], most))
    whole = pl.concat([*frames, pl.DataFrame(schema=schema)]).sort("key", "text")
    assert_frame_equal(pl.concat([*parts, whole.clear()]), whole)
    for part in parts:
        longest = max((len(text.encode()) for text in part["text"]), default=0)
        assert part.height == 1 or part["text"].str.len_bytes().sum() <= most + longest


def test_rows_are_scanned_once_where_all_of_them_fit() -> None:
    scans = list[int]()

    def scan() -> Iterator[pl.DataFrame]:
        scans.append(1)
        yield pl.DataFrame({"key": [3, 1, 2]})

    [part] = sorting.sorted_parts(scan, ["key"], 1000)
    assert (part["key"].to_list(), len(scans)) == ([1, 2, 3], 1)
    assert [p["key"].to_list() for p in sorting.sorted_parts(scan, ["key"], 8)] == [[1], [2], [3]]


def test_a_written_file_has_the_rows_and_the_statistics_of_its_row_groups(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(file_writer, "rows_of_slice", lambda _: 7)
    frame = RecordLog(KAFKA).batch({0: (0, 50), 1: (0, 50)}).clean.sort("ind")
    bounded = data_file.bounded(frame.schema, KAFKA)
    [(action, body)] = file_writer.files([frame[:20], frame[20:]], bounded, "", 1 << 20, 17)
    assert_frame_equal(pl.read_parquet(io.BytesIO(body)), frame)
    same = data_file.add_action(frame, len(body), bounded, "", 17)
    assert (action.stats, action.size) == (same.stats, len(body))
    assert not action.data_change
    several = list(file_writer.files([frame], bounded, "", 1, 17))
    assert len(several) == -(-frame.height // 7)


def test_no_rows_make_no_file() -> None:
    assert list(file_writer.files([], ["a"], "", 10, 1)) == []
    empty = pl.DataFrame(schema={"a": pl.Int64()})
    assert list(file_writer.files([empty], ["a"], "", 10, 1)) == []
