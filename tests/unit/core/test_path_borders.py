"""No path reaches delta-rs or polars around `core.paths`, as the source itself shows."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.places import ROOT

ROOMS = ["audit", "chaos", "consumers", "core", "pinpip", "reports", "sinks", "transforms"]
OPENS = {"DeltaTable", "scan_delta", "read_delta", "write_deltalake"}
URLS = {"table_uri", "file_uris"}
GLOBS = {"scan_parquet", "read_parquet", "scan_lines", "read_lines"}
# What polars takes as a pattern in any case: these have no `glob`.
PATTERNED = {"scan_ndjson", "read_ndjson", "scan_csv", "read_csv", "scan_ipc", "read_ipc"}
BYTES = {"body", "buffer", "BytesIO"}
# Wanted patterns: chaos looks through an archive of its own.
EXEMPT = {"chaos/key_diff.py"}


def last_name(node: ast.AST) -> str:
    """Return the last part of a name: of what is called, or of a variable."""
    if isinstance(node, ast.Call):
        return last_name(node.func)
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def faults(source: str) -> Iterator[str]:
    """Yield what of the source gives a library a path as it stands, or takes one from it."""
    nodes = list(ast.walk(ast.parse(source)))
    calls = [node for node in nodes if isinstance(node, ast.Call) and node.args]
    taken = {id(call.args[0]) for call in calls if last_name(call) == "of_delta_rs"}
    yield from (f"line {call.lineno}: {ast.unparse(call)}" for call in calls if _is_raw(call))
    for node in nodes:
        if isinstance(node, ast.Attribute) and node.attr in URLS and id(node) not in taken:
            yield f"line {node.lineno}: {ast.unparse(node)}"


def _is_raw(call: ast.Call) -> bool:
    name, given = last_name(call), last_name(call.args[0])
    literal = any(k.arg == "glob" and ast.unparse(k.value) == "False" for k in call.keywords)
    if name in OPENS:
        return given != "to_delta_rs"
    return given not in BYTES and (name in PATTERNED or (name in GLOBS and not literal))


def test_no_path_goes_around_the_borders() -> None:
    found = {
        str(path.relative_to(ROOT)): wrong
        for room in ROOMS
        for path in Path(ROOT, room).rglob("*.py")
        if (wrong := list(faults(path.read_text(encoding="utf-8"))))
    }
    assert set(found) <= EXEMPT, found


@pytest.mark.parametrize(
    "source",
    [
        "DeltaTable(uri)",
        "pl.scan_delta(f'{root}/pin')",
        "pl.scan_parquet(uris)",
        "pl.scan_parquet(uris, glob=True)",
        "pl.scan_ndjson(uri)",
        "pl.scan_lines(uri + '/*.json', storage_options={})",
        "root = table.table_uri",
    ],
)
def test_a_path_that_goes_around_is_noticed(source: str) -> None:
    assert list(faults(source))


@pytest.mark.parametrize(
    "source",
    [
        "DeltaTable(paths.to_delta_rs(uri), 3)",
        "pl.scan_parquet(uris, glob=False)",
        "pl.read_parquet(io.BytesIO(body))",
        "of_delta_rs(table.table_uri)",
    ],
)
def test_a_path_at_a_border_is_not_noticed(source: str) -> None:
    assert not list(faults(source))
