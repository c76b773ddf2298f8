"""Write tables of results into docs/benchmarks.md, between the comments that name them."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.results import BenchmarkResult

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def write(found: BenchmarkResult, page: Path = PAGE) -> None:
    """Replace the table of this measurement; raises ValueError when the page has no place for it.

    The place is `<!-- table: MEASURE -->` up to `<!-- end -->`.
    """
    text = page.read_text(encoding="utf-8")
    begin = f"<!-- table: {found.measure} -->\n"
    pattern = re.compile(re.escape(begin) + r".*?(?=<!-- end -->)", re.DOTALL)
    made = f"{begin}\n{table(found.rows)}\n\n"
    changed, number = pattern.subn(lambda _: made, text)
    if number != 1:
        raise ValueError(f"{page} has {number} places for the table {found.measure}")
    page.write_text(changed, encoding="utf-8")


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows in Markdown, without their lists."""
    names = [name for name, value in rows[0].items() if not isinstance(value, list)]
    lines = [names, ["---:" if _is_number(rows[0][name]) else "---" for name in names]]
    lines += [[_cell(row[name]) for name in names] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float))


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, (int, float)) else str(value)
