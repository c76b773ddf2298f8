"""What a source must have given before rows of the live tables are replaced."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.window import Window
from core.batch import KAFKA, KINESIS, Partition, Position
from core.errors import SourceError
from pinpip import replacement_proof as proof
from pinpip.connectors.protocol import Row
from pinpip.pipelines import tables_of
from sinks.delta import keys
from tests.support.replacing import V1, filled

TOPIC, SHARD = Partition("t", "0"), Partition("s", "shardId-000000000000")
TIMED = Window(since=datetime(2026, 1, 1, tzinfo=UTC))
SEQUENCE = st.tuples(st.integers(1, 2**186), st.integers(0, 20))


def text(number: int, sub: int) -> str:
    return f"{number:064d}.{sub:010d}"


def gone(partition: str, first: int | None) -> list[Row]:
    return [{"partition": partition, "first_offset": first, "expired": None}]


def test_positions_of_another_life_are_refused() -> None:
    ends = {TOPIC: Position(9, epoch=2)}
    with pytest.raises(SourceError, match="deleted and created again"):
        proof.refuse_another_life({TOPIC: Position(9, epoch=1)}, ends)
    for held in ({TOPIC: Position(9, epoch=2)}, {TOPIC: Position(9)}, {TOPIC: None}, {}):
        proof.refuse_another_life(held, ends)


def test_rows_of_a_partition_that_the_source_gives_nothing_of_are_named(tmp_path: Path) -> None:
    live = filled(tmp_path)
    noted = proof.positions(tables_of(live.lake.config(), "boards"))
    given = live.selection((0, 0, 7))
    with pytest.raises(SourceError, match=r"no record of demo.boards/1, .* 2 rows"):
        proof.refuse_unstaged(live.places(V1), given, noted, Window())
    proof.refuse_unstaged(live.places(V1), given, noted, Window(first=2))
    proof.refuse_unstaged(live.places(V1), live.selection(), noted, Window())


def test_rows_before_the_first_offset_that_a_topic_holds_are_not_replaced_by_time() -> None:
    held = {TOPIC: pl.Series([4, 9])}
    with pytest.raises(SourceError, match="t/0"):
        proof.refuse_expired(gone("t/0", 5), held, TIMED)
    proof.refuse_expired(gone("t/0", 4), held, TIMED)
    proof.refuse_expired(gone("t/1", 5), held, TIMED)


def test_a_range_of_time_that_a_stream_may_have_lost_is_refused_for_its_rows() -> None:
    held = {SHARD: pl.Series([text(1, 0)])}
    with pytest.raises(SourceError, match="a later --from-time"):
        proof.refuse_expired(gone("s", None), held, TIMED)
    proof.refuse_expired(gone("s", None), {}, TIMED)
    proof.refuse_expired(gone("s", None), held, Window())


@given(st.lists(SEQUENCE, unique=True, min_size=1), SEQUENCE, SEQUENCE)
def test_a_readers_records_are_counted_by_sequence_and_sub_sequence(
    records: list[tuple[int, int]], start: tuple[int, int], end: tuple[int, int]
) -> None:
    start, end = sorted((start, end))
    own = pl.Series([text(*each) for each in records]).sort()
    spans = [(None, Position(*start)), (Position(*start), Position(*end))]
    assert keys.counts(own, spans, KINESIS) == [
        sum(each <= start for each in records),
        sum(start < each <= end for each in records),
    ]


@given(SEQUENCE)
def test_a_key_says_where_its_record_comes_next_and_where_it_was_read(at: tuple[int, int]) -> None:
    key = text(*at)
    assert keys.after(key, KINESIS) == Position(*at)
    own = pl.Series([key])
    assert keys.counts(own, [(keys.before(key, KINESIS), keys.after(key, KINESIS))], KINESIS) == [1]


@given(st.integers(0, 2**62))
def test_an_offset_is_between_its_positions(offset: int) -> None:
    span = (keys.before(offset, KAFKA), keys.after(offset, KAFKA))
    assert span == (Position(offset), Position(offset + 1))
    assert keys.counts(pl.Series([offset]), [span], KAFKA) == [1]
