"""Where inputs are on this machine: files, folders, globs and standard input."""

import glob
import os
import select
import sys
from collections.abc import Callable, Iterator
from functools import partial
from io import BufferedReader, RawIOBase
from pathlib import Path

from producers.rows.inputs import (
    ENDINGS,
    Input,
    InputError,
    format_of,
    input_of,
    order_of,
)

STDIN = "-"
_LOG = "_delta_log"
_ASIDE = (".keys", ".headers")  # of Kafka Connect: keys and headers in files beside the values
_WAKE_S = 0.5
_KINDS = f"name files with the endings {', '.join(ENDINGS)} (also with .gz), or --format"

Note = Callable[[str], None]


def inputs_at(word: str, kind: str | None, note: Note, stopping: Callable[[], bool]) -> list[Input]:
    """Return the inputs that `word` names: `-`, a file, a folder, else a glob; in order.

    `kind` is the format where the names do not tell it. Raises InputError when there are none.
    """
    if word == STDIN:
        return [Input("standard input", partial(_stdin, stopping), kind)]
    path = Path(word)
    if not word:
        raise InputError("--from names nothing: it is an empty text", _KINDS)
    try:
        if path.is_dir():
            return _in_folder(path, kind, note)
        if path.exists():
            return [_file(path, kind)]
    except OSError as error:
        raise InputError(
            f"{error.filename}: {error.strerror}", "see its name and rights"
        ) from error
    found = sorted(glob.glob(word, recursive=True))  # noqa: PTH207 - a pattern may be absolute
    if not found:
        raise InputError(f"file not found: {word}", _KINDS)
    return [each for name in found for each in inputs_at(name, kind, note, stopping)]


def _file(path: Path, kind: str | None) -> Input:
    return input_of(str(path), str(path), lambda: path.open("rb"), kind)


def _in_folder(folder: Path, kind: str | None, note: Note) -> list[Input]:
    names = [str(path.relative_to(folder)) for path in _files(folder)]
    return [_file(folder / name, kind) for name in chosen(str(folder), names, kind, note)]


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files below the folder, through links as well; none is skipped in silence."""
    seen = {folder.resolve()}
    for at, folders, files in os.walk(folder, onerror=_fail, followlinks=True):
        real = {Path(at, name).resolve(): name for name in sorted(folders, reverse=True)}
        folders[:] = [name for path, name in real.items() if path not in seen]
        seen |= real.keys()
        yield from (Path(at, name) for name in files)


def _fail(error: OSError) -> None:
    raise error


def chosen(folder: str, names: list[str], kind: str | None, note: Note) -> list[str]:
    """Return the names of the files of a folder that have rows, in order.

    Hidden files and those that begin with `_` are left out; `note` is told of the others that are.
    Raises InputError when there are none, and for a Delta table, whose files are not its rows.
    """
    if any(_LOG in Path(name).parts for name in names):
        raise InputError(
            f"{folder} holds a Delta table: its files also have rows that were removed",
            "export the table, for example to a Parquet file, and name that file",
        )
    visible = [n for n in names if not any(p.startswith((".", "_")) for p in Path(n).parts)]
    taken = [name for name in visible if _has_rows(name, kind)]
    if len(taken) < len(visible):
        note(f"{folder}: {len(visible) - len(taken)} files of other kinds are left out")
    if not taken:
        raise InputError(f"{folder} has no files of rows", _KINDS)
    return sorted(taken, key=order_of)


def _has_rows(name: str, kind: str | None) -> bool:
    stem = name.lower().removesuffix(".gz").rpartition(".")[0]
    return bool(kind or format_of(name)) and not stem.endswith(_ASIDE)


def _stdin(stopping: Callable[[], bool]) -> BufferedReader:
    return BufferedReader(_Standard(stopping))


class _Standard(RawIOBase):
    """Standard input, which ends when the command is asked to stop."""

    def __init__(self, stopping: Callable[[], bool]) -> None:
        self._stopping = stopping

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, target: "memoryview") -> int:  # type: ignore[override]
        """Read what has arrived; a signal does not end a read, so waits are short."""
        number = sys.stdin.fileno()
        while not select.select([number], [], [], _WAKE_S)[0]:
            if self._stopping():
                return 0
        data = os.read(number, len(target))
        target[: len(data)] = data
        return len(data)
