"""Run notebooks/databricks.py on local Spark, and print its answers as JSON: `make spark`.

Runs in Spark's own environment. The notebook gets its settings by the environment.
"""

import json
import runpy
import sys
from pathlib import Path
from typing import Any

from benchmarks.contestants.spark import session

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "databricks.py"


def main() -> None:
    """Write what the notebook found to the file that is named."""
    session()
    found = runpy.run_path(str(NOTEBOOK))
    tree: dict[str, Any] = {
        name: {
            key: [frame.columns, list(map(list, frame.collect()))]
            for key, frame in found[name].items()
        }
        for name in ("answers", "streamed")
    }
    Path(sys.argv[1]).write_text(json.dumps(tree | {"read": found["read"]}), encoding="utf-8")


if __name__ == "__main__":
    main()
