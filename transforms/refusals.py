"""The errors of a transform that does not return what a table needs."""

from collections.abc import Collection

import polars as pl

from core.errors import ConfigError


def words(error: BaseException) -> str:
    """Return the type and the message of an exception, on one line."""
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def broken(name: str, said: str) -> ConfigError:
    """Return the error of a transform that fails whatever the records are."""
    return ConfigError(
        f"transform {name} cannot be run: {said}", "fix the transform; nothing was written"
    )


def lost(name: str, columns: Collection[str]) -> ConfigError:
    """Return the error of a transform that lost or changed metadata columns."""
    return ConfigError(
        f"transform {name} lost or changed the columns {', '.join(columns)}",
        "return every column that starts with '_': select(..., cs.starts_with('_'))",
    )


def naive(name: str, columns: Collection[str]) -> ConfigError:
    """Return the error of a transform that makes datetimes without a zone."""
    return ConfigError(
        f"transform {name} makes datetimes without a zone: {', '.join(columns)}",
        "say which zone they are in: .dt.replace_time_zone('UTC')",
    )


def varying(name: str, expected: pl.Schema, found: pl.Schema) -> ConfigError:
    """Return the error of a transform whose columns depend on the records."""
    names = [n for n in {**expected, **found} if expected.get(n) != found.get(n)]
    said = [f"{n} is {found.get(n, 'absent')}, not {expected.get(n, 'absent')}" for n in names]
    return ConfigError(
        f"transform {name} makes other columns for these records than for none:"
        f" {', '.join(said) or 'their order differs'}",
        "cast each column to one type, whatever the records are; nothing was written",
    )


def not_once(
    name: str, given: pl.DataFrame, made: pl.DataFrame, foreign: pl.DataFrame
) -> ConfigError | None:
    """Return the error of a transform that returned `foreign` records, or one twice, if it did."""
    wrong = made.filter(made.is_duplicated()) if foreign.is_empty() else foreign
    if wrong.is_empty():
        return None
    what = "the same record more than once" if foreign.is_empty() else "records it was not given"
    at = "/".join(map(str, wrong.row(0)))
    return ConfigError(
        f"transform {name} returned {what}: {made.height} rows of {given.height} records, the first"
        f" is {at}",
        "return at most one row for each record and leave the columns that start with '_' as they"
        " are; nothing was written",
    )
