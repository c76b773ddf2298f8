"""How rows and data files say which incarnation of a pipeline wrote them.

Two incarnations may have rows with the same coordinates: a topic that was deleted and created again
counts from 0 again. `_incarnation` is null in rows of the first one, and of later ones that began
before that column existed; a null is of the incarnation in whose folder the file is.
"""

import polars as pl
from deltalake import DeltaTable

COLUMN = "_incarnation"
FIRST = "1"
MARK = "incarnation="

# The version of an incarnation's own application id: whether all its rows have `_incarnation`.
UNNAMED, NAMED = 1, 2


def folder_of(incarnation: str) -> str:
    """Return where an incarnation's files are below the table: the first one's beside the log."""
    return "" if incarnation == FIRST else f"{MARK}{incarnation}/"


def incarnation_of(path: str) -> str:
    """Return the incarnation in whose folder a file is; also of that folder itself."""
    return path.rpartition(MARK)[2].partition("/")[0] if MARK in path else FIRST


def is_named(table: DeltaTable, folder: str, *, begins: bool) -> bool:
    """Return whether rows in `folder` name their incarnation; `begins`: it begins with them."""
    has_column = COLUMN in {field.name for field in table.schema().fields}
    return incarnation_of(folder) != FIRST and (has_column or begins)


def column(folder: str) -> pl.Expr:
    """Return the column that names the incarnation of the rows in `folder`."""
    return pl.lit(incarnation_of(folder), pl.String).alias(COLUMN)
