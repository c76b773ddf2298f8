"""`pinpip status --drift`: fields in `_rescued`, counted in all files or said to be unknown."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from pinpip import drift
from pinpip.cli import app
from pinpip.drift import Drift, drift_of
from tests.support.board_lake import BEGAN, BoardLake, Member, write

BOARD = {"id": 1, "title": "Oak"}


@pytest.fixture
def lake(tmp_path: Path) -> BoardLake:
    """Return a lake without tables."""
    return BoardLake(tmp_path, str(tmp_path / "lake"))


def told(found: Drift) -> dict[str, tuple[int, dict[str, int]]]:
    return {own.field: (own.rows, dict(own.types)) for own in found.fields}


def test_fields_are_counted_by_type_and_have_their_first_record(lake: BoardLake) -> None:
    later = [BOARD | {"pins": 3}, BOARD | {"pins": "3", "board": {"a": 1}}]
    write(lake.config(), BOARD, BOARD | {"title": True, "pins": 2.5}, *later, partition=1)
    write(lake.config(), BOARD, BOARD, *([BOARD] * 3), BOARD | {"pins": None})
    found = drift_of(lake.config(), "boards")
    assert told(found) == {
        "pins": (4, {"number": 1, "integer": 1, "string": 1, "null": 1}),
        "board": (1, {"object": 1}),
        "title": (1, {"boolean": 1}),
    }
    assert (found.rows, found.looked_at, found.rescued, found.unreadable) == (10, 10, 4, 0)
    first = found.fields[0]
    assert (first.first_seen, first.record) == (BEGAN.replace(second=1), "demo.boards/1:1")
    assert (first.sample, first.declared) == ("2.5", None)
    assert found.fields[2].declared == "String"


def test_a_pipeline_without_a_table_has_nothing_to_tell(lake: BoardLake) -> None:
    found = drift_of(lake.config(), "boards")
    assert (found.version, found.rows, found.fields) == (None, None, ())


def test_what_is_no_json_object_is_counted_apart(lake: BoardLake) -> None:
    write(lake.config(), *([BOARD | {"pins": 1}] * 3))
    lake.table().update({"_rescued": "'[1]'"}, predicate="_offset = 0")
    lake.table().update({"_rescued": "'{'"}, predicate="_offset = 1")
    found = drift_of(lake.config(), "boards")
    assert (found.rescued, found.unreadable, told(found)) == (3, 2, {"pins": (1, {"integer": 1})})


def test_a_file_that_is_gone_is_unknown_and_the_others_are_counted(
    lake: BoardLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift, "_READ_AHEAD", 1)  # a group for each file
    write(lake.config(), BOARD | {"pins": 1})
    write(lake.config(), BOARD | {"pins": 2}, BOARD)
    gone = min(Path(lake.root, "boards").glob("*.parquet"), key=lambda path: path.stat().st_mtime)
    gone.unlink()
    found = drift_of(lake.config(), "boards")
    assert (found.rows, found.looked_at, told(found)) == (3, 2, {"pins": (1, {"integer": 1})})
    assert any("missing or damaged" in why for why in found.unknown.values())


def test_every_file_is_told_as_progress(lake: BoardLake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "_READ_AHEAD", 1)
    for n in range(3):
        write(lake.config(), BOARD | {"pins": n})
    heard: list[tuple[int, int]] = []
    drift_of(lake.config(), "boards", lambda *done: heard.append(done))
    assert heard == [(1, 3), (2, 3), (3, 3)]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.lists(
            st.dictionaries(
                st.sampled_from(["a", "b", "ü", 'q"']), st.sampled_from([1, "x", None])
            ),
            min_size=1,
            max_size=4,
        ),
        min_size=1,
        max_size=4,
    )
)
def test_the_counts_are_those_of_the_records(
    tmp_path_factory: pytest.TempPathFactory, commits: list[list[dict[str, Any]]]
) -> None:
    folder = tmp_path_factory.mktemp("drift")
    lake = BoardLake(folder, str(folder / "lake"))
    member = Member(lake.config())
    for more in commits:
        member.write(*(BOARD | own for own in more))
    member.close()
    wanted = Counter(name for more in commits for own in more for name in own)
    found = drift_of(lake.config(), "boards")
    assert {name: rows for name, (rows, _) in told(found).items()} == dict(wanted)
    firsts: dict[str, int] = {}
    for n, own in enumerate(own for more in commits for own in more):
        firsts |= {name: n for name in own if name not in firsts}
    assert {own.field: own.record for own in found.fields} == {
        name: f"demo.boards/0:{n}" for name, n in firsts.items()
    }


def invoke(lake: BoardLake, *arguments: str) -> str:
    done = CliRunner().invoke(app, ["-c", str(lake.path()), "status", "--drift", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_command_tells_people_and_programs(lake: BoardLake) -> None:
    write(lake.config(), BOARD, BOARD | {"pins": 7})
    said = invoke(lake, "boards")
    assert "1 of 2 rows have values in _rescued (2 of 2 rows looked at, version" in said
    assert "pins" in said
    assert "50 %" in said
    [tree] = json.loads(invoke(lake, "--json"))
    [own] = tree["fields"]
    assert (own["field"], own["rows"], own["sample"]) == ("pins", 1, "7")
    assert own["first_seen"] == "2026-01-01T00:00:01+00:00"
    done = CliRunner().invoke(app, ["-c", str(lake.path()), "status", "--drift", "--watch"])
    assert done.exit_code == 2
