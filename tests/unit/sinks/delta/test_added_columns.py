"""Columns that another program adds to a table: null in our rows, or one clear error."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from deltalake import DeltaTable, Field
from deltalake.schema import ArrayType, MapType, PrimitiveType, StructType
from structlog.testing import capture_logs

from audit.reread import Comparison
from audit.verify import snapshots, verify
from core.batch import KAFKA, KINESIS
from core.errors import SinkError
from sinks.delta import table
from sinks.delta.log import name_of
from tests.support.pairs import A, B, Pair, Stage

TEXT = PrimitiveType("string")
INNER = StructType([Field("a", PrimitiveType("long")), Field("b", ArrayType(TEXT))])
TYPES: list[Any] = [
    TEXT,
    PrimitiveType("decimal(10,2)"),
    PrimitiveType("binary"),
    PrimitiveType("timestamp"),
    INNER,
    MapType(TEXT, INNER),
    ArrayType(MapType(TEXT, TEXT)),
]
ADDED = [Field(f"x{n}", dtype) for n, dtype in enumerate(TYPES)]
NAMES = [field.name for field in ADDED]


@pytest.fixture(params=[KAFKA, KINESIS], ids=lambda c: c.kind)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    """Ten records of two partitions."""
    made = Pair(str(tmp_path), request.param)
    made.write(made.log.batch({A: (0, 10), B: (0, 10)}))
    return made


def altered(pair: Pair, stage: Stage, change: Any) -> None:
    """Change the table's metadata as Spark does: one metaData action in the next version."""
    found = pair.table(stage)
    log = Path(pair.uri(stage), "_delta_log")
    [action] = [
        json.loads(line)["metaData"]
        for path in sorted(log.glob("*.json"))[:1]
        for line in path.read_text().splitlines()
        if "metaData" in line
    ]
    schema = json.loads(found.schema().to_json())
    change(schema["fields"], action["configuration"])
    action["schemaString"] = json.dumps(schema)
    info = {"timestamp": 1, "operation": "ADD COLUMNS", "engineInfo": "Apache-Spark/4.0.0"}
    lines = [{"commitInfo": info}, {"metaData": action}]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (log / Path(name_of(found.version() + 1)).name).write_text(text)


def field(
    name: str, dtype: Any = "string", told: dict[str, Any] | None = None, *, nullable: bool = True
) -> Any:
    """Return a column as a log spells it; `told` is its metadata."""
    return {"name": name, "type": dtype, "nullable": nullable, "metadata": told or {}}


def test_added_columns_of_any_type_are_null_and_noted_once(pair: Pair) -> None:
    stages: tuple[Stage, ...] = ("clean", "rejected")
    for stage in stages:
        pair.table(stage).alter.add_columns(ADDED)
    with capture_logs() as told:
        pair.write(*(pair.log.batch({A: (n, n + 5), B: (n, n + 5)}) for n in (10, 15)))
    noted = [line for line in told if line["event"] == "columns_written_as_null"]
    assert [(line["table"], line["columns"]) for line in noted] == [
        (pair.uri(stage), NAMES) for stage in stages
    ]
    for stage in stages:
        rows = pair.rows(stage)
        assert rows.select(NAMES).null_count().row(0) == (rows.height,) * len(NAMES)
    report = verify(pair.tables)
    assert (report.findings, report.unknown) == ((), ())
    assert [t.clean + t.quarantined for t in report.tallies] == [20, 20]


def test_a_column_that_appears_between_two_commits_stops_nobody(tmp_path: Path) -> None:
    pair = Pair(str(tmp_path), KAFKA)
    for stage in ("clean", "rejected"):
        sink = pair.sink(stage)
        sink.positions([pair.log.partition(A)])
        sink.write(pair.log.batch({A: (0, 10)}))
        altered(
            pair,
            stage,
            lambda fields, _: fields.insert(1, field("note", told={"comment": "by hand"})),
        )
        with capture_logs() as told:
            sink.write(pair.log.batch({A: (10, 20)}))
            pair.table(stage).alter.add_columns([Field("later", INNER)])
            sink.write(pair.log.batch({A: (20, 30)}))
        sink.close()
        assert [line["columns"] for line in told] == [["note"], ["later"]]
    assert verify(pair.tables).findings == ()
    assert pair.rows("clean").height + pair.rows("rejected").height == 30
    assert pair.rows("clean").columns[1] == "note"


def test_every_reader_finds_the_rows_by_an_added_column(pair: Pair) -> None:
    pair.table("clean").alter.add_columns([Field("rank", PrimitiveType("long"))])
    pair.write(pair.log.batch({A: (10, 20)}))
    pair.table("clean").update({"rank": "7"}, predicate="ind < 5")
    seen = pair.rows("clean").filter(pl.col("rank") == 7).height
    all_ = pair.rows("clean").height
    assert 0 < seen < all_
    opened = pair.table("clean")
    assert opened.to_pyarrow_table(filters=[("rank", "=", 7)]).num_rows == seen
    assert opened.to_pyarrow_table().num_rows == all_
    found = pl.scan_delta(pair.uri("clean")).filter(pl.col("rank").is_null()).collect()
    assert found.height == all_ - seen
    connection = duckdb.connect()
    frame = opened.to_pyarrow_dataset()  # noqa: F841  # the query names it
    query = "select count(*) from frame where rank is null"
    assert connection.execute(query).fetchone() == (all_ - seen,)


def test_a_checkpoint_and_a_rewrite_keep_the_added_column(pair: Pair) -> None:
    pair.table("clean").alter.add_columns(ADDED[:4])
    pair.write(pair.log.batch({A: (10, 20)}))
    table.checkpoint(pair.uri("clean"), dict)
    pair.table("clean").optimize.compact()
    pair.write(pair.log.batch({A: (20, 30), B: (10, 20)}))
    report = verify(pair.tables)
    assert (report.findings, report.unknown) == ((), ())


def test_an_older_table_gets_its_property_and_keeps_the_added_column(tmp_path: Path) -> None:
    """The next commit rewrites the metadata: the columns of others stay as they are."""
    pair = Pair(str(tmp_path), KAFKA)
    pair.write(pair.log.batch({A: (0, 10)}))
    added = [
        field("note", told={"comment": "by hand"}),
        field("nested", {"type": "struct", "fields": [field("a", "long", {"comment": "deep"})]}),
    ]

    def change(fields: list[Any], configuration: dict[str, str]) -> None:
        fields[2:2] = added
        configuration.clear()
        configuration["owner"] = "somebody"

    altered(pair, "clean", change)
    pair.write(pair.log.batch({A: (10, 20)}))
    found = pair.table("clean")
    assert json.loads(found.schema().to_json())["fields"][2:4] == added
    properties = found.metadata().configuration
    assert (properties["owner"], "delta.dataSkippingStatsColumns" in properties) == (
        "somebody",
        True,
    )
    assert verify(pair.tables).findings == ()


def test_content_is_compared_without_the_added_column(tmp_path: Path) -> None:
    pair = Pair(str(tmp_path), KAFKA)
    pair.write(pair.log.batch({A: (0, 10)}))
    pair.table("clean").alter.add_columns(ADDED)
    pair.write(pair.log.batch({A: (10, 20)}))
    clean, quarantine = snapshots(pair.tables)
    partition = pair.log.partition(A)
    again = Comparison([clean, quarantine], {partition: pair.log.position(0)}, KAFKA)
    again.write(pair.log.batch({A: (0, 20)}))
    assert (again.findings(), sum(again.rows.values())) == ([], 20)


@pytest.mark.parametrize(
    ("added", "properties", "said"),
    [
        (field("x", nullable=False), {}, "NOT NULL of column x"),
        (field("x", told={"CURRENT_DEFAULT": "'a'"}), {}, "a default of column x"),
        (
            field("x", told={"delta.generationExpression": "ind"}),
            {},
            "a generated value of column x",
        ),
        (field("x", told={"delta.identity.start": 1}), {}, "an identity of column x"),
        (field("x", told={"delta.invariants": "{}"}), {}, "an invariant of column x"),
        (
            field("x", told={"__CHAR_VARCHAR_TYPE_STRING": "varchar(3)"}),
            {},
            "a limited length of column x",
        ),
        (
            field("x", {"type": "struct", "fields": [field("y", nullable=False)]}),
            {},
            "NOT NULL of column x.y",
        ),
        (field("x"), {"delta.constraints.c": "x is not null"}, "CHECK c"),
        (field("x"), {"delta.columnMapping.mode": "name"}, "columnMapping"),
        (field("_incarnation", "long"), {}, "_incarnation: long, not absent"),
    ],
)
def test_an_added_column_that_asks_for_more_is_refused_by_its_name(
    tmp_path: Path, added: Any, properties: dict[str, str], said: str
) -> None:
    pair = Pair(str(tmp_path), KAFKA)
    pair.write(pair.log.batch({A: (0, 10)}))

    def change(fields: list[Any], configuration: dict[str, str]) -> None:
        fields.append(added)
        configuration.update(properties)

    altered(pair, "clean", change)
    with pytest.raises(SinkError) as refused:
        pair.write(pair.log.batch({A: (10, 20)}))
    assert said in refused.value.message


@pytest.mark.parametrize("rewritten", [False, True])
def test_a_column_that_the_transform_no_longer_makes_is_refused(
    tmp_path: Path, *, rewritten: bool
) -> None:
    """Null in its place would lose data, also where another engine rewrote our files."""
    pair = Pair(str(tmp_path), KAFKA)
    pair.write(pair.log.batch({A: (0, 10)}))
    pair.write(pair.log.batch({A: (10, 20)}))
    if rewritten:
        pair.table("clean").optimize.compact()
    sink = pair.sink("clean")
    target = sink._target
    schema = pl.Schema({name: t for name, t in target.schema.items() if name != "title"})
    sink = type(sink)("clean", replace(target, schema=schema), sink._store, sink._clock)
    with pytest.raises(SinkError, match="the transform does not make title") as refused:
        sink.positions([pair.log.partition(A)])
    assert "let the transform return these columns" in refused.value.hint


def test_a_table_that_another_program_made_may_have_more_columns(tmp_path: Path) -> None:
    pair = Pair(str(tmp_path), KAFKA)
    fields = [Field(n, t) for n, t in (("more", TEXT), ("nested", INNER))]
    made = Pair(str(tmp_path / "like"), KAFKA)
    made.write(made.log.batch({A: (0, 1)}))
    own = made.table("clean").schema().fields
    DeltaTable.create(pair.uri("clean"), type(made.table("clean").schema())([*fields, *own]))
    pair.write(pair.log.batch({A: (0, 10)}))
    assert verify(pair.tables).findings == ()
