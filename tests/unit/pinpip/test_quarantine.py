"""`pinpip quarantine list`, `show` and `export`: what was rejected, found again byte for byte."""

import json
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from core.batch import Records
from pinpip import configfile
from pinpip.cli import app
from pinpip.pipelines import tables_of
from pinpip.quarantine import listing, rows
from sinks.delta.table import find
from tests.support.board_lake import BoardLake, Member, write

OAK = {"id": 1, "title": "Oak"}
BROKEN = b'{"id": 1'
BINARY = b"\xff\x00 not text"


@pytest.fixture
def lake(tmp_path: Path) -> BoardLake:
    """Return a lake with good and bad records in three files and two partitions."""
    made = BoardLake(tmp_path, str(tmp_path / "lake"))
    write(made.config(), OAK, BROKEN, BINARY)
    write(made.config(), OAK, {"id": "x", "title": "no id"}, b"[]")
    write(made.config(), b"{", OAK, partition=1)
    return made


def run(lake: BoardLake, *words: str, path: Path | None = None) -> Result:
    return CliRunner().invoke(app, ["-c", str(path or lake.path()), "quarantine", *words])


def told(lake: BoardLake, *words: str, path: Path | None = None) -> Any:
    done = run(lake, *words, "--json", path=path)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def exported(lake: BoardLake, *words: str) -> list[dict[str, Any]]:
    done = run(lake, "export", "boards", *words)
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.split("\n")[:-1]]


def places(lake: BoardLake, *words: str) -> list[tuple[int, int]]:
    return sorted((row["_partition"], row["_offset"]) for row in exported(lake, *words))


def bytes_of(row: dict[str, Any]) -> bytes | None:
    text, encoded = row["value"], row["value_base64"]
    if encoded is not None:
        return b64decode(encoded)
    return None if text is None else str(text).encode()


def test_reasons_are_counted_with_their_times_and_the_newest_record(lake: BoardLake) -> None:
    found = {row["reason"]: row for row in told(lake, "list", "boards")}
    assert {reason: row["rows"] for reason, row in found.items()} == {
        "not_json": 2,
        "invalid_utf8": 1,
        "bad_key": 1,
        "not_an_object": 1,
    }
    first, last = found["not_json"]["first_seen"], found["not_json"]["last_seen"]
    assert (first, last) == ("2026-01-01T00:00:00+00:00", "2026-01-01T00:00:01+00:00")
    assert (found["not_json"]["record"], found["not_json"]["value"]) == (
        "demo.boards/0:1",
        BROKEN.decode(),
    )
    assert "invalid start byte" in found["invalid_utf8"]["detail"]


def test_the_newest_records_come_first_and_no_more_than_asked(lake: BoardLake) -> None:
    found = told(lake, "list", "boards", "--newest", "2")
    assert [(row["_offset"], row["reason"]) for row in found] == [
        (5, "not_an_object"),
        (4, "bad_key"),
    ]
    assert [row["value"] for row in found] == ["[]", '{"id": "x", "title": "no id"}']


def test_groups_of_files_are_joined_to_one_list(
    lake: BoardLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, newest = told(lake, "list", "boards"), told(lake, "list", "boards", "--newest", "9")
    monkeypatch.setattr(rows, "READ_AHEAD", 1)
    assert told(lake, "list", "boards") == whole
    assert told(lake, "list", "boards", "--newest", "9") == newest
    assert len(newest) == 5


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([], [(0, 1), (0, 2), (0, 4), (0, 5), (1, 0)]),
        (["--reason", "not_json"], [(0, 1), (1, 0)]),
        (["--reason", "not_json", "--reason", "bad_key"], [(0, 1), (0, 4), (1, 0)]),
        (["--partition", "0", "--from-offset", "2"], [(0, 2), (0, 4), (0, 5)]),
        (["--partition", "demo.boards/0", "--until-offset", "4"], [(0, 1), (0, 2)]),
        (["--from-offset", "2", "--until-offset", "5"], [(0, 2), (0, 4)]),
        (["--from-time", "2026-01-01T00:00:04"], [(0, 4), (0, 5)]),
        (["--until-time", "2026-01-01T00:00:02"], [(0, 1), (1, 0)]),
        (["--partition", "7"], []),
    ],
)
def test_reason_time_partition_and_offset_choose(
    lake: BoardLake, words: list[str], wanted: list[tuple[int, int]]
) -> None:
    assert places(lake, *words) == wanted
    assert sum(row["rows"] for row in told(lake, "list", "boards", *words)) == len(wanted)
    assert len(told(lake, "list", "boards", "--newest", "99", *words)) == len(wanted)


def test_an_export_has_coordinates_reason_and_the_payload_byte_for_byte(lake: BoardLake) -> None:
    found = {(row["_partition"], row["_offset"]): row for row in exported(lake)}
    values = {place: bytes_of(row) for place, row in found.items()}
    assert values == {
        (0, 1): BROKEN,
        (0, 2): BINARY,
        (0, 4): b'{"id": "x", "title": "no id"}',
        (0, 5): b"[]",
        (1, 0): b"{",
    }
    own = found[0, 2]
    assert (own["reason"], own["_topic"], own["_key"]) == ("invalid_utf8", "demo.boards", None)
    assert own["value"] is None
    assert own["_timestamp"] == "2026-01-01T00:00:02+00:00"


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=30) | st.text().map(str.encode), min_size=1, max_size=6))
def test_any_bytes_survive_an_export(
    tmp_path_factory: pytest.TempPathFactory, values: list[bytes]
) -> None:
    folder = tmp_path_factory.mktemp("boards")
    made = BoardLake(folder, str(folder / "lake"))
    write(made.config(), *(b"\x01" + value for value in values))
    found = sorted(exported(made), key=lambda row: row["_offset"])
    assert [bytes_of(row) for row in found] == [b"\x01" + value for value in values]


def test_a_file_is_written_whole_and_a_tombstone_has_no_value(
    tmp_path: Path, lake: BoardLake
) -> None:
    member = Member(lake.config(), 2)
    batch = member.batch([OAK])
    empty = batch.raw.with_columns(_value=pl.lit(None, pl.Binary))
    for sink in member.sinks:
        sink.write(member.process(rows_of(batch, empty)))
        sink.settle()
    member.close()
    out = tmp_path / "bad.ndjson"
    done = run(lake, "export", "boards", "--partition", "2", "--out", str(out))
    assert done.stdout == f"1 records in {out}\n"
    [row] = map(json.loads, out.read_text().splitlines())
    assert (row["reason"], bytes_of(row)) == ("tombstone", None)


def rows_of(batch: Any, frame: pl.DataFrame) -> Any:
    return Records(frame, batch.spans, batch.coordinates)


def test_a_record_is_shown_whole_with_what_today_says(lake: BoardLake) -> None:
    own = told(lake, "show", "boards", "0:2")
    assert (own["reason"], own["bytes"], own["headers"]) == ("invalid_utf8", len(BINARY), None)
    assert bytes_of(own) == BINARY
    assert own["today"]["passes"] is False
    assert own["today"]["reason"] == "invalid_utf8"
    said = run(lake, "show", "boards", "0:2").stdout
    assert "ff 00 20" in said


def test_a_record_that_passes_today_is_shown_as_its_row(lake: BoardLake) -> None:
    path, later = lake.path(), lake.folder / "later.yaml"
    later.write_text(path.read_text().replace(f"{path.stem}.py", "later.py"))
    code = path.with_suffix(".py").read_text().replace('"board", "id"', '"board", "title"')
    later.with_suffix(".py").write_text(code)
    own = told(lake, "show", "boards", "0:4", path=later)
    assert own["today"]["passes"] is True
    assert own["today"]["row"]["title"] == "no id"


def test_what_is_not_there_is_one_clear_error(lake: BoardLake) -> None:
    for words, said in (
        (["show", "boards", "0:0"], "demo.boards/0:0 is not in"),
        (["list", "boards", "--partition", "x"], "'x' is no partition"),
        (["list", "boards", "--partition", "99999999999"], "is no partition"),
    ):
        done = run(lake, *words)
        assert done.exit_code == 1
        assert said in str(done.exception), done.output
    assert run(lake, "show", "boards", "nowhere").exit_code == 2
    reversed_ = ["--from-offset", "4", "--until-offset", "2"]
    assert run(lake, "list", "boards", *reversed_).exit_code == 2


def test_a_pipeline_without_a_quarantine_has_nothing(tmp_path: Path) -> None:
    bare = BoardLake(tmp_path, str(tmp_path / "none"))
    assert told(bare, "list", "boards") == []
    assert exported(bare) == []
    assert run(bare, "show", "boards", "0:0").exit_code == 1


def test_only_the_rows_of_the_own_incarnation_are_there(lake: BoardLake) -> None:
    later = BoardLake(lake.folder, lake.root)
    path = later.path()
    text = path.read_text().replace("    schema:", "    incarnation: '2'\n    schema:")
    path.write_text(text)
    config = configfile.load(path, {})
    assert tables_of(config, "boards").folder
    assert find(tables_of(config, "boards").quarantine, dict) is not None
    assert told(lake, "list", "boards", path=path) == []


def test_a_list_reads_no_payloads_but_of_its_samples(
    lake: BoardLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counting reads a narrow frame: the payloads of all rows are never there together."""
    widths: list[list[str]] = []
    narrow = listing._narrow

    def watched(*given: Any) -> Iterator[pl.DataFrame]:
        for frame in narrow(*given):
            widths.append(frame.columns)
            yield frame

    monkeypatch.setattr(listing, "_narrow", watched)
    told(lake, "list", "boards")
    told(lake, "list", "boards", "--newest", "1")
    wanted = ["reason", "_timestamp", "__file", "_topic", "_partition", "_offset"]
    assert widths == [wanted, wanted]
