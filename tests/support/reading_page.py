"""The snippets of docs/reading.md, and a lake with repeated keys to run them on."""

import re
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.support.places import ROOT
from tests.support.report_tables import STORED, Row, on_kafka

PAGE = (ROOT / "docs/reading.md").read_text(encoding="utf-8")
# Each list is a file with its time in seconds; in the second one, higher offsets have older times.
WRITTEN: list[tuple[int, list[Row]]] = [
    (60, [(1, "art", "Ann", 1), (2, "art", "Bob", None), (1, "quotes", "Ann", 2)]),
    (0, [(2, "old", "Bob", 9), (3, "travel", None, 3)]),
    (60, [(4, "art", "Dee", 4), (1, "diy", "Ann", 5)]),
]
ROWS = sum(len(rows) for _, rows in WRITTEN)
LATEST = [(1, "diy"), (2, "art"), (3, "travel"), (4, "art")]
OTHERS = ("pandas", "Spark")  # sections that `make readers` runs


def section(title: str) -> str:
    """Return the text below one heading."""
    [text] = re.findall(
        rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE
    )
    return str(text)


def block(title: str, language: str = "python") -> str:
    """Return the only block of the language below a heading."""
    [text] = re.findall(rf"^```{language}\n(.*?)^```", section(title), re.DOTALL | re.MULTILINE)
    return str(text)


def write_lake(folder: Path) -> None:
    """Write the table of pins where the page has it, in several files."""
    first = 0
    for seconds, rows in WRITTEN:
        frame = on_kafka("pin", rows, first, STORED + timedelta(seconds=seconds))
        target = folder / ".pinpip/lake/pin"
        frame.drop("_rescued").collect().write_delta(str(target), mode="append")
        first += len(rows)


def told(rows: Iterable[dict[str, Any]]) -> list[tuple[int, str]]:
    """Return keys and categories, in order, to compare with LATEST."""
    return sorted((int(row["ind"]), str(row["category"])) for row in rows)
