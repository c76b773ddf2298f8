"""The borders between the rooms, and the limits of DESIGN.md, read from the source itself."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = {"producers", "gateway", "consumers", "transforms", "sinks", "reports", "chaos"}
COMPOSITION = {"cli", "local", "__main__"}  # the parts of pinpip that may know the rooms
CORE = {path.stem for path in (ROOT / "pinpip").glob("*.py")} - COMPOSITION
CLIENTS = {"boto3", "botocore", "confluent_kafka", "deltalake", "requests"}

LONGEST_FILE = 300
LONGEST_FUNCTION = 40
LONGEST_OF_NINE_IN_TEN = 20


def sources(*packages: str) -> list[Path]:
    return sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def module(path: Path) -> list[str]:
    """The dotted name of the file, as its parts."""
    return [part for part in path.relative_to(ROOT).with_suffix("").parts if part != "__init__"]


def imported(path: Path) -> Iterator[str]:
    """The dotted name of everything that the file imports, at any depth of its code."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = path.relative_to(ROOT).parts[:-1]
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            base += [node.module] if node.module else []
            yield ".".join(base)
            yield from (".".join([*base, alias.name]) for alias in node.names)


def rooms_of(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)} & ROOMS


def parts_of_pinpip(path: Path) -> set[str]:
    """The modules of pinpip that the file imports, without what they define."""
    names = (name.split(".") for name in imported(path))
    return {name[1] for name in names if name[0] == "pinpip" and len(name) > 1} - {"__version__"}


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Each function's place and its lines, without decorators and docstring."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            documented = ast.get_docstring(node, clean=False) is not None
            first = node.body[0].end_lineno or 0 if documented else node.lineno
            place = f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
            yield place, (node.end_lineno or first) - first


def reached(path: Path, seen: set[str] | None = None) -> set[str]:
    """Everything that the file imports, also by way of the modules of its own room."""
    seen = set() if seen is None else seen
    for name in set(imported(path)) - seen:
        seen.add(name)
        own = ROOT.joinpath(*name.split(".")).with_suffix(".py")
        if own.is_file():
            reached(own, seen)
    return seen


def label(path: Path) -> str:
    return str(path.relative_to(ROOT))


ROOM_FILES = sources(*sorted(ROOMS))
PINPIP_FILES = sources("pinpip")
CORE_FILES = [path for path in PINPIP_FILES if not COMPOSITION & set(module(path))]


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_every_room_is_looked_at(room: str) -> None:
    assert ROOT / room / "__init__.py" in ROOM_FILES


@pytest.mark.parametrize("path", ROOM_FILES, ids=label)
def test_a_room_imports_no_sibling(path: Path) -> None:
    assert rooms_of(path) <= {module(path)[0]}


@pytest.mark.parametrize("path", ROOM_FILES, ids=label)
def test_a_room_imports_the_core_of_pinpip_only(path: Path) -> None:
    assert parts_of_pinpip(path) <= CORE


@pytest.mark.parametrize("path", CORE_FILES, ids=label)
def test_the_core_imports_no_room_and_only_the_core(path: Path) -> None:
    assert rooms_of(path) == set()
    assert parts_of_pinpip(path) <= CORE


def test_the_loop_receives_sources_and_sinks_as_arguments() -> None:
    assert {name.split(".")[0] for name in reached(ROOT / "consumers/loop.py")} & CLIENTS == set()


@pytest.mark.parametrize("path", [*ROOM_FILES, *PINPIP_FILES], ids=label)
def test_nobody_imports_the_command_line(path: Path) -> None:
    if module(path)[:2] not in (["pinpip", "cli"], ["pinpip", "__main__"]):
        assert "cli" not in parts_of_pinpip(path)


@pytest.mark.parametrize("path", [*ROOM_FILES, *PINPIP_FILES], ids=label)
def test_a_file_stays_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


def test_functions_stay_short() -> None:
    lengths = [found for path in [*ROOM_FILES, *PINPIP_FILES] for found in functions(path)]
    assert [place for place, lines in lengths if lines > LONGEST_FUNCTION] == []
    ordered = sorted(lines for _, lines in lengths)
    assert ordered[len(ordered) * 9 // 10] <= LONGEST_OF_NINE_IN_TEN
