"""`make spark`: Spark reads the rows that polars, DuckDB and delta-rs read, after each operation.

The tables are copied as they are after each operation, and one Spark session reads all copies. Run
as `python -m tests.e2e.spark_tables`, it needs Java and Maven.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import polars as pl

from benchmarks.peers import DELTA, SPARK, environment, spark_jars
from tests.e2e.spark import PACKAGES
from tests.support import reading
from tests.support.brokers import mock_broker
from tests.support.operations import operations
from tests.support.places import ROOT

READERS = ("polars", "duckdb", "deltalake")


def main() -> None:
    """Compare each table after each operation; exit with a message where rows differ."""
    same = [f"{name}=={version(name)}" for name in PACKAGES]
    python = environment("spark-notebook", [f"pyspark=={SPARK}", "setuptools", *same])
    with tempfile.TemporaryDirectory() as name, mock_broker() as broker:
        folder, copies = Path(name) / "lake", dict[Path, str]()
        folder.mkdir()
        for done in operations(folder, broker):
            for table in done.tables:
                copy = Path(name) / "copies" / str(len(copies))
                shutil.copytree(table, copy / "table")
                copies[copy] = f"{done.name}, {table.name}"
        _read(python, Path(name), list(copies))
        differing = [said for copy, what in copies.items() if (said := _compared(copy, what))]
    engines = ", ".join(f"{each} {version(each)}" for each in READERS)
    print(f"{len(copies)} tables: Spark {SPARK} with Delta {DELTA}, {engines}")  # noqa: T201  # its result
    if differing:
        sys.exit("\n".join(differing))


def _read(python: str, folder: Path, copies: list[Path]) -> None:
    done = subprocess.run(
        [python, "-m", "tests.e2e.on_spark_tables", *map(str, copies)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PINPIP_SPARK_JARS": str(spark_jars())},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"Spark could not read a table:\n{done.stderr[-3000:]}")


def _compared(copy: Path, what: str) -> str:
    """Return how the engines differ on one table; empty when they read the same rows."""
    table, spark = copy / "table", pl.read_ipc(copy / "rows.arrow")
    wanted = reading.polars(table)
    found = {"Spark": reading.in_utc(spark)}
    found |= {engine: read(table) for engine, read in reading.ENGINES.items()}
    try:
        for engine, rows in found.items():
            reading.assert_same(f"{engine} after {what}", rows, wanted)
    except AssertionError as error:
        return str(error)
    print(f"{what}: {wanted.height} rows are equal in all four engines")  # noqa: T201  # its result
    return ""


if __name__ == "__main__":
    main()
