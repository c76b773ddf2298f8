"""The snippets of docs/reading.md whose engines are installed here are run."""

import json
import shlex
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from deltalake import DeltaTable

from tests.support.commands import invoke
from tests.support.processes import Home
from tests.support.reading_page import (
    LATEST,
    OTHERS,
    PAGE,
    ROWS,
    block,
    section,
    told,
    write_lake,
)


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with the lake that the page reads, which is the current one."""
    write_lake(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(title: str, **names: object) -> dict[str, Any]:
    """Run the snippet below a heading; return what it defined."""
    defined = dict(names)
    exec(compile(block(title), f"docs/reading.md, {title}", "exec"), defined)  # noqa: S102
    return defined


@pytest.mark.usefixtures("lake")
def test_polars() -> None:
    found = run("polars")
    assert len(found["pins"].collect()) == ROWS
    assert told(found["latest"].collect().to_dicts()) == LATEST


@pytest.mark.usefixtures("lake")
def test_duckdb() -> None:
    found = run("DuckDB")
    assert len(found["pins"].pl()) == ROWS
    assert told(found["latest"].pl().to_dicts()) == LATEST


@pytest.mark.usefixtures("lake")
def test_delta_rs_with_the_query_of_the_page() -> None:
    found = run("delta-rs", LATEST=block("SQL", "sql"))
    assert found["pins"].num_rows == ROWS
    assert told(pl.DataFrame(found["latest"]).to_dicts()) == LATEST


def test_the_query_of_the_page_on_duckdb(lake: Path) -> None:
    pin = DeltaTable(str(lake / ".pinpip/lake/pin")).to_pyarrow_dataset()
    with duckdb.connect() as database:
        database.register("pin", pin)
        assert told(database.sql(block("SQL", "sql")).pl().to_dicts()) == LATEST


def test_pinpip_table(lake: Path) -> None:
    (lake / "config.yaml").write_bytes(files("pinpip").joinpath("config.yaml").read_bytes())
    home = Home(lake)
    for line in block("On the command line", "sh").splitlines():
        program, *arguments = shlex.split(line)
        assert program == "pinpip"
        done = invoke(home, *arguments, *(["--out", "5.json"] if "--limit" in line else []))
        assert done.exit_code == 0, done.output
    assert len(json.loads((lake / "5.json").read_text())) == 5
    assert told(pl.read_parquet(lake / "pins.parquet").to_dicts()) == LATEST


def test_a_join_without_the_current_view_multiplies_rows(lake: Path) -> None:
    """The page's warning is true, and its remedy helps."""
    pins = pl.scan_delta(str(lake / ".pinpip/lake/pin"))
    assert len(pins.join(pins, on="ind").collect()) == 3 * 3 + 2 * 2 + 1 + 1
    latest = run("polars")["latest"]
    assert len(latest.join(latest, on="ind").collect()) == len(LATEST)


def test_each_section_with_a_snippet_is_run_by_some_test() -> None:
    """`make readers` runs pandas and Spark."""
    titles = [line.removeprefix("## ") for line in PAGE.splitlines() if line.startswith("## ")]
    with_code = {title for title in titles if "```" in section(title)}
    assert with_code == {"On the command line", "polars", "DuckDB", "delta-rs", "SQL", *OTHERS}
