"""`pinpip rescue` on real tables, beside consumers, compactions, kills and another rescue."""

import json
from collections.abc import Callable
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
from core.config import Config
from core.errors import ConfigError, SinkError
from pinpip import rescue as rescuing
from pinpip.cli import app
from pinpip.pipelines import tables_of
from pinpip.rescue import Rescue, rescue
from sinks.delta import txns
from tests.support.board_lake import NEW, BoardLake, Member, lake_of, write
from tests.support.examples import examples
from tests.support.interrupting import before_entry

OAK = {"id": 1, "title": "Oak"}
RECORDS: list[Any] = [
    OAK | {"pins": 3},
    OAK,
    OAK | {"pins": "3"},
    OAK | {"pins": 4, "other": 1.50},
    b"not JSON",
    OAK | {"pins": 5},
]
BOTH = pytest.mark.parametrize("lake", ["folder", "bucket"], indirect=True)


@pytest.fixture
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> BoardLake:
    """Return a lake whose older rows have values in `_rescued`, in three files, and a column."""
    made = lake_of(request, tmp_path)
    write(made.config(), *RECORDS[:2])
    write(made.config(), *RECORDS[2:4])
    write(made.config(), *RECORDS[4:])
    write(made.config(NEW), OAK | {"pins": 9})
    return made


def run(lake: BoardLake, tell: Callable[[], None] = lambda: None, **options: Any) -> Rescue:
    """Rescue; `tell` is called whenever a file was looked at."""
    config = lake.config(NEW)
    return rescue(config, "boards", SystemClock(), tell=lambda _done, _of: tell(), **options)


def once(act: Callable[[], object]) -> Callable[[], None]:
    """Return what calls `act` the first time only."""
    left = [act]

    def call() -> None:
        if left:
            left.pop()()

    return call


def fresh(folder: Path, records: list[Any]) -> pl.DataFrame:
    """Return the table that the new declaration makes of the records."""
    folder.mkdir(exist_ok=True)
    made = BoardLake(folder, str(folder / "lake"))
    write(made.config(NEW), *records)
    return made.rows()


def positions(lake: BoardLake) -> dict[str, Any]:
    return dict(txns.read(lake.table(), tables_of(lake.config(), "boards").options))


def assert_rescued(lake: BoardLake, folder: Path, more: list[Any] | None = None) -> None:
    """Assert that the table equals one that the new declaration made from the beginning."""
    wanted = fresh(folder / "fresh", [*RECORDS, OAK | {"pins": 9}, *(more or [])])
    assert_frame_equal(lake.rows(), wanted)
    report = verify(tables_of(lake.config(NEW), "boards"))
    assert (report.findings, report.unknown) == ((), ())


@BOTH
def test_rows_become_what_the_new_declaration_makes_of_them(
    lake: BoardLake, tmp_path: Path
) -> None:
    before, version = positions(lake), lake.table().version()
    done = run(lake)
    assert (done.rows, done.files, done.commits) == (3, 3, 1)
    assert (done.fields["pins"].converts, done.fields["pins"].stays) == (3, 1)
    assert positions(lake) == before
    assert_rescued(lake, tmp_path)
    again = run(lake)
    assert (again.rows, again.commits) == (0, 0)
    assert lake.table().version() == version + 1


def test_a_plan_says_what_the_run_does_and_writes_nothing(lake: BoardLake) -> None:
    version, files = lake.table().version(), sorted(Path(lake.root).rglob("*"))
    plan = run(lake, dry_run=True)
    assert (lake.table().version(), sorted(Path(lake.root).rglob("*"))) == (version, files)
    done = run(lake)
    assert (plan.rows, plan.files, plan.looked_at) == (done.rows, done.files, done.looked_at)
    assert plan.fields == done.fields
    own = plan.fields["pins"]
    assert (sorted(own.converted), own.left) == (["3", "4", "5"], ['"3"'])


@BOTH
def test_a_consumer_commits_beside_it_and_nobody_fails(lake: BoardLake, tmp_path: Path) -> None:
    member, more = Member(lake.config(NEW)), [OAK | {"pins": n} for n in range(40)]
    left = list(more)
    done = run(lake, lambda: member.write(left.pop(0)))
    while left:
        member.write(left.pop(0))
    member.close()
    assert done.rows == 3
    assert_rescued(lake, tmp_path, more)


def test_an_entry_that_took_the_version_first_is_followed(
    lake: BoardLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = [OAK | {"pins": 7}, OAK | {"pins": 8}]

    def consume() -> None:
        for record in more:
            write(lake.config(NEW), record)

    before_entry(monkeypatch, consume)
    assert run(lake).commits == 1
    assert_rescued(lake, tmp_path, more)


@pytest.mark.parametrize("late", [False, True], ids=["reading", "committing"])
def test_a_compaction_beside_it_is_planned_again(
    lake: BoardLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, late: bool
) -> None:
    def compact() -> None:
        assert lake.table().optimize.compact()["numFilesRemoved"] == 4

    if late:
        before_entry(monkeypatch, compact)
    done = run(lake, (lambda: None) if late else once(compact))
    assert done.rows == 3
    assert_rescued(lake, tmp_path)


def second(config: Config) -> Config:
    """Return the configuration with the pipeline's second incarnation."""
    own = config.pipeline("boards").model_copy(update={"incarnation": "2"})
    return config.model_copy(update={"pipelines": {"boards": own}})


def keys(config: Config) -> list[tuple[int, int]]:
    """Return partition and offset of each row that verify counts, which finds nothing wrong."""
    own = tables_of(config, "boards")
    report = verify(own)
    assert (report.findings, report.unknown) == ((), ())
    return [(tally.clean, tally.read) for tally in report.tallies]


def test_another_engine_s_file_of_two_incarnations_is_left_as_it_is(lake: BoardLake) -> None:
    later = Member(second(lake.config(NEW)), begins=True)
    later.write(OAK | {"pins": "3"})
    later.close()
    lake.table().optimize.compact()
    before = keys(lake.config(NEW)), keys(second(lake.config(NEW)))
    done = run(lake)
    assert (done.rows, done.looked_at, len(done.unknown)) == (0, 0, 1)
    assert (keys(lake.config(NEW)), keys(second(lake.config(NEW)))) == before


def test_another_engine_s_file_of_a_later_incarnation_stays_its_own(tmp_path: Path) -> None:
    made = BoardLake(tmp_path, str(tmp_path / "lake"))
    for title in ("a", "b"):
        write(second(made.config()), OAK | {"title": title, "pins": 7})
    made.table().optimize.compact()
    config = second(made.config(NEW))
    write(config, OAK | {"pins": 9})
    before = keys(config)
    done = rescue(config, "boards", SystemClock())
    assert (done.rows, done.unknown) == (2, {})
    assert keys(config) == before == [(3, 3)]


def test_another_rescue_at_the_same_time_changes_each_row_once(
    lake: BoardLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others: list[Rescue] = []
    before_entry(monkeypatch, lambda: others.append(run(lake)))
    done = run(lake)
    assert (others[0].rows, done.rows) == (3, 0)
    assert_rescued(lake, tmp_path)


def test_killed_before_its_entry_the_next_run_does_it(
    lake: BoardLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die() -> None:
        raise KeyboardInterrupt

    before_entry(monkeypatch, die)
    before = lake.rows()
    with pytest.raises(KeyboardInterrupt):
        run(lake)
    assert_frame_equal(lake.rows(), before)
    assert run(lake).rows == 3
    assert_rescued(lake, tmp_path)


def test_killed_between_two_commits_the_next_run_goes_on(
    lake: BoardLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rescuing, "_FILES", 1)
    told: list[None] = []

    def die() -> None:
        told.append(None)
        if len(told) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(lake, die)
    half = run(lake)
    assert 0 < half.rows < 3
    assert_rescued(lake, tmp_path)


def test_a_large_file_becomes_several(
    lake: BoardLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.table().optimize.compact()
    monkeypatch.setattr(rescuing, "_ROWS", 2)
    assert run(lake).rows == 3
    assert_rescued(lake, tmp_path)


def test_consumers_start_and_go_on_afterwards(lake: BoardLake, tmp_path: Path) -> None:
    run(lake)
    write(lake.config(NEW), OAK | {"pins": 10})
    with pytest.raises(SinkError, match="does not make pins"):
        write(lake.config(), OAK)
    assert_rescued(lake, tmp_path, [OAK | {"pins": 10}])


def test_every_reader_reads_the_same_afterwards(lake: BoardLake) -> None:
    run(lake)
    opened, wanted = lake.table(), [3, 4, 5, 9]
    assert sorted(v for v in opened.to_pyarrow_table()["pins"].to_pylist() if v) == wanted
    assert opened.to_pyarrow_table(filters=[("pins", "=", 4)]).num_rows == 1
    frame = opened.to_pyarrow_dataset()  # noqa: F841  # the query names it
    query = "select pins from frame where pins is not null order by 1"
    assert [own for (own,) in duckdb.connect().execute(query).fetchall()] == wanted
    opened.create_checkpoint()
    assert sorted(lake.rows()["pins"].drop_nulls()) == wanted
    opened.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    assert sorted(lake.rows()["pins"].drop_nulls()) == wanted


def test_what_cannot_be_rescued_is_one_error(lake: BoardLake, tmp_path: Path) -> None:
    wider = lake.config(NEW | {"rank": "pl.Int64()"})
    with pytest.raises(ConfigError, match="lacks rank") as refused:
        rescue(wider, "boards", SystemClock())
    assert refused.value.hint == "start its consumer, which adds them: pinpip consume boards"
    lake.table().alter.set_table_properties({"delta.appendOnly": "true"})
    with pytest.raises(SinkError, match=r"cannot be changed: it sets delta\.appendOnly"):
        run(lake)
    with pytest.raises(ConfigError, match="no table yet"):
        rescue(BoardLake(tmp_path, str(tmp_path / "none")).config(), "boards", SystemClock())


def test_the_command_tells_people_and_programs(lake: BoardLake) -> None:
    path = str(lake.path(NEW))
    plan = CliRunner().invoke(app, ["-c", path, "rescue", "boards", "--dry-run"])
    assert plan.exit_code == 0, plan.output
    assert "boards: 3 rows in 3 of 4 files would change" in plan.stdout
    done = CliRunner().invoke(app, ["-c", path, "rescue", "boards", "--json"])
    tree = json.loads(done.stdout)
    assert (tree["rows"], tree["fields"]["pins"]["columns"]) == (3, ["pins"])


@settings(max_examples=examples(15), deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["old", "new", "rescue", "compact"]),
            st.lists(st.sampled_from(RECORDS), min_size=1, max_size=3),
        ),
        max_size=7,
    )
)
def test_any_history_ends_as_the_table_of_the_new_declaration(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, list[Any]]]
) -> None:
    folder = tmp_path_factory.mktemp("boards")
    lake = BoardLake(folder, str(folder / "lake"))
    old = Member(lake.config(), 0)
    old.write(OAK)  # it runs before the column comes
    new = Member(lake.config(NEW), 1)
    new.write(OAK)
    sent: dict[int, list[Any]] = {0: [OAK], 1: [OAK]}
    for step, records in steps:
        if step == "rescue":
            run(lake)
        elif step == "compact":
            lake.table().optimize.compact()
        else:
            member = old if step == "old" else new
            member.write(*records)
            sent[int(member.partition.id)] += records
    run(lake)
    other = BoardLake(folder, str(folder / "fresh"))
    for partition, records in sent.items():
        write(other.config(NEW), *records, partition=partition)
    assert_frame_equal(lake.rows(), other.rows())
    report = verify(tables_of(lake.config(NEW), "boards"))
    assert (report.findings, report.unknown) == ((), ())
