"""A declaration with a new column, on real sinks in a folder and in a bucket: rolling restarts."""

import json
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from audit.verify import verify
from core.errors import SinkError, StalePosition
from pinpip.pipelines import tables_of
from sinks.delta.log import name_of
from tests.support.board_lake import NEW, OLD, BoardLake, Member, lake_of, write
from tests.support.examples import examples

OAK = {"id": 1, "title": "Oak"}
PINNED = OAK | {"pins": 3}
BOTH = pytest.mark.parametrize("lake", ["folder", "bucket"], indirect=True)


@pytest.fixture
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> BoardLake:
    """Return a lake of two rows of the old declaration; in a folder unless a test says where."""
    made = lake_of(request, tmp_path)
    write(made.config(), OAK, PINNED)
    return made


def assert_verified(lake: BoardLake, rows: int) -> None:
    report = verify(tables_of(lake.config(NEW), "boards"))
    assert (report.findings, report.unknown) == ((), ())
    assert sum(tally.clean for tally in report.tallies) == rows == lake.rows().height


def entries(lake: BoardLake) -> list[list[dict[str, Any]]]:
    """Return the actions of each entry of the clean table."""
    table, storage = lake.table(), tables_of(lake.config(), "boards").options()
    uri = tables_of(lake.config(), "boards").clean
    lines = [
        pl.scan_lines(f"{uri}/{name_of(n)}", name="line", storage_options=storage).collect()
        for n in range(table.version() + 1)
    ]
    return [[json.loads(line) for line in found["line"]] for found in lines]


def added(lake: BoardLake) -> list[int]:
    """Return the versions whose metadata has the column for the first time."""
    found, before = [], "id"
    for version, actions in enumerate(entries(lake)):
        for action in actions:
            names = action.get("metaData", {}).get("schemaString", before)
            if '"pins"' in names and '"pins"' not in before:
                found.append(version)
            before = names
    return found


@BOTH
def test_the_column_comes_with_the_first_rows_that_have_it(lake: BoardLake) -> None:
    before = lake.table().version()
    member = Member(lake.config(NEW))
    assert "pins" not in lake.rows().columns
    with capture_logs() as told:
        member.write(PINNED)
    member.close()
    assert [line["columns"] for line in told if line["event"] == "columns_added"] == [["pins"]]
    assert added(lake) == [before + 1]
    assert {"metaData", "add", "txn"} <= {k for a in entries(lake)[before + 1] for k in a}
    rows = lake.rows()
    assert rows.columns[:3] == ["id", "title", "pins"]
    assert rows["pins"].to_list() == [None, None, 3]
    assert rows["_rescued"].to_list() == [None, '{"pins": 3}', None]
    assert_verified(lake, 3)


def test_a_later_start_adds_nothing_again(lake: BoardLake) -> None:
    for _ in range(2):
        write(lake.config(NEW), PINNED)
    assert len(added(lake)) == 1
    assert_verified(lake, 4)


@BOTH
def test_an_older_member_goes_on_while_it_runs_and_its_values_are_kept(lake: BoardLake) -> None:
    old, new = Member(lake.config(), 1), Member(lake.config(NEW))
    old.write(PINNED)
    new.write(PINNED)
    with capture_logs() as told:
        old.write(PINNED)
        old.seek()  # as after a rebalance
        old.write(PINNED)
    assert [line["event"] for line in told] == ["columns_written_as_null"]
    new.write(PINNED)
    rows = lake.rows()
    assert rows.filter(_partition=1)["pins"].to_list() == [None] * 3
    assert rows.filter(_partition=1)["_rescued"].to_list() == ['{"pins": 3}'] * 3
    assert rows.filter(_partition=0)["pins"].to_list() == [None, None, 3, 3]
    assert_verified(lake, 7)


def test_an_older_member_that_starts_later_is_refused_before_it_writes(lake: BoardLake) -> None:
    old = Member(lake.config(), 1)
    write(lake.config(NEW), PINNED)
    old.write(PINNED)  # the newest file has no such column
    before = lake.table().version()
    with pytest.raises(SinkError, match="the transform does not make pins") as refused:
        Member(lake.config(), 2)
    assert "as the code that wrote them does" in refused.value.hint
    assert lake.table().version() == before


def test_two_declarations_that_run_side_by_side_stop_nobody(lake: BoardLake) -> None:
    old, new = Member(lake.config(), 1), Member(lake.config(NEW))
    new.write(PINNED)
    stopped = None
    try:
        old.write(PINNED)
    except SinkError as error:
        stopped = error
    assert stopped is None


def test_the_old_code_comes_back_with_the_column_as_null(lake: BoardLake) -> None:
    write(lake.config(NEW), PINNED)
    write(lake.config(OLD, "rows.with_columns(pl.lit(None, pl.Int64).alias('pins'))"), PINNED)
    assert lake.rows()["pins"].to_list() == [None, None, 3, None]
    assert_verified(lake, 4)


@BOTH
def test_two_members_that_add_at_once_add_one_column(lake: BoardLake) -> None:
    members = [Member(lake.config(NEW), n) for n in range(3)]
    for member in members:  # each has read the table without the column
        member.write(PINNED)
    assert len(added(lake)) == 1
    assert lake.rows()["pins"].to_list() == [None, None, 3, 3, 3]
    assert_verified(lake, 5)


def test_members_with_different_columns_add_both(lake: BoardLake) -> None:
    one = Member(lake.config(NEW), 1)
    other = Member(lake.config(OLD | {"rank": "pl.Float64()"}), 2)
    one.write(PINNED)
    other.write(PINNED | {"rank": 0.5})
    one.write(PINNED)
    rows = lake.rows()
    assert rows["pins"].to_list() == [None, None, 3, 3, None]
    assert rows["rank"].to_list() == [None, None, None, None, 0.5]
    assert_verified(lake, 5)


def test_two_members_that_disagree_on_the_type_are_not_both_right(lake: BoardLake) -> None:
    one = Member(lake.config(NEW), 1)
    other = Member(lake.config(OLD | {"pins": "pl.String()"}), 2)
    one.write(PINNED)
    with pytest.raises(SinkError, match="pins: long, not string"):
        other.write(PINNED)
    assert_verified(lake, 3)


@BOTH
def test_a_member_that_dies_before_its_entry_adds_nothing(lake: BoardLake) -> None:
    member = Member(lake.config(NEW))
    prepared = member.sinks[0].prepare(member.batch([PINNED]))
    prepared.upload()  # the data file is there, the process is not
    assert "pins" not in lake.rows().columns
    assert_verified(lake, 2)
    write(lake.config(NEW), PINNED)
    assert len(added(lake)) == 1
    assert_verified(lake, 3)


@BOTH
def test_a_zombie_with_the_new_declaration_is_fenced(lake: BoardLake) -> None:
    zombie = Member(lake.config(NEW))
    write(lake.config(), PINNED)
    with pytest.raises(StalePosition):
        zombie.write(PINNED)
    assert "pins" not in lake.rows().columns
    zombie.seek()
    zombie.write(PINNED)
    assert_verified(lake, 4)


def test_an_empty_commit_carries_the_column_too(lake: BoardLake) -> None:
    write(lake.config(NEW), b"not JSON")
    assert "pins" in lake.rows().columns
    assert_verified(lake, 2)


def test_the_quarantine_keeps_its_columns(lake: BoardLake) -> None:
    write(lake.config(NEW), b"not JSON", PINNED)
    tables = tables_of(lake.config(), "boards")
    found = pl.read_delta(tables.quarantine, storage_options=tables.options())
    assert "pins" not in found.columns
    assert found.height == 1


def test_every_reader_finds_rows_by_the_column(lake: BoardLake) -> None:
    write(lake.config(NEW), PINNED, OAK)
    write(lake.config(NEW), PINNED | {"pins": 9})
    tables = tables_of(lake.config(), "boards")
    found = pl.scan_delta(tables.clean, storage_options=tables.options())
    assert found.filter(pl.col("pins") == 9).collect().height == 1
    assert found.filter(pl.col("pins").is_null()).collect().height == 3
    opened = lake.table()
    assert opened.to_pyarrow_table(filters=[("pins", "=", 3)]).num_rows == 1
    assert opened.to_pyarrow_table(filters=[("title", "=", "Oak")]).num_rows == 5
    frame = opened.to_pyarrow_dataset()  # noqa: F841  # the query names it
    for rule, rows in (("pins > 2", 2), ("pins is null", 3), ("pins < 3", 0), ("id = 1", 5)):
        query = f"select count(*) from frame where {rule}"
        assert duckdb.connect().execute(query).fetchone() == (rows,), rule


@settings(max_examples=examples(20), deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["old", "new", "other"]), st.sampled_from(["write", "restart"])),
        max_size=8,
    )
)
def test_any_order_of_members_keeps_every_record_once(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str]]
) -> None:
    """Old members may be refused, never wrong; a value is in its column or in `_rescued`."""
    folder = tmp_path_factory.mktemp("boards")
    lake = BoardLake(folder, str(folder / "lake"))
    write(lake.config(), PINNED | {"rank": 0.5}, partition=9)
    kinds = {"old": OLD, "new": NEW, "other": NEW | {"rank": "pl.Float64()"}}
    configs = {name: lake.config(fields) for name, fields in kinds.items()}
    members: dict[str, Member | None] = {
        name: Member(config, n) for n, (name, config) in enumerate(configs.items())
    }
    written = 1
    for name, step in steps:
        if step == "restart":
            try:
                members[name] = Member(configs[name], list(kinds).index(name))
            except SinkError as refused:
                assert "does not make" in refused.message  # noqa: PT017  # or it may start
                members[name] = None
        elif (member := members[name]) is not None:
            member.write(PINNED | {"rank": 0.5})
            written += 1
    rows = lake.rows()
    assert rows.height == written
    for row in rows.iter_rows(named=True):
        kept = json.loads(row["_rescued"] or "{}")
        held = {name: row.get(name) for name in ("pins", "rank") if row.get(name) is not None}
        assert kept | held == {"pins": 3, "rank": 0.5}
    report = verify(tables_of(configs["other"], "boards"))
    assert (report.findings, report.unknown) == ((), ())


CHANGES: list[tuple[dict[str, str], str, str]] = [
    ({"id": "pl.Int64()", "title": "pl.Int64()"}, "rows", "title: string, not long"),
    (OLD, "rows.drop('title')", "the transform does not make title"),
    (OLD | {"Title": "pl.String()"}, "rows.drop('title')", "Title cannot be added"),
    (OLD, "rows.rename({'title': 'name'})", "the transform does not make title"),
    (OLD, "rows.with_columns(pl.col('id').cast(pl.Int32))", "id: long, not integer"),
    (OLD, "rows.with_columns(pl.col('id').cast(pl.Float64))", "id: long, not double"),
    (OLD, "rows.with_columns(pl.struct('title', x='id').alias('title'))", "title: string, not"),
]


@pytest.mark.parametrize(("fields", "body", "said"), CHANGES, ids=[c[2] for c in CHANGES])
def test_a_change_that_cannot_be_merged_is_refused_before_anything_is_written(
    lake: BoardLake, fields: dict[str, str], body: str, said: str
) -> None:
    before = lake.table().version()
    with pytest.raises(SinkError) as refused:
        Member(lake.config(fields, body))
    assert said in refused.value.message
    assert refused.value.hint
    assert lake.table().version() == before


def test_a_table_of_another_program_gets_no_column(tmp_path: Path) -> None:
    """It lacks the columns that all tables of pinpip have."""
    lake = BoardLake(tmp_path, str(tmp_path / "lake"))
    pl.DataFrame({"id": [1], "title": ["Oak"]}).write_delta(f"{lake.root}/boards")
    with pytest.raises(SinkError, match=r"another schema .*_key: absent"):
        Member(lake.config(NEW))
    assert DeltaTable(f"{lake.root}/boards").version() == 0
