"""`pinpip maintain` on real tables, beside consumers, rescues, compactions of others, and kills."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from typer.testing import CliRunner

from audit.verify import verify
from core.clock import SystemClock
from core.errors import ConfigError, SinkError
from pinpip.cli import app
from pinpip.maintain import maintain
from pinpip.pipelines import tables_of
from pinpip.rescue import rescue
from pinpip.upkept import Upkeep
from sinks.delta import compaction, file_writer, rewrite, txns
from sinks.delta.log import DeltaLog
from sinks.delta.maintainer import Election
from tests.support.aws import TestAws
from tests.support.board_lake import NEW, BoardLake, Member, write
from tests.support.examples import examples
from tests.support.interrupting import before_entry

BOTH = pytest.mark.parametrize("lake", ["folder", "bucket"], indirect=True)
SMALL_FILES = {"maintain": {"target": "20KB", "memory": "1MiB"}}
BAD = b"not JSON"


def board(number: int, **more: Any) -> dict[str, Any]:
    return {"id": number * 7919 % 1000, "title": f"board {number}"} | more


@pytest.fixture
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> BoardLake:
    """Return a lake of twelve commits in one table, each with a bad record for the other."""
    sections: dict[str, Any] = dict(SMALL_FILES)
    root = str(tmp_path / "lake")
    if getattr(request, "param", "folder") == "bucket":
        aws: TestAws = request.getfixturevalue("aws")
        keys = {"access_key_id": "local", "secret_access_key": "local"}
        sections |= {"aws": {"endpoint_url": aws.endpoint, **keys}}
        root = f"s3://{aws.bucket()}/lake"
    made = BoardLake(tmp_path, root, sections)
    member = Member(made.config())
    for n in range(12):
        member.write(board(2 * n), BAD, board(2 * n + 1, pins=n))
    member.close()
    return made


def run(lake: BoardLake, **options: Any) -> list[Upkeep]:
    return list(maintain(lake.config(), "boards", SystemClock(), **options))


def run_unelected(lake: BoardLake) -> list[Upkeep]:
    """Run beside another, as clocks that differ allow."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Election, "won", lambda _: True)
        return run(lake)


def state(lake: BoardLake) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return the rows, and what the table says of positions and owner."""
    options = tables_of(lake.config(), "boards").options
    return lake.rows(), dict(txns.read(lake.table(), options))


def assert_same(lake: BoardLake, before: tuple[pl.DataFrame, dict[str, Any]]) -> None:
    """Assert that rows and positions are those, and that verify knows all and finds nothing."""
    rows, positions = state(lake)
    assert_frame_equal(rows, before[0])
    assert positions == before[1]
    assert_sound(lake)


def assert_sound(lake: BoardLake) -> None:
    report = verify(tables_of(lake.config(), "boards"))
    assert (report.findings, report.unknown) == ((), ())


def files(lake: BoardLake) -> int:
    return len(lake.table().get_add_actions().to_struct_array())


@BOTH
def test_small_files_become_few_and_nothing_else_changes(lake: BoardLake) -> None:
    assert_sound(lake)
    before = state(lake)
    clean, rejected = run(lake)
    assert (clean.merged, clean.rows, clean.small <= 2) == (12, 24, True)
    assert (rejected.merged, rejected.rows) == (12, 12)
    assert files(lake) == clean.files == clean.made < 4
    assert_same(lake, before)


@BOTH
def test_done_twice_the_second_changes_nothing(lake: BoardLake) -> None:
    run(lake)
    version, before = lake.table().version(), state(lake)
    again = run(lake)
    assert [(one.merged, one.commits) for one in again] == [(0, 0), (0, 0)]
    assert lake.table().version() == version
    assert_same(lake, before)


def test_a_plan_says_what_the_run_begins_with_and_writes_nothing(lake: BoardLake) -> None:
    version, before = lake.table().version(), sorted(Path(lake.root).rglob("*"))
    plan = run(lake, dry_run=True)
    assert (lake.table().version(), sorted(Path(lake.root).rglob("*"))) == (version, before)
    done = run(lake)
    assert [(one.merged, one.merged_bytes) for one in plan] == [
        (one.merged, one.merged_bytes) for one in done
    ]
    assert [(one.files, one.small) for one in plan] == [(12, 12), (12, 12)]


def test_the_log_says_that_no_data_changed_and_moves_no_position(lake: BoardLake) -> None:
    before = lake.table().version()
    run(lake)
    [entry] = [
        path.read_text()
        for path in sorted(Path(lake.table().table_uri.removeprefix("file://")).glob("*/*.json"))
        if path.stem.isdecimal() and int(path.stem) > before
    ]
    actions = [json.loads(line) for line in entry.splitlines()]
    assert {kind for action in actions for kind in action} == {"commitInfo", "remove", "add"}
    moved = [own["dataChange"] for action in actions[1:] for own in action.values()]
    assert moved == [False] * len(moved)
    assert actions[0]["commitInfo"]["operation"] == "OPTIMIZE"


def test_rows_are_sorted_by_key_so_that_a_look_up_skips_files(
    lake: BoardLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_writer, "rows_of_slice", lambda _: 500)
    monkeypatch.setattr(compaction, "_LARGEST", 100)
    member = Member(lake.config())
    for n in range(40):
        member.write(*[board(100 * n + m, title=str(hash((n, m)))) for m in range(60)])
    member.close()
    before = state(lake)
    [clean, _] = run(lake)
    assert clean.sorted_by == ["id", "_topic", "_partition", "_offset"]
    found = pl.DataFrame(lake.table().get_add_actions(flatten=True)).sort("min.id")
    assert found.height > 2
    assert (found["max.id"].head(-1) <= found["min.id"].slice(1)).all()
    assert_same(lake, before)


@BOTH
def test_a_consumer_that_commits_meanwhile_never_fails(
    lake: BoardLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    member, left = Member(lake.config()), list(range(100, 130))

    class Log(DeltaLog):
        def append(self, entry: Any) -> Any:
            if len(left) > 20:
                member.write(board(left.pop()))
            return super().append(entry)

    monkeypatch.setattr(rewrite, "DeltaLog", Log)
    clean, _ = run(lake)
    while left:
        member.write(board(left.pop()))
    member.close()
    assert clean.commits == 1
    assert lake.rows().height == 24 + 30
    assert_sound(lake)


@pytest.mark.parametrize("others", ["delta-rs", "pinpip"])
@pytest.mark.parametrize("late", [False, True], ids=["looking", "putting"])
def test_files_that_another_writer_removed_are_planned_again(
    lake: BoardLake, monkeypatch: pytest.MonkeyPatch, others: str, *, late: bool
) -> None:
    before = state(lake)

    def another(*_: object) -> None:
        monkeypatch.undo()
        if others == "pinpip":
            assert run_unelected(lake)[0].merged == 12
        else:
            lake.table().optimize.compact()

    if late:
        before_entry(monkeypatch, another)
    else:
        monkeypatch.setattr(compaction, "_check", another)
    clean, _ = run(lake)
    assert clean.merged == 0
    assert_same(lake, before)


@BOTH
def test_killed_before_its_entry_the_table_is_as_it_was_and_the_next_run_does_it(
    lake: BoardLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(lake)

    def die() -> None:
        raise KeyboardInterrupt

    before_entry(monkeypatch, die)
    with pytest.raises(KeyboardInterrupt):
        run(lake)
    assert_same(lake, before)
    assert run(lake)[0].merged == 12
    assert_same(lake, before)


def test_files_that_are_large_enough_stay(lake: BoardLake) -> None:
    run(lake)
    held = set(pl.DataFrame(lake.table().get_add_actions())["path"])
    smaller = BoardLake(lake.folder, lake.root, {"maintain": {"target": "4KB"}})
    for n in range(6):
        write(smaller.config(), board(100 + n))
    run(smaller)
    assert held <= set(pl.DataFrame(smaller.table().get_add_actions())["path"])
    assert_sound(lake)


def test_files_of_other_engines_and_with_deletion_vectors_stay(lake: BoardLake) -> None:
    lake.table().optimize.compact()
    version = lake.table().version()
    clean, _ = run(lake)
    assert (clean.merged, lake.table().version()) == (0, version)


def test_an_append_only_table_can_be_merged(lake: BoardLake) -> None:
    lake.table().alter.set_table_properties({"delta.appendOnly": "true"})
    before = state(lake)
    assert run(lake)[0].merged == 12
    assert_same(lake, before)


def test_a_file_with_other_rows_than_the_log_says_is_one_error(lake: BoardLake) -> None:
    path = Path(tables_of(lake.config(), "boards").clean)
    some = min(path.glob("*.parquet"))
    pl.read_parquet(some).head(1).write_parquet(some)
    version = lake.table().version()
    with pytest.raises(SinkError, match="have 23 rows, not 24 as its log says"):
        run(lake)
    assert lake.table().version() == version


def test_every_reader_reads_the_same_afterwards(lake: BoardLake) -> None:
    before = lake.rows()
    wanted = before["id"].sort().to_list()
    run(lake)
    opened = lake.table()
    assert sorted(opened.to_pyarrow_table()["id"].to_pylist()) == wanted
    one = opened.to_pyarrow_table(filters=[("id", "=", wanted[5])])
    assert one.num_rows == wanted.count(wanted[5])
    frame = opened.to_pyarrow_dataset()  # noqa: F841  # the query names it
    query = "select id, title from frame order by _partition, _offset"
    assert duckdb.connect().execute(query).fetchall() == before.select("id", "title").rows()
    opened.create_checkpoint()
    assert_frame_equal(lake.rows(), before)
    opened.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    assert_frame_equal(lake.rows(), before)


def test_the_command_tells_people_and_programs(lake: BoardLake) -> None:
    path = str(lake.path())
    plan = CliRunner().invoke(app, ["-c", path, "maintain", "--dry-run"])
    assert plan.exit_code == 0, plan.output
    assert "24 files would be merged" in plan.stdout
    done = CliRunner().invoke(app, ["-c", path, "maintain", "boards", "--json"])
    assert [one["merged"] for one in json.loads(done.stdout)] == [12, 12]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--every", "10x"], "is no time"),
        (["--every", "0s"], "less than a second"),
        (["--every", "1h", "--dry-run"], "goes with neither"),
    ],
)
def test_a_wrong_option_is_one_usage_error(lake: BoardLake, options: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["-c", str(lake.path()), "maintain", *options])
    assert done.exit_code == 2
    assert said in " ".join(done.output.replace("│", " ").split())


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"retention": "1h"}, "must be a day at least"),
        ({"retention": "7"}, "is no time"),
        ({"target": 0}, "must be more than 0"),
    ],
)
def test_a_policy_that_is_not_safe_is_refused(
    tmp_path: Path, section: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        BoardLake(tmp_path, str(tmp_path / "lake"), {"maintain": section}).config()


@settings(max_examples=examples(12), deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from([0, 1]), st.integers(1, 4)),
            st.sampled_from(["maintain", "killed", "beside", "rescue", "compact"]),
        ),
        max_size=14,
    )
)
def test_any_history_has_the_rows_and_positions_of_its_appends(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int] | str]
) -> None:
    folder = tmp_path_factory.mktemp("boards")
    lake = BoardLake(folder, str(folder / "lake"), SMALL_FILES)
    other = BoardLake(folder, str(folder / "alone"))
    members = [[Member(at.config(NEW), n) for at in (lake, other)] for n in (0, 1)]

    def append(number: int, count: int) -> None:
        for member in members[number]:
            records = [board(member.next + n, pins=str(n) if n % 2 else n) for n in range(count)]
            member.write(*records, BAD)

    for step in steps:
        if isinstance(step, tuple):
            append(*step)
        elif _exists(lake):
            _act(step, lake, lambda: append(0, 2))
    for pair in members:
        for member in pair:
            member.close()
    if _exists(other):
        assert_frame_equal(lake.rows(), other.rows())
        report = verify(tables_of(lake.config(NEW), "boards"))
        assert (report.findings, report.unknown) == ((), ())


def _exists(lake: BoardLake) -> bool:
    return Path(tables_of(lake.config(), "boards").clean, "_delta_log").exists()


def _act(step: str, lake: BoardLake, append: Callable[[], None]) -> None:
    if step == "rescue":
        rescue(lake.config(NEW), "boards", SystemClock())
        return
    if step == "compact":
        lake.table().optimize.compact()
        return
    with pytest.MonkeyPatch.context() as patched, suppress(KeyboardInterrupt):
        if step != "maintain":
            before_entry(patched, append if step == "beside" else _die)
        list(maintain(lake.config(NEW), "boards", SystemClock()))


def _die() -> None:
    raise KeyboardInterrupt
