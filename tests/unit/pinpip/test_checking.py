"""`pinpip config check`: what each consumer would refuse, all of it, without a network."""

import json
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from core.config import Config
from pinpip import checking, configfile
from pinpip.cli import app
from tests.support.places import ROOT

HEAD = """
import polars as pl
from polars import selectors as cs
from transforms.schema import Schema

SCHEMA = Schema("boards", "id", {"id": pl.Int64(), "name": pl.String(), "at": pl.String()})
"""


@pytest.fixture(autouse=True)
def _path_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the folders of code that a test loads."""
    monkeypatch.setattr(sys, "path", list(sys.path))


def pipeline(name: str, **changes: Any) -> dict[str, Any]:
    own = {"schema": f"{name}.py:SCHEMA", "transform": f"{name}.py:clean"}
    source = {"topics": [name]}
    return {"source": source, **own, "sinks": [{"delta": name}]} | changes


def written(folder: Path, transforms: dict[str, str], **sections: Any) -> Path:
    """Write a configuration with a pipeline for each function body."""
    for name, body in transforms.items():
        code = f"{HEAD}\n\ndef clean(rows):\n    return {dedent(body)}\n"
        (folder / f"{name}.py").write_text(code, encoding="utf-8")
    tree = {"id": "demo", "kafka": {"bootstrap.servers": "127.0.0.1:1"}}
    tree |= {"pipelines": {name: pipeline(name) for name in transforms}, **sections}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


def checked(folder: Path, body: str) -> checking.Checked:
    return checking.check(configfile.load(written(folder, {"boards": body}), {}))["boards"]


def said(folder: Path, body: str) -> list[str]:
    found = checked(folder, body)
    assert all(problem.hint for problem in found.problems)
    return [problem.message for problem in found.problems]


def example() -> Config:
    return configfile.load(ROOT / "config.yaml", {})


def test_the_documented_example_has_no_problem_and_its_columns_are_told() -> None:
    config = example()
    assert checking.kafka_problems(config) == []
    found = checking.check(config)
    assert [name for name, own in found.items() if own.problems] == []
    assert list(found["geo"].columns)[:4] == ["ind", "country", "coordinates", "timestamp"]
    assert list(found["streaming_geo"].columns)[-7:-5] == ["_stream", "_shard"]
    assert {tuple(own.outcomes) for own in found.values()} == {("clean",)}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("rows.select('id')", "lost or changed the columns _topic, _partition, _offset"),
        ("rows.select(pl.col('nmae'), cs.starts_with('_'))", "nmae"),
        ("rows.with_columns(pl.col('at').str.to_datetime('%Y', strict=False))", "without a zone"),
        ("rows.with_columns(d=pl.duration(days=1))", "column d: Delta has no type for Duration"),
        ("rows.with_columns(d=pl.col('id').hash())", "column d: Delta has no type for UInt64"),
        ("1 / 0", "ZeroDivisionError: division by zero (boards.py, line "),
        ("rows.collect()", "it returns DataFrame, not LazyFrame"),
        ("pl.concat([rows, rows])", "the same record more than once"),
    ],
)
def test_what_the_consumer_would_refuse_is_refused(tmp_path: Path, body: str, message: str) -> None:
    (found,) = said(tmp_path, body)
    assert message in found
    assert "\n" not in found


def test_what_delta_holds_in_another_type_is_told_as_that_type(tmp_path: Path) -> None:
    body = (
        "rows.with_columns(n=pl.col('name').str.len_chars(), c=pl.col('name').cast(pl.Categorical))"
    )
    found = checked(tmp_path, body)
    assert found.problems == []
    assert [str(found.columns[name]) for name in ("n", "c")] == ["Int64", "String"]


def test_rows_that_a_transform_leaves_out_are_counted(tmp_path: Path) -> None:
    found = checked(tmp_path, "rows.filter(pl.col('name') == 'text')")
    assert found.problems == []
    assert found.outcomes["filtered"] > 0
    assert found.outcomes["clean"] > 0


def test_every_problem_of_every_pipeline_is_told(tmp_path: Path) -> None:
    bodies = {
        "one": "rows.select('id', t=pl.lit(0).cast(pl.Time), n=pl.col('at').str.to_datetime('%Y'))",
        "two": "rows",
        "three": "rows.absent()",
    }
    path = written(
        tmp_path,
        bodies,
        kafka={"bootstrap.servers": "x", "sasl.mechanizm": "PLAIN", "enable.auto.commit": True},
    )
    tree = yaml.safe_load(path.read_text("utf-8"))
    tree["pipelines"]["four"] = pipeline("four", transform="absent.py:x", schema="one.py:SCHEME")
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    done = CliRunner().invoke(app, ["-c", str(path), "config", "check", "--json"])
    assert done.exit_code == 1
    problems = json.loads(done.stdout)["problems"]
    assert [problem["pipeline"] for problem in problems] == [
        None,
        None,
        *["four"] * 2,
        *["one"] * 3,
        "three",
    ]
    assert done.stderr.count("error: ") == len(problems)
    assert done.stderr.count("next:  ") == len(problems)
    assert "did you mean 'SCHEMA'?" in done.stderr
    assert "did you mean 'sasl.mechanism'?" in done.stderr


def test_a_configuration_without_kafka_pipelines_is_not_asked_about_kafka(tmp_path: Path) -> None:
    path = written(tmp_path, {"boards": "rows"}, kafka={"bootstrap.servers": "x", "no.such": 1})
    tree = yaml.safe_load(path.read_text("utf-8"))
    tree["pipelines"]["boards"]["source"] = {"stream": "boards"}
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    assert checking.kafka_problems(configfile.load(path, {})) == []


def test_what_is_shown_fits_into_80_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    body = "rows.with_columns(pl.struct('id', 'name', 'at').alias('a_column_of_a_long_name'))"
    path = written(tmp_path, {"boards": body})
    done = CliRunner().invoke(app, ["-c", str(path), "config", "check"])
    assert done.exit_code == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "struct<id: long, name: string, at: string>" in done.stdout
    assert "8 clean" in done.stdout


def test_brackets_and_codes_of_a_terminal_are_shown_as_they_are(tmp_path: Path) -> None:
    body = "rows.map_batches(fail).select(cs.all())"
    path = written(tmp_path, {"boards": body})
    code = tmp_path / "boards.py"
    fail = """
        def fail(rows):
            if len(rows):
                raise ValueError("[bold]no[/] \\x1b[31m")
            return rows
    """
    code.write_text(code.read_text("utf-8") + dedent(fail), encoding="utf-8")
    said = CliRunner().invoke(app, ["-c", str(path), "config", "check"]).stdout
    assert "[bold]no[/]" in said
    assert "\x1b" not in said
