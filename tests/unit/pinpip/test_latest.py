"""The table of latest rows as a pipeline of config.yaml declares it, and `pinpip latest`."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from deltalake import DeltaTable
from typer.testing import CliRunner

from core.clock import SystemClock
from core.config import Config
from core.errors import ConfigError
from pinpip import configfile
from pinpip import latest as latest_tables
from pinpip.cli import app
from pinpip.latest import LatestTable
from pinpip.maintain import maintain
from pinpip.quarantine.requeue import requeue
from pinpip.quarantine.rows import Choice
from sinks.delta import log
from sinks.latest.writer import Writer
from tests.support.board_lake import BoardLake, write
from tests.support.replacing import V1, V2, filled

UPSERT = {"mode": "upsert", "key": "id"}
STRICT = 'rows.with_columns(pl.col("title").cast(pl.Int64).cast(pl.String))'
OAK = [{"id": 1, "title": "Oak"}, {"id": 2, "title": "Elm"}, {"id": 1, "title": "Ash"}]


def path_of(folder: Path, body: str = "rows", **own: Any) -> Path:
    """Return the configuration of a lake whose pipeline has these keys."""
    path = BoardLake(folder, str(folder / "lake")).path(body=body)
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    tree["pipelines"]["boards"] |= own
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Return the configuration of a pipeline with three records of two keys."""
    found = configfile.load(path_of(tmp_path, **UPSERT), {})
    write(found, *OAK)
    return found


@pytest.fixture
def table(config: Config) -> Iterator[LatestTable]:
    """Return its table of latest rows."""
    with closing(LatestTable(config, "boards", SystemClock())) as found:
        yield found


def run(path: Path, *arguments: str) -> Any:
    return CliRunner().invoke(app, ["-c", str(path), *arguments])


def test_the_command_says_what_it_read_and_then_that_nothing_is_left(
    config: Config, table: LatestTable
) -> None:
    told = run(config.file.path, "latest", "boards").stdout
    assert told == "boards: 3 rows read, 1 files written; built again: it is new\n"
    assert pl.read_delta(table.uri).sort("id")["title"].to_list() == ["Ash", "Elm"]
    assert run(config.file.path, "latest", "boards").stdout == "boards: up to date\n"
    write(config, {"id": 2, "title": "Fir"})
    tree = json.loads(run(config.file.path, "latest", "boards", "--json").stdout)
    assert (tree["rows"], tree["files"], tree["rebuilt"]) == (1, 1, [])


def test_a_pipeline_without_the_mode_is_refused(tmp_path: Path) -> None:
    told = run(path_of(tmp_path), "latest", "boards")
    assert isinstance(told.exception, ConfigError)
    assert "pipeline boards keeps no latest rows" in told.exception.message


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"key": "id"}, "key is of pipelines with `mode: upsert`"),
        ({"order": "id"}, "order is of pipelines with `mode: upsert`"),
        ({"every": 5}, "every is of pipelines with `mode: upsert`"),
        ({"mode": "upsert"}, "mode: upsert needs the `key`"),
        (
            {**UPSERT, "source": {"topics": ["a"], "tombstones": "drop"}},
            "a tombstone that is dropped deletes nothing",
        ),
    ],
)
def test_a_mode_that_is_half_declared_is_refused(
    tmp_path: Path, own: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        configfile.load(path_of(tmp_path, **own), {})


def test_the_latest_table_is_a_place_that_nobody_else_may_write(tmp_path: Path) -> None:
    path = path_of(tmp_path, **UPSERT)
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    other = tree["pipelines"]["boards"] | {"mode": "append", "sinks": [{"delta": "boards_latest"}]}
    other = {k: v for k, v in other.items() if k != "key"} | {"source": {"topics": ["other"]}}
    tree["pipelines"]["other"] = other
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"boards and other would write .*boards_latest twice"):
        configfile.load(path, {})


def test_config_check_names_a_key_that_the_table_does_not_have(tmp_path: Path) -> None:
    told = run(path_of(tmp_path, mode="upsert", key="idd"), "config", "check")
    assert told.exit_code == 1
    assert "key: the table has no column idd" in told.output


def test_replaced_files_are_removed_when_no_reader_may_need_them(
    config: Config, table: LatestTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.step()
    write(config, {"id": 2, "title": "Fir"})
    table.step()
    files = set(Path(table.uri).glob("*.parquet"))
    assert len(files) == 2
    monkeypatch.setattr(latest_tables, "is_checkpoint_due", lambda *_: True)
    write(config, {"id": 2, "title": "Yew"})
    table.step()
    assert files < set(Path(table.uri).glob("*.parquet"))
    DeltaTable(table.uri).alter.set_table_properties(
        {"delta.deletedFileRetentionDuration": "interval 0 hours"}
    )
    write(config, {"id": 2, "title": "Oak"})
    table.step()
    [left] = set(Path(table.uri).glob("*.parquet"))
    assert DeltaTable(table.uri).file_uris() == [str(left)]


def test_verify_names_the_difference_and_how_far_it_is_behind(
    config: Config, table: LatestTable
) -> None:
    assert "latest" in run(config.file.path, "verify", "--offline").stdout
    table.step()
    write(config, {"id": 2, "title": "Fir"})
    [told] = json.loads(run(config.file.path, "verify", "--offline", "--json").stdout)
    assert told["findings"] == told["unknown"] == []
    assert (told["latest"]["rows"], told["latest"]["behind"]) == (2, 2)
    said = run(config.file.path, "verify", "--offline").stdout
    assert "2 latest rows of boards, 2 commits behind" in " ".join(said.split())
    [file] = DeltaTable(table.uri).file_uris()
    pl.read_parquet(file).with_columns(title=pl.lit("other")).write_parquet(file)
    done = run(config.file.path, "verify", "--offline", "--json")
    [told] = json.loads(done.stdout)
    assert done.exit_code == 3
    assert [found["where"] for found in told["findings"]] == ["latest id 1", "latest id 2"]


def test_a_requeued_record_is_the_latest_only_if_nothing_later_is_there(tmp_path: Path) -> None:
    strict = configfile.load(path_of(tmp_path, STRICT, **UPSERT), {})
    records = [(1, "7"), (1, "Oak"), (2, "Elm"), (2, "8")]
    write(strict, *({"id": number, "title": title} for number, title in records))
    today = configfile.load(path_of(tmp_path, **UPSERT), {})
    with closing(LatestTable(today, "boards", SystemClock())) as table:
        table.catch_up()
        assert pl.read_delta(table.uri).sort("id")["title"].to_list() == ["7", "8"]
        assert requeue(today, "boards", Choice(), SystemClock()).passing == 2
        done = table.catch_up()
        assert (done.rebuilt, done.behind) == (None, 0)
        assert pl.read_delta(table.uri).sort("id")["title"].to_list() == ["Oak", "8"]
        [told] = json.loads(run(today.file.path, "verify", "--offline", "--json").stdout)
        assert told["findings"] == []


@pytest.mark.parametrize("kills", [0, 1])
def test_rows_replaced_in_place_are_followed_also_between_both_tables(
    tmp_path: Path, kills: int
) -> None:
    history = filled(tmp_path)
    history.write(V1, 1, *({"id": 2, "title": title} for title in ("5", "13")))
    history.write(V1, 0, {"id": 3, "title": "drop"}, None)
    today = configfile.load(path_of(tmp_path, V2, **UPSERT), {})
    with closing(LatestTable(today, "boards", SystemClock())) as table:
        table.catch_up()
        assert titles(table) == {1: "9", 2: "13"}
        for _ in range(kills):
            with pytest.raises(KeyboardInterrupt):
                history.replace(V2, reached=killed_between)
            assert table.catch_up().rebuilt is None
            assert titles(table) == {1: "v2 9", 2: "v2 5"}
        history.replace(V2)
        assert table.catch_up().rebuilt is None
        assert titles(table) == {1: "v2 9", 2: "v2 5"}
    [told] = json.loads(run(today.file.path, "verify", "--offline", "--json").stdout)
    assert (told["findings"], told["unknown"]) == ([], [])


def killed_between(step: str) -> None:
    if step == "clean":
        raise KeyboardInterrupt


def titles(table: LatestTable) -> dict[int, str]:
    return dict(pl.read_delta(table.uri).select("id", "title").rows())


def orphan(config: Config) -> Path:
    """Let a follower die between its files and its entry; return the file."""
    folder = Path(f"{config.lake.uri('boards')}_latest")
    before = set(folder.glob("*.parquet"))
    table = LatestTable(config, "boards", SystemClock())
    with closing(table), pytest.MonkeyPatch.context() as patched:
        patched.setattr(Writer, "commit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            table.catch_up()
    [path] = set(folder.glob("*.parquet")) - before
    return path


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def age(path: Path, days: float) -> None:
    then = time.time() - 86_400 * days
    os.utime(path, (then, then))


def test_maintain_removes_what_a_follower_left_and_never_what_it_may_still_name(
    config: Config, table: LatestTable
) -> None:
    table.catch_up()
    for entry in Path(table.uri, "_delta_log").glob("*.json"):
        age(entry, 3)
    write(config, {"id": 3, "title": "Fir"})
    old, young = orphan(config), orphan(config)
    age(old, 2)
    table.catch_up()
    before = pl.read_delta(table.uri).sort("id")
    [*_, latest] = maintain(config, "boards", SystemClock())
    assert (latest.table, latest.merged, latest.removed) == (table.uri, 0, 1)
    assert (old.exists(), young.exists()) == (False, True)
    assert pl.read_delta(table.uri).sort("id").equals(before)
    write(config, {"id": 3, "title": "Yew"})
    table.catch_up()
    assert pl.read_delta(table.uri).sort("id")["title"].to_list() == ["Ash", "Elm", "Yew"]


def test_maintain_writes_the_checkpoint_that_followers_left_undone(
    config: Config, table: LatestTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "CHECKPOINT_EVERY", 2)
    monkeypatch.setattr(latest_tables, "is_checkpoint_due", lambda *_: False)
    for n in range(5):
        write(config, {"id": n, "title": "Oak"})
        table.catch_up()
    assert not (hint := Path(table.uri, "_delta_log", "_last_checkpoint")).exists()
    plan = list(maintain(config, "boards", SystemClock(), dry_run=True))
    assert [one.table.rpartition("_")[2] for one in plan][1:] == ["quarantine", "latest"]
    assert not hint.exists()
    assert [one.checkpoint for one in maintain(config, "boards", SystemClock())][-1]
    assert hint.exists()
