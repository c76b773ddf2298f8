"""Rows as a Markdown table that shows each value as it is.

Source: GitHub Flavored Markdown, sections 4.10 (tables), 2.4 (backslash escapes).
"""

import re

import polars as pl

_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~&!])")
_BREAKS = re.compile(r"\r\n|[\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


def escaped(text: str) -> str:
    """Return text for one cell: no markup, line breaks as `<br>`, control characters as blanks."""
    rows = _BREAKS.split(_MARKUP.sub(r"\\\1", text))
    return "<br>".join(_CONTROL.sub(" ", row) for row in rows)


def heading(frame: pl.DataFrame) -> str:
    """Return the two lines that begin the table; numbers stand right."""
    rules = ["---:" if dtype.is_numeric() else "---" for dtype in frame.dtypes]
    return _line([escaped(name) for name in frame.columns]) + _line(rules)


def lines(frame: pl.DataFrame) -> str:
    """Return a line per row; null is an empty cell."""
    return "".join(
        _line(["" if value is None else escaped(str(value)) for value in row])
        for row in frame.iter_rows()
    )


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |\n"
