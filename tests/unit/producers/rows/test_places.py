"""Which files a word of `--from` means, and in which order."""

import json
import os
from pathlib import Path

import pytest

from producers.rows.inputs import InputError, order_of
from producers.rows.places import inputs_at
from tests.support.records import boards_of


def fill(folder: Path, *names: str) -> None:
    """Write a file per name, each with one row whose key is the number of the file."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"board": number, "name": name}), encoding="utf-8")


def names_of(place: Path, kind: str | None = None, notes: list[str] | None = None) -> list[str]:
    found: list[str] = [] if notes is None else notes
    return [each.name for each in inputs_at(str(place), kind, found.append, lambda: False)]


def test_a_folder_gives_its_files_of_rows_by_name_and_a_note_of_the_others(tmp_path: Path) -> None:
    fill(
        tmp_path,
        "b/2.json",
        "b/1.ndjson",
        "a.CSV",
        "c.avro",
        "_SUCCESS",
        ".b.json.crc",
        "_t/x.json",
    )
    notes: list[str] = []
    found = names_of(tmp_path, notes=notes)
    assert found == [str(tmp_path / name) for name in ("a.CSV", "b/1.ndjson", "b/2.json")]
    assert notes == [f"{tmp_path}: 1 files of other kinds are left out"]
    assert len(names_of(tmp_path, "json")) == 4


def test_links_are_followed_once_and_no_folder_is_skipped_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, "in/a/1.json", "elsewhere/2.json")
    for name, target in (("link", "elsewhere"), ("again", "elsewhere"), ("loop", "in")):
        (tmp_path / "in" / name).symlink_to(tmp_path / target)
    found = [str(Path(name).relative_to(tmp_path / "in")) for name in names_of(tmp_path / "in")]
    assert found == ["a/1.json", "again/2.json"]

    def denied(_: str) -> None:
        raise PermissionError(13, "Permission denied", "in/a")

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(InputError, match="in/a: Permission denied"):
        names_of(tmp_path / "in")


@pytest.mark.parametrize("name", ["[x]", "a%20b", "*", "a?b", "ü d", "#1"])
def test_a_folder_that_exists_is_taken_literally(tmp_path: Path, name: str) -> None:
    fill(tmp_path, f"{name}/rows.json", "x/other.json", "a b/other.json")
    assert [row["name"] for row in boards_of(tmp_path / name)] == [f"{name}/rows.json"]


def test_a_glob_gives_what_it_matches_also_literal_brackets(tmp_path: Path) -> None:
    fill(tmp_path, "2.json", "1.json", "3.csv", "[x].json", "deep/[x]/4.json")
    assert [Path(name).name for name in names_of(tmp_path / "[12].json")] == ["1.json", "2.json"]
    assert [Path(name).name for name in names_of(tmp_path / "[x].json")] == ["[x].json"]
    assert [Path(name).name for name in names_of(tmp_path / "**" / "*4.json")] == ["4.json"]


def test_files_of_kafka_connect_go_by_partition_and_offset(tmp_path: Path) -> None:
    first, last = (
        "partition=2/demo.pin+2+0000000007.json",
        "partition=10/demo.pin+10+0000000000.json",
    )
    later = "partition=2/demo.pin+2+12345678901.json.gz"
    aside = "partition=2/demo.pin+2+0000000007.keys.json"
    fill(tmp_path / "topics/demo.pin", last, later, first, aside)
    made = inputs_at(str(tmp_path), None, lambda _: None, lambda: False)
    folder = tmp_path / "topics/demo.pin"
    assert [each.name for each in made] == [str(folder / name) for name in (first, later, last)]
    assert {each.topic for each in made} == {"demo.pin"}


def test_times_in_folders_of_kafka_connect_do_not_break_the_order_of_offsets() -> None:
    names = [f"t/year=2020/month={m}/t+0+{n:010}.json" for m, n in ((10, 5), (9, 3), (11, 9))]
    assert sorted(names, key=order_of) == [names[1], names[0], names[2]]


def test_columns_in_the_names_of_folders_are_fields_as_spark_and_hive_write_them(
    tmp_path: Path,
) -> None:
    fill(tmp_path / "year=2020", "name=a%2Fb/1.json", "x=y/name=c/pins=7.0/2.json")
    fill(tmp_path, "pins=__HIVE_DEFAULT_PARTITION__/3.json", "pins=5/demo.t+0+1.json")
    assert boards_of(tmp_path) == [
        {"board": 0, "name": "pins=__HIVE_DEFAULT_PARTITION__/3.json", "pins": None},
        {"board": 0, "name": "name=a%2Fb/1.json"},
        {"board": 1, "name": "x=y/name=c/pins=7.0/2.json", "pins": 7},
        {"board": 1, "name": "pins=5/demo.t+0+1.json"},
    ]
    bare = tmp_path / "name=a%2Fb" / "4.json"
    bare.parent.mkdir()
    bare.write_text('{"board": 4}', encoding="utf-8")
    assert boards_of(bare) == [{"name": "a/b", "board": 4}]


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("none.ndjson", "file not found: .*none.ndjson"),
        ("*.none", "file not found"),
        ("x" * 300, "File name too long"),
        ("empty", "no files of rows"),
        ("table", "holds a Delta table"),
    ],
)
def test_a_word_without_rows_is_named(tmp_path: Path, word: str, complaint: str) -> None:
    (tmp_path / "empty").mkdir()
    fill(tmp_path / "table", "_delta_log/0.json", "a.parquet")
    with pytest.raises(InputError, match=complaint) as raised:
        names_of(tmp_path / word)
    assert raised.value.hint
