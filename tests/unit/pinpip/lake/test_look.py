"""What the tables of a pipeline say of themselves, against the tables read by polars."""

import json
import shutil
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest

from core.batch import KAFKA, KINESIS, Coordinates
from monitor.rejects import SAMPLES
from monitor.view import CommitView, FilesView
from pinpip.lake import reasons, side
from pinpip.lake.look import LakeLook
from pinpip.verify.last import NEVER
from pinpip.verify.record import KEY
from tests.support.batches import FIRST_SEQUENCE
from tests.support.clock import ManualClock
from tests.support.pairs import A, B, Pair, Stage

STAGES: tuple[Stage, ...] = ("clean", "rejected")


@pytest.fixture(params=[KAFKA, KINESIS], ids=lambda own: own.kind)
def kind(request: pytest.FixtureRequest) -> Coordinates:
    own: Coordinates = request.param
    return own


@pytest.fixture
def pair(tmp_path: Path, kind: Coordinates) -> Pair:
    """Two commits: 14 records of A, then 6 of A and 10 of B; every third is bad."""
    made = Pair(str(tmp_path), kind)
    made.write(made.log.batch({A: (0, 14)}), made.log.batch({A: (14, 20), B: (0, 10)}))
    return made


@pytest.fixture
def kafka(tmp_path: Path) -> Pair:
    made = Pair(str(tmp_path), KAFKA)
    made.write(made.log.batch({A: (0, 14)}), made.log.batch({A: (14, 20), B: (0, 10)}))
    return made


def look_at(pair: Pair) -> LakeLook:
    return LakeLook(lambda: pair.tables, ManualClock())


def data_files(pair: Pair, stage: Stage) -> list[Path]:
    return [Path(pair.uri(stage), path) for path in pair.table(stage).file_uris()]


def test_rows_and_files_are_those_of_the_tables(pair: Pair) -> None:
    view = look_at(pair).look()
    assert (view.clean, view.quarantined) == tuple(pair.rows(s).height for s in STAGES)
    sizes = [[path.stat().st_size for path in data_files(pair, stage)] for stage in STAGES]
    assert view.files == (
        FilesView("clean", 2, 2, sum(sizes[0])),
        FilesView("quarantine", 2, 2, sum(sizes[1])),
    )
    assert view.unknown == {"verdict": NEVER}


def test_files_of_32_mib_are_not_small(kafka: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = sorted(path.stat().st_size for path in data_files(kafka, "clean"))
    monkeypatch.setattr(side, "SMALL", sizes[1])
    assert look_at(kafka).look().files[0].small == 1


def test_the_newest_commits_are_those_of_the_ledger(kafka: Pair) -> None:
    view = look_at(kafka).look()
    newest, oldest = view.commits
    assert newest.at > oldest.at
    assert (
        newest.file in kafka.table("clean").file_uris()[0:2]
        or Path(kafka.uri("clean"), str(newest.file)).is_file()
    )
    told = [(c.read, c.clean, c.quarantined, c.ranges) for c in view.commits]
    assert told == [
        (16, 10, 6, ("demo.pin/0 14..20", "demo.pin/1 start..10")),
        (14, 9, 5, ("demo.pin/0 start..14",)),
    ]
    newest_rows = kafka.log.batch({A: (14, 20), B: (0, 10)}).clean
    assert view.first_event == newest_rows["_timestamp"].min()


def test_long_sequence_numbers_are_cut_in_a_range(tmp_path: Path) -> None:
    pair = Pair(str(tmp_path), KINESIS)
    pair.write(pair.log.batch({A: (0, 2)}))
    [commit] = look_at(pair).look().commits
    assert commit.ranges == (f"demo.pin/shardId-000000000000 start..…{FIRST_SEQUENCE % 10**12}",)


def test_twenty_commits_are_shown_each_entry_read_once(kafka: Pair) -> None:
    kafka.write(*(kafka.log.batch({A: (n, n + 1)}) for n in range(20, 50)))
    look = look_at(kafka)
    version = kafka.table("clean").version()
    assert [c.version for c in look.look().commits] == list(range(version, version - 20, -1))
    kafka.write(kafka.log.batch({A: (50, 51)}))
    for path in kafka.logs("clean")[:-1]:
        path.write_bytes(path.read_bytes().replace(b"pinpip", b"xxxxxx"))  # unseen: read before
    commits = look.look().commits
    assert [c.version for c in commits] == list(range(version + 1, version - 19, -1))


def test_entries_of_other_programs_are_no_commits(kafka: Pair) -> None:
    kafka.table("clean").optimize.compact()
    kafka.commit("clean", [])
    assert len(look_at(kafka).look().commits) == 2


def test_a_log_that_was_cleaned_up_shows_what_is_left(kafka: Pair) -> None:
    kafka.forget("clean", but=1)
    [commit] = look_at(kafka).look().commits
    assert commit.read == 16


def test_reasons_count_the_rows_and_show_the_newest(pair: Pair) -> None:
    [reason] = look_at(pair).look().reasons
    rows = pair.rows("rejected").sort("_timestamp")
    assert (reason.reason, reason.rows) == ("not_json", rows.height)
    assert reason.last == rows["_timestamp"].max()
    newest = rows.tail(SAMPLES).rows(named=True)[::-1]
    assert [s.detail for s in reason.samples] == [row["detail"] for row in newest]
    assert [s.value for s in reason.samples] == [row["_value"].decode() for row in newest]
    c = pair.coordinates
    assert [s.where.rpartition(":")[0] for s in reason.samples] == [
        f"{row[c.source]}/{row[c.partition]}" for row in newest
    ]
    for sample, row in zip(reason.samples, newest, strict=True):
        number, _, sub = sample.where.rpartition(":")[2].partition(".")
        assert int(number) == int(row[c.number])
        assert c.sub is None or int(sub) == row[c.sub]


def test_a_quarantine_is_followed_file_by_file(
    kafka: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reasons, "FILES_A_LOOK", 1)
    look = look_at(kafka)
    first = look.look()
    assert first.reasons[0].rows == 6
    assert first.unknown["reasons"] == "counted in 1 of 2 files so far"
    second = look.look()
    assert (second.reasons[0].rows, set(second.unknown)) == (11, {"verdict"})
    kafka.write(kafka.log.batch({A: (20, 22)}))
    assert look.look().reasons[0].samples[0].value == '{"ind": 21}'


def test_a_compacted_quarantine_is_counted_once(kafka: Pair) -> None:
    look = look_at(kafka)
    look.look()
    kafka.table("rejected").optimize.compact()
    [reason] = look.look().reasons
    assert (reason.rows, len({s.where for s in reason.samples})) == (11, 3)


def test_rows_that_another_engine_deleted_are_not_counted(kafka: Pair) -> None:
    look = look_at(kafka)
    look.look()
    kafka.table("rejected").delete("_offset >= 9")
    view = look.look()
    assert view.quarantined == view.reasons[0].rows == kafka.rows("rejected").height


def test_of_a_large_file_no_value_is_read(kafka: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reasons, "_SAMPLED_BYTES", 0)
    [reason] = look_at(kafka).look().reasons
    assert {(s.value, s.detail) for s in reason.samples} == {("", "")}
    assert len({s.where for s in reason.samples}) == 3


def test_a_hostile_value_is_shown_as_printable_text(kafka: Pair) -> None:
    kafka.change("rejected", 18, detail="'\x1b[2Jgone\n'")
    [reason] = look_at(kafka).look().reasons
    assert reason.samples[0].detail == r"\x1b[2Jgone\n"


def test_no_table_yet_is_no_fault(tmp_path: Path) -> None:
    view = look_at(Pair(str(tmp_path), KAFKA)).look()
    assert (view.clean, view.commits, view.files, view.unknown) == (None, (), (), {})
    assert view.at is not None


def test_a_table_that_vanishes_is_told_until_it_is_back(kafka: Pair) -> None:
    look = look_at(kafka)
    before = look.look()
    shutil.move(kafka.uri("clean"), f"{kafka.root}/elsewhere")
    for _ in range(2):
        view = look.look()
        assert (view.clean, view.commits, view.quarantined) == (None, (), before.quarantined)
        assert "is gone: it was there before" in view.unknown["table"]
    shutil.move(f"{kafka.root}/elsewhere", kafka.uri("clean"))
    assert look.look() == before


def test_a_table_that_is_replaced_is_told_and_read_afresh(kafka: Pair) -> None:
    look = look_at(kafka)
    look.look()
    for stage in STAGES:
        shutil.rmtree(kafka.uri(stage))
    kafka.write(kafka.log.batch({A: (0, 4)}))
    for _ in range(2):
        view = look.look()
        assert (view.clean, view.quarantined, view.reasons[0].rows) == (2, 2, 2)
        assert [c.read for c in view.commits] == [4]
        assert "was replaced" in view.unknown["table"]
        assert "was replaced" in view.unknown["quarantined"]


def test_a_table_of_another_program_is_named(kafka: Pair) -> None:
    shutil.rmtree(kafka.uri("clean"))
    pl.DataFrame({"a": [1]}).write_delta(kafka.uri("clean"))
    view = look_at(kafka).look()
    assert "has no columns" in view.unknown["table"]
    assert (view.clean, view.quarantined) == (None, 11)


def test_numbers_outlive_a_fault_and_say_their_age(kafka: Pair) -> None:
    look = look_at(kafka)
    before = look.look()
    entry = kafka.logs("clean")[-1]
    whole = entry.read_bytes()
    entry.write_bytes(b"{")
    broken = look.look()
    assert (broken.clean, broken.commits) == (before.clean, before.commits)
    assert "(numbers of 00:00:00 UTC)" in broken.unknown["table"]
    entry.write_bytes(whole)
    assert "table" not in look.look().unknown


def test_a_panic_is_told_not_raised(kafka: Pair) -> None:
    for path in data_files(kafka, "rejected"):
        path.write_bytes(b"PAR1")
    view = look_at(kafka).look()
    assert "quarantined" in view.unknown
    assert view.clean == kafka.rows("clean").height


def test_only_this_incarnations_commits_are_shown(kafka: Pair) -> None:
    log = kafka.logs("clean")[-1]
    log.write_bytes(log.read_bytes().replace(b'pinpip/pin/1\\"', b'pinpip/pin/2\\"'))
    assert len(look_at(kafka).look().commits) == 1


def test_a_commit_of_many_partitions_names_a_few(tmp_path: Path) -> None:
    pair = Pair(str(tmp_path), KAFKA)
    parts = range(10)
    with closing(pair.sink("clean")) as sink:
        sink.positions([pair.log.partition(n) for n in parts])
        sink.write(pair.log.batch(dict.fromkeys(parts, (0, 3))))
    [commit] = look_at(pair).look().commits
    assert isinstance(commit, CommitView)
    assert len(commit.ranges) == 9
    assert commit.ranges[-1] == "and 2 more partitions"


def test_the_last_verdict_says_what_it_does_not_cover(kafka: Pair) -> None:
    clean, rejected = (kafka.table(stage) for stage in STAGES)
    record = {
        "pipeline": "pin",
        "app": "pinpip/pin/1",
        "at": "2026-01-01T00:00:00Z",
        "exit_code": 0,
        "verdict": "exactly once: 30 rows",
        "rows": 30,
        "options": {"offline": False, "grace": 60.0},
        "pinpip_version": "0.1",
        "tables": [
            {"table": name, "id": str(table.metadata().id), "version": table.version()}
            for name, table in (("table", clean), ("quarantine", rejected))
        ],
    }
    path = Path(kafka.uri("clean"), KEY)
    path.parent.mkdir()
    path.write_text(json.dumps(record))
    verdict = look_at(kafka).look().verdict
    assert verdict is not None
    assert (verdict.level, verdict.text) == ("ok", "exactly once: 30 rows")
    path.write_text(json.dumps(record | {"rows": 29}))  # the tables hold a row of others
    verdict = look_at(kafka).look().verdict
    assert verdict is not None
    assert verdict.level == "unknown"
    path.write_text(json.dumps(record))
    kafka.write(kafka.log.batch({A: (20, 22)}))
    verdict = look_at(kafka).look().verdict
    assert verdict is not None
    assert verdict.level == "unknown"
    path.write_text("{")
    assert "cannot be read" in look_at(kafka).look().unknown["verdict"]
