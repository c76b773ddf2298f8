"""A table that somebody made beforehand is written when an append obeys it, or refused by name."""

from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable, Field, Schema
from deltalake.schema import ArrayType, MapType, PrimitiveType, StructType

from core.batch import KAFKA, KINESIS, RESCUED, Coordinates
from core.errors import SinkError
from sinks.delta import features
from tests.support.batches import CLEAN_SCHEMA
from tests.support.pairs import A, Pair

TEXT = PrimitiveType("string")
NUMBERS = PrimitiveType("double")


def made(pair: Pair, *columns: Field) -> None:
    """Create the clean table outside pinpip, with these columns in place of the plain ones."""
    plain = CLEAN_SCHEMA | dict(pair.coordinates.metadata) | {RESCUED: pl.String()}
    fields = {f.name: f for f in Schema.from_arrow(pl.Schema(plain)).fields}
    fields |= {f.name: f for f in columns}
    DeltaTable.create(pair.uri("clean"), Schema(list(fields.values())))


def refusal(pair: Pair) -> str:
    """Return the error of a consumer that stops before it reads or writes."""
    with pytest.raises(SinkError) as raised:
        pair.write(pair.log.batch({A: (0, 9)}))
    assert raised.value.hint
    assert list(Path(pair.uri("clean")).rglob("*.parquet")) == []
    return raised.value.message


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (Field("title", TEXT, nullable=False), "NOT NULL of column title"),
        (
            Field("title", TEXT, metadata={"delta.generationExpression": "_key"}),
            "a generated value of column title",
        ),
        (
            Field(
                "ind",
                PrimitiveType("long"),
                metadata={"delta.identity.start": 1, "delta.identity.step": 1},
            ),
            "an identity of column ind",
        ),
        (Field("title", TEXT, metadata={"CURRENT_DEFAULT": "'x'"}), "a default of column title"),
        (
            Field("title", TEXT, metadata={"delta.invariants": '{"expression":{}}'}),
            "an invariant of column title",
        ),
        (
            Field("title", TEXT, metadata={"__CHAR_VARCHAR_TYPE_STRING": "varchar(9)"}),
            "a limited length of column title",
        ),
        (Field("pair", ArrayType(NUMBERS, contains_null=False)), "pair: "),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_a_column_that_asks_more_than_an_append_is_refused_by_its_name(
    tmp_path: Path, column: Field, said: str
) -> None:
    pair = Pair(str(tmp_path), KAFKA)
    made(pair, column)
    assert said in refusal(pair)


def test_a_check_is_refused_with_its_rule(tmp_path: Path) -> None:
    pair = Pair(str(tmp_path), KAFKA)
    made(pair)
    pair.table("clean").alter.add_constraint({"short": "ind < 3"})
    assert "CHECK short (ind < 3)" in refusal(pair)


def test_all_that_a_table_asks_is_said_at_once(tmp_path: Path) -> None:
    pair = Pair(str(tmp_path), KAFKA)
    made(pair, Field("title", TEXT, nullable=False), Field("_key", TEXT, nullable=False))
    assert "it uses NOT NULL of column _key, NOT NULL of column title" in refusal(pair)


@pytest.mark.parametrize("coordinates", [KAFKA, KINESIS], ids=lambda c: c.kind)
def test_columns_that_name_a_record_may_be_not_null(
    tmp_path: Path, coordinates: Coordinates
) -> None:
    pair = Pair(str(tmp_path), coordinates)
    types = Schema.from_arrow(pl.Schema(dict(coordinates.metadata))).fields
    never = [f for f in types if f.name in coordinates.identity]
    made(pair, *(Field(f.name, f.type, nullable=False) for f in never))
    pair.write(pair.log.batch({A: (0, 9)}))
    assert pair.rows("clean").height == 6


def test_comments_ask_nothing(tmp_path: Path) -> None:
    pair = Pair(str(tmp_path), KAFKA)
    made(pair, Field("title", TEXT, metadata={"comment": "what the pin says"}))
    pair.write(pair.log.batch({A: (0, 9)}))
    assert pair.rows("clean").height == 6


INNER = StructType([Field("deep", TEXT, nullable=False)])


@pytest.mark.parametrize(
    "outer", [INNER, ArrayType(INNER), MapType(TEXT, INNER)], ids=["struct", "array", "map"]
)
def test_what_a_column_within_a_column_asks_is_found(
    tmp_path: Path, outer: StructType | ArrayType | MapType
) -> None:
    found = DeltaTable.create(str(tmp_path), Schema([Field("top", outer)]))
    with pytest.raises(SinkError, match=r"NOT NULL of column top\.deep"):
        features.refuse_unwritable(found, str(tmp_path))
