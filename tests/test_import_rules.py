"""The borders between the rooms, and the limits of DESIGN.md, read from the source itself."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.places import ROOT

ROOMS = {"producers", "gateway", "consumers", "transforms", "sinks", "monitor", "reports", "chaos"}
# Who may import whom: each package the ones named, and itself.
ALLOWED = {
    "core": set[str](),
    **{room: {"core"} for room in ROOMS},
    "audit": {"core", "sinks"},
    "pinpip": {"core", "audit", *ROOMS},
}
CLIENTS = {"boto3", "botocore", "confluent_kafka", "deltalake", "requests"}

LONGEST_FILE = 300
LONGEST_FUNCTION = 40
LONGEST_OF_NINE_IN_TEN = 20


def sources(*packages: str) -> list[Path]:
    return sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def module(path: Path) -> list[str]:
    """Return the dotted name of the file as its parts."""
    return [part for part in path.relative_to(ROOT).with_suffix("").parts if part != "__init__"]


def imported(path: Path) -> Iterator[str]:
    """Return the dotted name of everything that the file imports, at any depth of its code."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = path.relative_to(ROOT).parts[:-1]
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            base += [node.module] if node.module else []
            yield ".".join(base)
            yield from (".".join([*base, alias.name]) for alias in node.names)


def modules() -> dict[str, Path]:
    """Every module of the product, by its dotted name."""
    return {".".join(module(path)): path for path in PRODUCT}


def arrows(path: Path) -> set[str]:
    """Return the modules of the product that the file imports."""
    own = ".".join(module(path))
    return {name for name in imported(path) if name in MODULES} - {own, *_packages(own)}


def _packages(name: str) -> set[str]:
    """Return the packages around a module: importing the module executes each of them."""
    parts = name.split(".")
    return {".".join(parts[:n]) for n in range(1, len(parts))}


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Return a circle of modules, each importing the next and the last the first; empty: none."""
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        found = next((c for each in sorted(graph[name]) if (c := walk(each, [*path, name]))), [])
        done.add(name)
        return found

    return next((found for name in sorted(graph) if (found := walk(name, []))), [])


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Each function's place and its lines, without decorators and docstring."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            documented = ast.get_docstring(node, clean=False) is not None
            first = node.body[0].end_lineno or 0 if documented else node.lineno
            place = f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
            yield place, (node.end_lineno or first) - first


def reached(path: Path, seen: set[str] | None = None) -> set[str]:
    """Everything that the file imports, directly or through modules of its package."""
    seen = set() if seen is None else seen
    for name in set(imported(path)) - seen:
        seen.add(name)
        own = ROOT.joinpath(*name.split(".")).with_suffix(".py")
        if own.is_file():
            reached(own, seen)
    return seen


def label(path: Path) -> str:
    return str(path.relative_to(ROOT))


PRODUCT = sources(*ALLOWED)
MODULES = modules()


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_every_package_is_looked_at(package: str) -> None:
    assert ROOT / package / "__init__.py" in PRODUCT


def test_no_package_of_the_product_is_left_out() -> None:
    built = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(built["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == set(ALLOWED)


@pytest.mark.parametrize("path", PRODUCT, ids=label)
def test_no_arrow_runs_up(path: Path) -> None:
    package, *_ = module(path)
    assert {name.split(".")[0] for name in arrows(path)} <= {package, *ALLOWED[package]}


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circle({name: arrows(path) for name, path in MODULES.items()}) == []


def test_a_circle_is_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set[str]()}
    assert circle(graph) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set[str]()}) == []


def test_the_loop_receives_sources_and_sinks_as_arguments() -> None:
    assert {
        name.split(".")[0] for name in reached(ROOT / "consumers/engine/loop.py")
    } & CLIENTS == set()


@pytest.mark.parametrize("path", PRODUCT, ids=label)
def test_nobody_imports_the_command_line(path: Path) -> None:
    if module(path)[:2] not in (["pinpip", "cli"], ["pinpip", "__main__"]):
        assert not any(name.startswith("pinpip.cli") for name in arrows(path))


@pytest.mark.parametrize("path", PRODUCT, ids=label)
def test_a_file_stays_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


def test_functions_stay_short() -> None:
    lengths = [found for path in PRODUCT for found in functions(path)]
    assert [place for place, lines in lengths if lines > LONGEST_FUNCTION] == []
    ordered = sorted(lines for _, lines in lengths)
    assert ordered[len(ordered) * 9 // 10] <= LONGEST_OF_NINE_IN_TEN
