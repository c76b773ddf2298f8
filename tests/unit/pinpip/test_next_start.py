"""`pinpip config check` says what the next start of a consumer adds to its table, or refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from core.errors import SinkError
from pinpip.cli import app
from tests.support.board_lake import NEW, OLD, BoardLake, Member, write

PINNED = {"id": 1, "title": "Oak", "pins": 3}


@pytest.fixture
def lake(tmp_path: Path) -> BoardLake:
    """Return a lake without tables."""
    return BoardLake(tmp_path, str(tmp_path / "lake"))


def check(path: Path, *more: str) -> Result:
    return CliRunner().invoke(app, ["-c", str(path), "config", "check", *more])


def tree(path: Path) -> dict[str, Any]:
    done = check(path, "--json")
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout))


def test_a_table_that_does_not_exist_gets_nothing_added(lake: BoardLake) -> None:
    told = tree(lake.path(NEW))
    assert told["tables"]["boards"]["next_start"] == {
        "table": f"{lake.root}/boards",
        "adds": [],
        "unknown": None,
    }
    assert told["notes"] == []


def test_columns_are_told_before_they_are_added_and_never_by_this_command(lake: BoardLake) -> None:
    write(lake.config(), PINNED)
    before, new = lake.table().version(), NEW | {"rank": "pl.Float64()"}
    assert tree(lake.path())["notes"] == []
    told = tree(lake.path(new))
    assert told["tables"]["boards"]["next_start"]["adds"] == [
        {"name": "pins", "delta": "long"},
        {"name": "rank", "delta": "double"},
    ]
    said = check(lake.path(new)).stdout
    note = f"note: the next start of boards adds to the table {lake.root}/boards: pins (long), rank"
    assert note in said.replace("\n", " ")
    assert lake.table().version() == before
    write(lake.config(new), PINNED)
    assert tree(lake.path(new))["notes"] == []


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (OLD | {"title": "pl.Int64()"}, "rows"),
        (OLD, "rows.drop('title')"),
        (OLD | {"TITLE": "pl.String()"}, "rows.drop('title')"),
    ],
    ids=["another type", "a column less", "another case"],
)
def test_what_the_consumer_refuses_of_the_table_is_said_in_its_words(
    lake: BoardLake, fields: dict[str, str], body: str
) -> None:
    write(lake.config(), PINNED)
    done = check(lake.path(fields, body))
    with pytest.raises(SinkError) as refused:
        Member(lake.config(fields, body))
    assert done.exit_code == 1
    assert f"pipeline boards: {refused.value.message}" in done.stderr.replace("\n", "")
    assert refused.value.hint in done.stderr.replace("\n", "")


def test_a_store_that_does_not_respond_is_not_known_and_no_problem(tmp_path: Path) -> None:
    keys = {"access_key_id": "local", "secret_access_key": "local"}
    deaf = {"aws": {"endpoint_url": "http://127.0.0.1:1", **keys}}
    lake = BoardLake(tmp_path, "s3://nowhere/lake", deaf)
    told = tree(lake.path(NEW))
    assert told["tables"]["boards"]["next_start"]["unknown"]
    [note] = told["notes"]
    assert note.startswith("what the next start changes is not known of boards: ")
