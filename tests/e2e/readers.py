"""`make readers`: the snippets of docs/reading.md that need other packages, or Java.

pandas and Spark run in one environment of their own, which stays in the cache, with the jars that
the benchmarks take. Needs Java and Maven.
"""

import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from benchmarks.peers import SPARK, environment, spark_jars
from tests.support.places import ROOT
from tests.support.reading_page import LATEST, OTHERS, ROWS, block, told, write_lake

PANDAS = "pandas>=2.3,<4"
BEFORE = {
    "pandas": "",
    "Spark": "from benchmarks.contestants.spark import session\nspark = session()\n",
}
AFTER = {
    "pandas": "rows = [len(pins), latest.to_dict('records')]\n",
    "Spark": "rows = [pins.count(), [row.asDict() for row in latest.collect()]]\n",
}
PRINTED = "import json\nprint(json.dumps(rows, default=str))\n"


def main() -> None:
    """Run the snippets; exit with a message when one gives other rows than the table has."""
    same = [f"{name}=={version(name)}" for name in ("deltalake", "pyarrow")]
    python = environment("readers", [f"pyspark=={SPARK}", "setuptools", PANDAS, *same])
    with tempfile.TemporaryDirectory() as folder:
        write_lake(Path(folder))
        for title in OTHERS:
            _run(python, Path(folder), title)


def _run(python: str, folder: Path, title: str) -> None:
    code = BEFORE[title] + block(title) + AFTER[title] + PRINTED
    own = {"PYTHONPATH": str(ROOT), "PINPIP_SPARK_JARS": str(spark_jars())}
    done = subprocess.run(
        [python, "-c", code],
        cwd=folder,
        env=os.environ | own,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"the snippet for {title} failed:\n{done.stderr[-3000:]}")
    rows, latest = json.loads(done.stdout.splitlines()[-1])
    if (rows, told(latest)) != (ROWS, LATEST):
        sys.exit(f"the snippet for {title} gave {rows} rows and the current view {latest}")
    print(f"{title}: {rows} rows, {len(latest)} of them current")  # noqa: T201  # its result


if __name__ == "__main__":
    main()
