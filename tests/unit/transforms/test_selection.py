"""`where` on records: what is taken, what is left out, and what no pipeline takes."""

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.kafka.messages import UNREADABLE
from core.batch import (
    CLAIMED,
    HEADERS,
    HEADERS_DTYPE,
    KAFKA,
    KINESIS,
    VALUE,
    Partition,
    Position,
    Records,
    Span,
)
from core.config import Pipeline
from core.selection import Where
from tests.support.memory import process
from transforms.selection import expression, selecting

NOW = datetime(2026, 1, 1, tzinfo=UTC)
P = Partition("all", "0")
HEADER_LISTS = st.lists(
    st.tuples(st.sampled_from(["type", "x"]), st.none() | st.binary(max_size=2)), max_size=3
)


def topic(
    keys: list[str | None], headers: list[list[tuple[str, bytes | None]]] | None = None
) -> Records:
    """Return records of one partition with these keys and headers."""
    given = headers or [[]] * len(keys)
    rows = [
        ("all", 0, n, key, NOW, b"{}", [{"key": k, "value": v} for k, v in own])
        for n, (key, own) in enumerate(zip(keys, given, strict=True))
    ]
    schema = {**KAFKA.metadata, VALUE: pl.Binary(), HEADERS: HEADERS_DTYPE}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return Records(frame, {P: Span(None, Position(len(keys)), len(keys))}, KAFKA)


def pipeline(**source: Any) -> Pipeline:
    """Return a pipeline with this source."""
    tree = {"schema": "m:S", "transform": "m:f", "sinks": [{"delta": "t"}]}
    return Pipeline.model_validate({"source": {"topics": ["all"]} | source, **tree})


def taken(where: dict[str, Any], records: Records) -> list[int]:
    """Return the offsets that are taken."""
    test = expression(Where.model_validate(where), KAFKA).fill_null(value=False)
    return records.frame.filter(test)["_offset"].to_list()


@pytest.mark.parametrize(
    ("test", "offsets"),
    [
        ("pin", [0]),
        (["pin", ""], [0, 2]),
        ({"prefix": "pin"}, [0, 1]),
        ({"prefix": "0x"}, [4]),
        ("0xff", [4]),
    ],
)
def test_a_key_is_compared_as_its_column_holds_it_and_null_is_left_out(
    test: Any, offsets: list[int]
) -> None:
    assert taken({"key": test}, topic(["pin", "pin-2", "", None, "0xff", "Pin"])) == offsets


@pytest.mark.parametrize(
    ("test", "offsets"), [("pin", [0, 2]), ({"prefix": "p"}, [0, 2]), (["pin", "geo"], [0, 1, 2])]
)
def test_of_several_headers_with_the_name_the_last_counts(test: Any, offsets: list[int]) -> None:
    headers: list[list[tuple[str, bytes | None]]] = [
        [("type", b"pin")],
        [("type", b"pin"), ("type", b"geo")],
        [("type", None), ("type", b"pin"), ("x", b"geo")],
        [("type", b"pin"), ("type", None)],
        [("Type", b"pin")],
        [],
        [("type", b"\xff")],
        [(UNREADABLE, None)],
    ]
    assert taken({"header": {"type": test}}, topic(["k"] * 8, headers)) == offsets


@given(headers=st.lists(HEADER_LISTS, max_size=5), text=st.text(max_size=2), prefix=st.booleans())
def test_headers_are_compared_by_their_bytes(
    headers: list[list[tuple[str, bytes | None]]], text: str, *, prefix: bool
) -> None:
    where = {"header": {"type": {"prefix": text} if prefix and text else text}}
    lasts = [next((v for k, v in own[::-1] if k == "type"), None) for own in headers]
    wanted = text.encode()
    expected = [
        n
        for n, last in enumerate(lasts)
        if last is not None and (last.startswith(wanted) if prefix and text else last == wanted)
    ]
    assert taken(where, topic([None] * len(headers), headers)) == expected


def test_what_is_left_out_is_not_decoded_and_its_span_stays() -> None:
    own = expression(Where(key="pin"), KAFKA)
    records = topic(["pin", "geo", None, "pin"])
    batch = selecting(process, own, [], KAFKA)(records)
    assert batch.raw["_offset"].to_list() == [0, 3]
    assert batch.left_out is not None
    assert batch.left_out["_offset"].to_list() == [1, 2]
    assert batch.spans == records.spans
    assert [n.get(P, 0) for n in batch.counts] == [2, 2, 0, 2, 2]


def test_a_batch_of_which_nothing_is_taken_has_no_rows() -> None:
    batch = selecting(process, expression(Where(key="no"), KAFKA), [], KAFKA)(topic(["a", None]))
    assert [n.get(P, 0) for n in batch.counts] == [0, 0, 0, 2, 2]


def test_what_no_pipeline_of_the_topic_takes_is_unclaimed() -> None:
    others = [
        pipeline(where={"key": "geo"}),
        pipeline(topics=["^al."], where={"header": {"type": "user"}}),
        pipeline(topics=["another"]),
    ]
    records = topic(["pin", "geo", None, "x"], [[], [], [("type", b"user")], []])
    batch = selecting(process, expression(Where(key="pin"), KAFKA), others, KAFKA)(records)
    assert batch.left_out is not None
    assert batch.left_out.select("_offset", CLAIMED).rows() == [(1, True), (2, True), (3, False)]


def test_a_pipeline_without_where_claims_all() -> None:
    own = expression(Where(key="pin"), KAFKA)
    batch = selecting(process, own, [pipeline()], KAFKA)(topic(["geo"]))
    assert [n.get(P, 0) for n in batch.counts[3:]] == [1, 0]


def test_the_partition_key_of_a_stream_is_compared() -> None:
    rows = [("s", "0", "1", 0, key, NOW) for key in ("pin", "geo")]
    frame = pl.DataFrame(rows, schema=dict(KINESIS.metadata), orient="row")
    where = Where(partition_key="pin")
    assert frame.filter(expression(where, KINESIS))["_partition_key"].to_list() == ["pin"]
