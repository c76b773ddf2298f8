"""`make spark`: notebooks/databricks.py on local Spark answers as `pinpip report` does.

On a lake of some 10,000 emulated records with dirt, repeated keys and ties between the routes: from
the tables, by a stream that goes on after more records came, and from both archives. Needs Java and
Maven; Spark has an environment of its own, which stays in the cache.
"""

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.peers import SPARK, environment, spark_jars
from core.config import Config
from pinpip.cli.report import answers
from tests.support.emulated_lake import KEYS, fill
from tests.support.places import ROOT

MORE = 150  # keys of which records come between the two runs of the stream
TOLERANCE = 1e-9
PACKAGES = ("pandas", "polars", "pyarrow", "pydantic")  # on the workers
Tree = dict[str, Any]


def main() -> None:
    """Run the notebook on each stage; exit with a message where an answer differs."""
    same = [f"{name}=={version(name)}" for name in PACKAGES]
    python = environment("spark-notebook", [f"pyspark=={SPARK}", "setuptools", *same])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = fill(folder)
        first = _tables(python, folder, config)
        fill(folder, MORE, KEYS)
        second = _tables(python, folder, config)
        if sum(second["read"].values()) * 2 > sum(first["read"].values()):
            sys.exit(f"the stream read old rows again: {first['read']}, then {second['read']}")
        of_kafka = _without(config, "streaming")
        for stage in ("clean", "raw"):
            found = _run(python, folder, "--widgets", stage=stage, place=str(folder / stage))
            _compare(stage, of_kafka, found["answers"])


def _tables(python: str, folder: Path, config: Config) -> Tree:
    views = str(folder / "views")
    found = _run(python, folder, stage="tables", place=str(folder / "lake"), output=views)
    _compare("tables", config, found["answers"])
    _compare(f"stream, which read {sum(found['read'].values()):,} rows", config, found["streamed"])
    return found


def _without(config: Config, word: str) -> Config:
    kept = {name: own for name, own in config.pipelines.items() if word not in name}
    return config.model_copy(update={"pipelines": kept})


def _run(python: str, folder: Path, *options: str, **settings: str) -> Tree:
    out = folder / "answers.json"
    own = {f"PINPIP_NOTEBOOK_{name.upper()}": value for name, value in settings.items()}
    own["TZ"] = "Pacific/Auckland"  # no year depends on where Spark runs
    own["PINPIP_NOTEBOOK_QUESTIONS"] = str(ROOT / "reports" / "questions")
    own |= {"PYTHONPATH": str(ROOT), "PINPIP_SPARK_JARS": str(spark_jars())}
    done = subprocess.run(
        [python, "-m", "tests.e2e.on_spark", str(out), *options],
        cwd=folder,
        env=os.environ | own,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"the notebook failed with {settings}:\n{done.stderr[-3000:]}")
    tree: Tree = json.loads(out.read_text(encoding="utf-8"))
    return tree


def _compare(what: str, config: Config, found: Mapping[str, tuple[list[str], list[Any]]]) -> None:
    wanted = {a.question.name: a.frame for a in answers(config, None)}
    differing = [
        name
        for name, frame in wanted.items()
        if name not in found
        or found[name][0] != frame.columns
        or len(found[name][1]) != frame.height
        or not all(
            _same(*pair) for pair in zip(_cells(found[name][1]), _cells(frame.rows()), strict=True)
        )
    ]
    if differing or set(found) != set(wanted):
        sys.exit(
            f"{what}: Spark answers otherwise than DuckDB: {differing or set(found) ^ set(wanted)}"
        )
    rows = sum(frame.height for frame in wanted.values())
    print(f"{what}: {len(wanted)} answers with {rows:,} rows equal DuckDB's")  # noqa: T201  # its result


def _cells(rows: list[Any]) -> Iterator[Any]:
    return (cell for row in rows for cell in row)


def _same(spark: object, duckdb: object) -> bool:
    if isinstance(spark, float) and isinstance(duckdb, float):
        return math.isclose(spark, duckdb, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return spark == duckdb and type(spark) is type(duckdb)


if __name__ == "__main__":
    main()
