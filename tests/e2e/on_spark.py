"""Run notebooks/databricks.py on local Spark; write its answers to a file: `make spark`.

Runs in Spark's own environment. `--widgets` hands the notebook what Databricks has, `dbutils` and
`display`; without, it takes its settings from the environment.
"""

import json
import os
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.contestants.spark import session

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "databricks.py"


class Widgets:
    """`dbutils.widgets`, with the values that somebody has set."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}

    def text(self, name: str, default: str) -> None:
        self._values[name] = os.environ.get(f"PINPIP_NOTEBOOK_{name.upper()}", default)

    def dropdown(self, name: str, default: str, choices: list[str]) -> None:
        self.text(name, default)
        if self._values[name] not in choices:
            raise ValueError(f"{name} has no {self._values[name]}")

    def get(self, name: str) -> str:
        return self._values[name]


def main(out: Path, *options: str) -> None:
    """Write the notebook's answers, those of its stream, and how many rows that read."""
    session()
    displayed: list[Any] = []
    given = {"dbutils": SimpleNamespace(widgets=Widgets()), "display": displayed.append}
    found = runpy.run_path(str(NOTEBOOK), given if "--widgets" in options else None)
    if "--widgets" in options and len(displayed) <= len(found["answers"]):
        sys.exit("the notebook displayed too little")
    tree: dict[str, Any] = {name: _collected(found[name]) for name in ("answers", "streamed")}
    out.write_text(json.dumps(tree | {"read": found["read"]}), encoding="utf-8")


def _collected(answers: dict[str, Any]) -> dict[str, Any]:
    return {
        name: [frame.columns, list(map(list, frame.collect()))] for name, frame in answers.items()
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
