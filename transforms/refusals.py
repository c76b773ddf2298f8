"""The errors of a transform that does not return what a table needs."""

import sysconfig
from collections.abc import Collection
from pathlib import Path
from traceback import walk_tb

import polars as pl

from core.errors import ConfigError

_LIBRARIES = [sysconfig.get_paths()[kind] for kind in ("stdlib", "purelib", "platlib")]
_OTHERS = ("<", str(Path(__file__).parent), *_LIBRARIES)  # where no pipeline's own code is


def words(error: BaseException) -> str:
    """Return the type and the message of an exception and where it was raised, on one line.

    Of polars' messages only the beginning: the query's plan that follows fills a screen.
    """
    said = " ".join(str(error).partition("\n\n")[0].split())
    return f"{type(error).__name__}{': ' if said else ''}{said}{place_of(error)}"


def place_of(error: BaseException) -> str:
    """Return the last line of a pipeline's own code that `error` came through, or nothing."""
    frames = [(f.f_code.co_filename, line) for f, line in walk_tb(error.__traceback__)]
    own = [(file, line) for file, line in frames if not file.startswith(_OTHERS)]
    return f" ({Path(own[-1][0]).name}, line {own[-1][1]})" if own else ""


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
