"""`pinpip quarantine requeue` on real tables, beside consumers, compactions, kills and another."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from typer.testing import CliRunner

from audit.verify import verify
from consumers.window import Window
from core.batch import KINESIS, Partition, Position, Records, Span
from core.clock import SystemClock
from core.config import Config
from core.errors import SinkError
from pinpip import configfile
from pinpip.cli import app
from pinpip.pipelines import process_of, sinks_of, tables_of
from pinpip.quarantine import requeue as requeueing
from pinpip.quarantine.requeue import UNREAD, Requeued, requeue
from pinpip.quarantine.rows import Choice, choice_of
from sinks.delta import rewrite, txns
from sinks.delta.log import DeltaLog
from tests.support.board_lake import BEGAN, BoardLake, Member, lake_of, write
from tests.support.examples import examples
from tests.support.places import ROOT

# The transform of before fails on titles that are no numbers, the one of today on none.
STRICT = 'rows.with_columns(pl.col("title").cast(pl.Int64).cast(pl.String))'
RECORDS: list[Any] = [
    {"id": 1, "title": "7"},
    {"id": 2, "title": "Oak"},
    b"{",
    {"id": 3, "title": "Elm"},
    {"id": 4, "title": "8"},
    {"id": 5, "title": "Yew"},
]
PASSING = 3
BOTH = pytest.mark.parametrize("lake", ["folder", "bucket"], indirect=True)


@pytest.fixture
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> BoardLake:
    """Return a lake with rejects in two files, three of which pass today."""
    made = lake_of(request, tmp_path)
    write(made.config(body=STRICT), *RECORDS[:4])
    write(made.config(body=STRICT), *RECORDS[4:])
    return made


def run(lake: BoardLake, choice: Choice = Choice(), **options: Any) -> Requeued:  # noqa: B008
    """Requeue by the transform of today."""
    return requeue(lake.config(), "boards", choice, SystemClock(), **options)


def chosen(lake: BoardLake, **words: Any) -> Choice:
    return choice_of(lake.config(), "boards", **words)


def quarantined(lake: BoardLake) -> list[tuple[int, int]]:
    tables = tables_of(lake.config(), "boards")
    rows = pl.read_delta(tables.quarantine, storage_options=tables.options())
    return sorted(rows.select("_partition", "_offset").rows())


def versions(lake: BoardLake) -> tuple[int, int]:
    tables = tables_of(lake.config(), "boards")
    uris = (tables.clean, tables.quarantine)
    clean, bad = (DeltaTable(u, storage_options=tables.options()).version() for u in uris)
    return clean, bad


def positions(lake: BoardLake) -> dict[str, Any]:
    """Return what the consumers' own app ids say."""
    told = txns.read(lake.table(), tables_of(lake.config(), "boards").options)
    return {app: own for app, own in told.items() if not app.startswith("replaced:")}


def assert_exact(lake: BoardLake) -> None:
    """Assert that verify finds nothing, and knows everything."""
    report = verify(tables_of(lake.config(), "boards"))
    assert (report.findings, report.unknown) == ((), ())


def assert_as_today(lake: BoardLake, folder: Path, sent: dict[int, list[Any]]) -> None:
    """Assert that both tables have the records as if today's transform had read all of them."""
    folder.mkdir(exist_ok=True)
    other = BoardLake(folder, str(folder / "lake"))
    for partition, records in sent.items():
        write(other.config(), *records, partition=partition)
    assert_frame_equal(lake.rows(), other.rows())
    assert quarantined(lake) == quarantined(other)
    assert_exact(lake)


@BOTH
def test_what_passes_leaves_the_quarantine_and_is_as_a_consumer_writes_it(
    lake: BoardLake, tmp_path: Path
) -> None:
    before = positions(lake)
    done = run(lake)
    assert (done.chosen, done.passing, done.failing) == (4, PASSING, {"not_json": 1})
    assert (done.commits, done.finished) == (1, False)
    assert positions(lake) == before
    assert_as_today(lake, tmp_path / "fresh", {0: RECORDS})
    after = versions(lake)
    again = run(lake)
    assert (again.passing, again.commits, again.failing) == (0, 0, {"not_json": 1})
    assert versions(lake) == after


def test_a_plan_says_what_the_run_does_and_writes_nothing(lake: BoardLake) -> None:
    files = sorted(Path(lake.root).rglob("*"))
    plan = run(lake, dry_run=True)
    assert sorted(Path(lake.root).rglob("*")) == files
    done = run(lake)
    assert (plan.chosen, plan.passing) == (done.chosen, done.passing)
    assert (plan.failing, plan.left) == (done.failing, done.left)
    assert plan.commits == 0


def test_records_of_a_stream_are_moved_by_sequence_and_sub_sequence(lake: BoardLake) -> None:
    strict, today = (stream_config(lake, body) for body in (STRICT, "rows"))
    sequence = 49590338271490256608559692538361571095921575989136588898
    payloads = [b"{", b'{"id": 1, "title": "Oak"}', b'{"id": 2, "title": "7"}', b"["]
    given = {
        "_stream": ["boards"] * 4,
        "_shard": ["shardId-000000000000"] * 4,
        "_sequence": [f"{sequence + n // 2:064d}" for n in range(4)],
        "_subsequence": [n % 2 for n in range(4)],
        "_partition_key": ["k"] * 4,
        "_timestamp": [BEGAN] * 4,
        "_value": payloads,
    }
    frame = pl.DataFrame(given, schema={**KINESIS.metadata, "_value": pl.Binary()})
    end = Span(None, Position(sequence + 1, 1), 4)
    records = Records(frame, {Partition("boards", "shardId-000000000000"): end}, KINESIS)
    process = process_of(strict.pipeline("boards"), keep_values=False)
    for sink in sinks_of(strict, "boards", process, SystemClock()):
        sink.positions(list(records.spans))
        sink.write(process(records))
        sink.close()
    done = requeue(today, "boards", Choice(), SystemClock())
    assert (done.passing, done.failing) == (1, {"not_json": 2})
    tables = tables_of(today, "boards")
    clean, bad = (pl.read_delta(uri) for uri in (tables.clean, tables.quarantine))
    wanted = process_of(today.pipeline("boards"), keep_values=False)(records)
    for held, own in ((clean, wanted.clean), (bad, wanted.rejected)):
        assert_frame_equal(
            held.select(*KINESIS.metadata).sort(KINESIS.identity), own.select(*KINESIS.metadata)
        )
    assert_frame_equal(clean.sort(KINESIS.identity), wanted.clean)
    assert verify(tables).findings == ()


def stream_config(lake: BoardLake, body: str) -> Config:
    """Return a configuration whose boards come from a stream, into another table."""
    path = lake.path(body=body)
    tree = yaml.safe_load(path.read_text())
    tree["pipelines"]["boards"] |= {
        "source": {"stream": "boards"},
        "sinks": [{"delta": "streamed"}],
    }
    path.with_suffix(".stream.yaml").write_text(yaml.safe_dump(tree))
    return configfile.load(path.with_suffix(".stream.yaml"), {})


def test_only_what_was_chosen_is_moved(lake: BoardLake) -> None:
    done = run(lake, chosen(lake, reasons=["transform_failed"], partition="0"))
    assert (done.chosen, done.failing) == (3, {})
    assert quarantined(lake) == [(0, 2)]
    assert_exact(lake)


def test_a_reason_that_nothing_has_moves_nothing(lake: BoardLake) -> None:
    before = versions(lake)
    assert run(lake, chosen(lake, reasons=["tombstone"])).chosen == 0
    assert versions(lake) == before


@BOTH
def test_a_consumer_commits_beside_it_and_nobody_fails(lake: BoardLake, tmp_path: Path) -> None:
    member, sent = Member(lake.config(), 1), list[Any]()

    def consume(_step: str) -> None:
        for record in (RECORDS[0], b"["):
            member.write(record)
            sent.append(record)

    done = run(lake, reached=consume)
    consume("")
    member.close()
    assert done.passing == PASSING
    assert_as_today(lake, tmp_path / "fresh", {0: RECORDS, 1: sent})


@pytest.mark.parametrize("other", ["consumer", "compaction", "requeue"])
def test_an_entry_that_took_the_version_first_is_followed_or_planned_again(
    lake: BoardLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    sent: list[Any] = [RECORDS[0], b"["]
    acts: dict[str, Callable[[], object]] = {
        "consumer": lambda: write(lake.config(), *sent, partition=1),
        "compaction": lambda: act(lake, "compact", 0, 0),
        "requeue": lambda: run(lake),
    }
    first = once(acts[other])

    class Log(DeltaLog):
        def append(self, entry: Any) -> Any:
            first("")
            return super().append(entry)

    monkeypatch.setattr(rewrite, "DeltaLog", Log)
    done = run(lake)
    assert done.passing == (0 if other == "requeue" else PASSING)
    more = {1: sent} if other == "consumer" else {}
    assert_as_today(lake, tmp_path / "fresh", {0: RECORDS} | more)


class Died(BaseException):
    """The process is gone."""


def dying_at(step: str) -> Callable[[str], None]:
    def reached(now: str) -> None:
        if now == step:
            raise Died

    return reached


@BOTH
@pytest.mark.parametrize("step", ["uploaded", "clean"])
def test_killed_at_any_step_the_next_one_finishes_it(
    lake: BoardLake, tmp_path: Path, step: str
) -> None:
    with pytest.raises(Died):
        run(lake, reached=dying_at(step))
    done = run(lake)
    assert done.finished is (step == "clean")
    assert (done.passing, done.chosen) == ((0, 1) if step == "clean" else (PASSING, 4))
    assert_as_today(lake, tmp_path / "fresh", {0: RECORDS})


PROGRAM = """
import os, signal, sys
from pathlib import Path
from core.clock import SystemClock
from pinpip import configfile
from pinpip.quarantine import requeue as requeueing
from pinpip.quarantine.rows import Choice

path, step, rows = sys.argv[1:]
requeueing._ROWS = requeueing._JUDGED = int(rows)

def reached(now):
    if now == step:
        os.kill(os.getpid(), signal.SIGKILL)

config = configfile.load(Path(path), {})
done = requeueing.requeue(config, "boards", Choice(), SystemClock(), reached=reached)
print(done.passing)
"""


def process(lake: BoardLake, step: str = "", rows: int = 50_000) -> "subprocess.Popen[str]":
    """Start a process that requeues, and that kills itself (-9) at `step`."""
    words = [sys.executable, "-c", PROGRAM, str(lake.path()), step, str(rows)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=ROOT)


@pytest.mark.parametrize("step", ["uploaded", "clean"])
def test_a_process_killed_at_a_named_step_is_finished_by_the_next(
    lake: BoardLake, tmp_path: Path, step: str
) -> None:
    with process(lake, step) as one:
        assert one.wait() == -signal.SIGKILL
    assert (len(quarantined(lake)), lake.rows().height) == (4, 5 if step == "clean" else 2)
    with process(lake) as two:
        assert two.wait() == 0
    assert_as_today(lake, tmp_path / "fresh", {0: RECORDS})


def test_processes_at_once_move_each_record_once_beside_a_consumer(
    lake: BoardLake, tmp_path: Path
) -> None:
    write(lake.config(body=STRICT), *(RECORDS * 8), partition=1)
    member, sent = Member(lake.config(), 2), list[Any]()
    with process(lake, rows=5) as one, process(lake, rows=5) as two:
        while one.poll() is None or two.poll() is None:
            member.write(RECORDS[1], b"[")
            sent += [RECORDS[1], b"["]
        member.close()
        assert (one.returncode, two.returncode) == (0, 0)
        moved = [int(p.stdout.read()) for p in (one, two) if p.stdout]
    assert sum(moved) == PASSING * 9
    assert_as_today(lake, tmp_path / "fresh", {0: RECORDS, 1: RECORDS * 8, 2: sent})


def test_verify_calls_what_is_half_done_an_unfinished_requeue_with_its_command(
    lake: BoardLake,
) -> None:
    with pytest.raises(Died):
        run(lake, reached=dying_at("clean"))
    [found] = verify(tables_of(lake.config(), "boards")).findings
    assert found.kind == "unfinished"
    assert "pinpip quarantine requeue boards" in found.detail


def test_a_plan_says_that_an_earlier_one_is_not_finished(lake: BoardLake) -> None:
    with pytest.raises(Died):
        run(lake, reached=dying_at("clean"))
    plan = run(lake, dry_run=True)
    assert (plan.commits, plan.finished) == (0, True)
    assert run(lake).finished
    assert not run(lake, dry_run=True).finished


@pytest.mark.parametrize("step", ["uploaded", "clean"])
def test_two_at_once_move_each_record_once(lake: BoardLake, tmp_path: Path, step: str) -> None:
    others: list[Requeued] = []

    def meanwhile(now: str) -> None:
        if now == step and not others:
            others.append(run(lake))

    done = run(lake, reached=meanwhile)
    assert done.passing + others[0].passing == PASSING
    assert_as_today(lake, tmp_path / "fresh", {0: RECORDS})


def test_rows_that_another_moved_meanwhile_are_left_as_that_one_made_them(
    lake: BoardLake,
) -> None:
    """A requeue with older code that comes second changes no row of the first."""
    upper = lake.config(body='rows.with_columns(pl.col("title").str.to_uppercase())')

    def meanwhile(now: str) -> None:
        if now == "uploaded":
            requeue(upper, "boards", Choice(), SystemClock())

    done = run(lake, reached=meanwhile)
    assert done.passing == 0
    assert lake.rows()["title"].to_list() == ["7", "OAK", "ELM", "8", "YEW"]
    assert_exact(lake)


def test_a_compaction_beside_it_is_planned_again(lake: BoardLake, tmp_path: Path) -> None:
    tables = tables_of(lake.config(), "boards")

    def compact(_step: str) -> None:
        for uri in (tables.clean, tables.quarantine):
            DeltaTable(uri).optimize.compact()

    assert run(lake, reached=compact).passing == PASSING
    assert_as_today(lake, tmp_path / "fresh", {0: RECORDS})


def test_a_record_that_the_clean_table_has_not_read_is_left_to_its_consumer(
    lake: BoardLake,
) -> None:
    """After a crash between both commits the quarantine may be ahead: its row is read again."""
    member = Member(lake.config(body=STRICT))
    batch = member.batch([{"id": 6, "title": "Ash"}])
    quarantine = member.sinks[1]
    assert quarantine.name == "quarantine"
    quarantine.write(batch)
    member.close()
    done = run(lake)
    assert (done.passing, done.left) == (PASSING, {UNREAD: 1})
    member = Member(lake.config())
    member.write({"id": 6, "title": "Ash"})
    member.close()
    assert lake.rows()["_offset"].is_duplicated().sum() == 0
    done = run(lake)
    assert lake.rows()["_offset"].is_duplicated().sum() == 0


def test_many_commits_are_as_one(
    lake: BoardLake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requeueing, "_ROWS", 1)
    monkeypatch.setattr(requeueing, "_JUDGED", 1)
    done = run(lake)
    assert (done.passing, done.commits) == (PASSING, PASSING)
    assert_as_today(lake, tmp_path / "fresh", {0: RECORDS})


def test_consumers_start_and_go_on_afterwards(lake: BoardLake, tmp_path: Path) -> None:
    run(lake)
    write(lake.config(), RECORDS[1], b"]")
    assert_as_today(lake, tmp_path / "fresh", {0: [*RECORDS, RECORDS[1], b"]"]})


def test_a_table_that_cannot_be_changed_is_one_error_and_stays_as_it_is(lake: BoardLake) -> None:
    before = lake.rows()
    lake.table().alter.set_table_properties({"delta.appendOnly": "true"})
    with pytest.raises(SinkError, match=r"delta\.appendOnly"):
        run(lake)
    assert_frame_equal(lake.rows(), before)


def test_a_pipeline_without_tables_has_nothing_to_requeue(tmp_path: Path) -> None:
    bare = BoardLake(tmp_path, str(tmp_path / "none"))
    done = run(bare)
    assert (done.chosen, done.passing, done.commits) == (0, 0, 0)


def test_the_limit_on_rejects_does_not_count_what_was_requeued(lake: BoardLake) -> None:
    before = Member(lake.config(body=STRICT))
    windows = before.sinks[0].rejects([before.partition])
    before.close()
    run(lake)
    after = Member(lake.config(body=STRICT))
    assert after.sinks[0].rejects([after.partition]) == windows
    after.close()


def test_the_command_tells_people_and_programs(lake: BoardLake) -> None:
    words = ["-c", str(lake.path()), "quarantine", "requeue", "boards"]
    plan = CliRunner().invoke(app, [*words, "--dry-run"])
    assert plan.exit_code == 0, plan.output
    assert "boards: 3 of 4 records would pass" in plan.stdout
    assert "not_json" in plan.stdout
    done = CliRunner().invoke(app, [*words, "--json"])
    tree = json.loads(done.stdout)
    assert (tree["passing"], tree["failing"], tree["commits"]) == (3, {"not_json": 1}, 1)


STEPS = st.sampled_from(["old", "new", "requeue", "some", "killed", "twice", "compact"])


def act(lake: BoardLake, step: str, partition: int, number: int) -> None:
    """Do one step of a history that is no consumer's."""
    if step == "requeue":
        run(lake)
    elif step == "some":
        run(lake, chosen(lake, partition=str(partition), window=Window(first=number)))
    elif step == "killed":
        with suppress(Died):
            run(lake, reached=dying_at("clean" if number % 2 else "uploaded"))
    elif step == "twice":
        run(lake, reached=once(lambda: run(lake)))
    else:
        tables = tables_of(lake.config(), "boards")
        for uri in (tables.clean, tables.quarantine):
            DeltaTable(uri).optimize.compact()


def once(call: Callable[[], object]) -> Callable[[str], None]:
    """Return what calls `call` at the first step alone."""
    left = [call]

    def reached(_step: str) -> None:
        if left:
            left.pop()()

    return reached


@settings(max_examples=examples(20), deadline=None)
@given(
    st.lists(
        st.tuples(
            STEPS,
            st.lists(st.sampled_from(RECORDS), min_size=1, max_size=4),
            st.integers(0, 1),
            st.integers(0, 5),
        ),
        max_size=8,
    )
)
def test_any_history_ends_as_the_tables_of_today(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, list[Any], int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("boards")
    lake = BoardLake(folder, str(folder / "lake"))
    sent: dict[int, list[Any]] = {0: [b"{"], 1: [b"{"]}
    for partition in sent:
        write(lake.config(body=STRICT), b"{", partition=partition)
    live = Member(lake.config(), 1)
    for step, records, partition, number in steps:
        if step == "new":
            live.write(*records)
            sent[1] += records
        elif step == "old":
            write(lake.config(body=STRICT), *records)
            sent[0] += records
        else:
            act(lake, step, partition, number)
    live.close()
    run(lake)
    assert_as_today(lake, folder / "fresh", sent)
