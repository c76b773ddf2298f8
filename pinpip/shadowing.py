"""Refuse foreign modules that are found in place of pinpip's own packages.

It runs before any other package of pinpip is imported, and imports none.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

from pinpip import PROGRAM

PACKAGES = (
    "core",
    "audit",
    "producers",
    "gateway",
    "consumers",
    "transforms",
    "sinks",
    "monitor",
    "reports",
    "chaos",
)
_HOME = Path(__file__).parents[1]


def refuse(packages: Sequence[str] = PACKAGES, home: Path = _HOME) -> None:
    """Return if each of `packages` would be imported from `home`.

    Otherwise the program ends with an error of two lines and exit code 1; any other importer gets
    an ImportError with the same text.
    """
    found = list(foreign(packages, home))
    if not found:
        return
    text = (
        f"pinpip finds other modules in place of its own packages: {', '.join(found)}\n"
        f"next:  rename them, or take their folder out of PYTHONPATH{_instead()};"
        " a pipeline can name its code by file instead (transform: boards.py:clean)"
    )
    if Path(sys.argv[0]).stem in PROGRAM:
        sys.exit(f"error: {text}")
    raise ImportError(text)


def foreign(packages: Sequence[str], home: Path) -> Iterator[str]:
    """Yield where each of `packages` is that would not be imported from `home`."""
    for name in packages:
        try:
            spec = find_spec(name)
        except ValueError:  # loaded without a spec
            spec = None
        place = None if spec is None else _place(spec)
        if place is not None and os.path.realpath(place) != os.path.realpath(home / name):
            yield place


def _place(spec: ModuleSpec) -> str | None:
    """Return the package's folder or the module's file."""
    folders = list(spec.submodule_search_locations or [])
    return folders[0] if folders else spec.origin


def _instead() -> str:
    on_path = os.path.realpath(sys.path[0] or ".") == os.path.realpath(".")
    return ", or run `pinpip` instead of `python -m pinpip`" if on_path else ""
