"""verify's verdict is kept beside the table, and what it does not cover is never called fine."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
import yaml
from deltalake import DeltaTable

from core.batch import KAFKA
from core.clock import SystemClock
from monitor.view import VerdictView
from pinpip.pipelines import tables_of
from pinpip.verify.last import NEVER, last_verdict
from pinpip.verify.record import KEY, Record
from pinpip.verify.verdict import TableSeen
from tests.support.commands import invoke
from tests.support.pairs import A, B, Pair
from tests.support.processes import Home

PIPELINE = {
    "source": {"topics": "demo.pin"},
    "schema": "transforms.pin:SCHEMA",
    "transform": "transforms.pin:clean",
    "sinks": [{"delta": "pin"}],
}


class Lake(Home):
    """A configuration with one pipeline, and its tables, written by the real sinks."""

    def write(self, *spans: tuple[int, int]) -> None:
        """Write stretches of both partitions, a commit each."""
        pair = Beside(f"{self.folder}/lake", KAFKA)
        batches = [pair.log.batch({A: span, B: span}) for span in spans]
        if spans[0][0] == 0:
            first = {p: replace(s, start=None) for p, s in batches[0].spans.items()}
            batches[0] = replace(batches[0], spans=first)
        pair.write(*batches)

    @property
    def file(self) -> Path:
        """Where the verdict is."""
        return Path(self.uri("pin"), KEY)

    @property
    def kept(self) -> dict[str, Any]:
        """What is in the file."""
        return dict(json.loads(self.file.read_text()))

    def seen(self) -> list[TableSeen]:
        """Return both tables as they are now."""
        return [
            TableSeen(table=stage, id=str(table.metadata().id), version=table.version())
            for stage, name in (("table", "pin"), ("quarantine", "pin_quarantine"))
            for table in [DeltaTable(self.uri(name))]
        ]

    def last(self, later: timedelta = timedelta(0)) -> tuple[VerdictView | None, str]:
        """Return what a reader is told."""
        now = SystemClock.now() + later
        return last_verdict(tables_of(self.config, "pin"), self.seen(), now, None)


class Beside(Pair):
    """The pair under the names that a pipeline gives them."""

    def uri(self, stage: str) -> str:
        return f"{self.root}/{'pin' if stage == 'clean' else 'pin_quarantine'}"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Two commits of each table."""
    made = Lake(tmp_path)
    tree = {
        "id": "demo",
        "kafka": {"bootstrap.servers": "none.invalid:9092"},
        "lake": {"root": str(tmp_path / "lake")},
        "pipelines": {"pin": PIPELINE},
    }
    made.config_path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    made.write((0, 10), (10, 20))
    return made


def view(lake: Lake, later: timedelta = timedelta(0)) -> VerdictView:
    found, why = lake.last(later)
    assert (found is not None, why) == (True, "")
    assert found is not None
    return found


def edit(lake: Lake, **values: object) -> None:
    lake.file.write_text(json.dumps(lake.kept | values))


def make_complete(lake: Lake) -> None:
    """Change the kept verdict of --offline to one that asked the source as well."""
    options = {"offline": False, "grace": 60.0}
    edit(lake, options=options, verdict="exactly once: 40 rows, none missing, none twice")


def test_verify_keeps_what_it_said(lake: Lake) -> None:
    done = invoke(lake, "verify", "--offline")
    record = Record.model_validate_json(lake.file.read_text())
    assert record.verdict == done.stdout.strip().splitlines()[-1]
    assert (record.exit_code, record.rows, record.app) == (0, 40, "pinpip/pin/1")
    assert list(record.tables) == lake.seen()
    assert record.options.offline
    assert done.stderr == ""


def test_before_the_first_verify_it_is_not_known_and_said_what_to_do(lake: Lake) -> None:
    assert lake.last() == (None, NEVER)


def test_a_complete_verdict_on_all_commits_is_ok(lake: Lake) -> None:
    invoke(lake, "verify", "--offline")
    make_complete(lake)
    found = view(lake)
    assert (found.level, found.text) == ("ok", lake.kept["verdict"])


def test_a_run_without_the_source_is_no_full_proof(lake: Lake) -> None:
    invoke(lake, "verify", "--offline")
    found = view(lake)
    assert found.level == "unknown"
    assert found.text.endswith("; a run with --offline is not a full proof")


def test_commits_since_then_are_not_verified(lake: Lake) -> None:
    invoke(lake, "verify", "--offline")
    make_complete(lake)
    lake.write((20, 30), (30, 40))
    found = view(lake)
    assert found.level == "unknown"
    assert "; not verified yet: the last 2 commits to the table" in found.text


def test_a_table_of_unknown_version_is_not_called_verified(lake: Lake) -> None:
    invoke(lake, "verify", "--offline")
    make_complete(lake)
    found, _ = last_verdict(tables_of(lake.config, "pin"), [], SystemClock.now(), None)
    assert found is not None
    assert found.level == "unknown"
    for stage in ("table", "quarantine"):
        assert f"; whether there were commits to the {stage} since is not known" in found.text


def test_a_quarantine_that_is_gone_is_not_called_verified(lake: Lake) -> None:
    invoke(lake, "verify", "--offline")
    make_complete(lake)
    clean = [seen for seen in lake.seen() if seen.table == "table"]
    found, _ = last_verdict(tables_of(lake.config, "pin"), clean, SystemClock.now(), None)
    assert found is not None
    assert found.level == "unknown"


def test_rows_that_verify_did_not_count_are_not_verified(lake: Lake) -> None:
    invoke(lake, "verify", "--offline")
    make_complete(lake)
    tables, now = tables_of(lake.config, "pin"), SystemClock.now()
    levels = {}
    for rows in (40, 41):
        found, _ = last_verdict(tables, lake.seen(), now, rows)
        assert found is not None
        levels[rows] = found.level
    assert levels == {40: "ok", 41: "unknown"}


def test_findings_are_bad_whatever_came_after(lake: Lake) -> None:
    DeltaTable(lake.uri("pin")).delete("_offset = 13 AND _partition = 0")
    done = invoke(lake, "verify", "--offline")
    assert done.exit_code == 3
    lake.write((20, 30))
    found = view(lake)
    assert found.level == "bad"
    assert "differences found" in found.text
    assert any("missing" in line for line in found.findings)


def test_more_findings_than_are_kept_are_counted(lake: Lake) -> None:
    invoke(lake, "verify", "--offline")
    edit(lake, exit_code=3, findings=["missing t/0: 1 row"] * 20, findings_total=1234)
    assert view(lake).findings[-1] == "and 1,214 more differences"


def lose_a_file(lake: Lake) -> None:
    next(Path(lake.uri("pin")).glob("*.parquet")).unlink()


def test_a_run_that_cannot_finish_replaces_an_older_good_verdict(lake: Lake) -> None:
    invoke(lake, "verify", "--offline")
    make_complete(lake)
    lose_a_file(lake)
    done = invoke(lake, "verify", "--offline")
    assert done.exit_code == 1
    found = view(lake)
    assert (found.level, found.text[:24]) == ("bad", "verify could not finish;")
    assert "cannot be read" in found.findings[0]


def test_a_verdict_on_another_incarnation_is_not_one_on_this(lake: Lake) -> None:
    invoke(lake, "verify", "--offline")
    make_complete(lake)
    edit(lake, app="pinpip/pin/7")
    found = view(lake)
    assert found.level == "unknown"
    assert "this was pinpip/pin/7, and pinpip/pin/1 was not verified yet" in found.text


def test_a_table_that_was_made_again_is_not_the_one_that_was_verified(lake: Lake) -> None:
    invoke(lake, "verify", "--offline")
    make_complete(lake)
    tables = [t | {"id": "another"} for t in lake.kept["tables"]]
    edit(lake, tables=tables)
    found = view(lake)
    assert found.level == "unknown"
    assert "the table was re-created since: it is not verified" in found.text


def test_a_verdict_from_the_future_is_not_trusted(lake: Lake) -> None:
    invoke(lake, "verify", "--offline")
    make_complete(lake)
    found = view(lake, timedelta(days=-1))
    assert found.level == "unknown"
    assert "in the future" in found.text


@pytest.mark.parametrize(
    "damage",
    [
        lambda lake: lake.file.write_bytes(lake.file.read_bytes()[:-9]),
        lambda lake: lake.file.write_bytes(b""),
        lambda lake: lake.file.write_bytes(b"\xff\xfe"),
        lambda lake: lake.file.write_bytes(b" " * 1_000_001),
        lambda lake: edit(lake, format=2),
        lambda lake: edit(lake, at="2026-01-01T00:00:00"),
        lambda lake: edit(lake, rows=-1),
        lambda lake: edit(lake, exit_code=None),
    ],
)
def test_a_damaged_or_newer_file_is_unknown(lake: Lake, damage: Callable[[Lake], object]) -> None:
    invoke(lake, "verify", "--offline")
    damage(lake)
    found, why = lake.last()
    assert found is None
    assert str(lake.file) in why
    assert "run pinpip verify again" in why


def test_an_unknown_exit_code_of_a_later_version_is_not_ok(lake: Lake) -> None:
    invoke(lake, "verify", "--offline")
    make_complete(lake)
    edit(lake, exit_code=5)
    assert view(lake).level == "unknown"


def test_a_verdict_that_cannot_be_kept_changes_nothing_but_one_line(lake: Lake) -> None:
    before = invoke(lake, "verify", "--offline")
    lake.file.unlink()
    lake.file.mkdir()
    done = invoke(lake, "verify", "--offline")
    assert (done.exit_code, done.stdout) == (before.exit_code, before.stdout)
    [line] = done.stderr.strip().splitlines()
    assert line.startswith("note: the verdict on pin is not kept beside its table: ")


def test_without_a_table_nothing_is_written(lake: Lake, tmp_path: Path) -> None:
    Path(lake.uri("pin")).rename(tmp_path / "away")
    Path(lake.uri("pin_quarantine")).rename(tmp_path / "away too")
    assert invoke(lake, "verify", "--offline").exit_code == 1
    assert not Path(lake.uri("pin")).exists()


def test_the_newest_verdict_replaces_the_last(lake: Lake) -> None:
    invoke(lake, "verify", "--offline")
    lake.write((20, 30))
    invoke(lake, "verify", "--offline")
    assert lake.kept["rows"] == 60
    assert [path.name for path in lake.file.parent.iterdir()] == ["verdict.json"]


def test_readers_and_vacuum_leave_the_verdict_alone(lake: Lake) -> None:
    invoke(lake, "verify", "--offline")
    body = lake.file.read_bytes()
    table = DeltaTable(lake.uri("pin"))
    table.vacuum(0, dry_run=False, enforce_retention_duration=False, full=True)
    table.optimize.compact()
    assert lake.file.read_bytes() == body
    rows = pl.scan_delta(lake.uri("pin")).collect().height
    arrow = table.to_pyarrow_dataset()
    read = duckdb.sql("SELECT 1 FROM arrow")
    assert read is not None
    assert arrow.count_rows() == rows == len(read)
    assert invoke(lake, "verify", "--offline").exit_code == 0
    lake.write((20, 30))
    assert invoke(lake, "verify", "--offline").exit_code == 0
