"""docs/logs.md names every event of the code with its level and fields, and no other."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache

import pytest

from tests.support.places import ROOT

PACKAGES = ["core", "audit", "producers", "gateway", "consumers", "transforms", "sinks"]
PACKAGES += ["monitor", "reports", "chaos", "pinpip"]
LEVELS = {name: name for name in ("debug", "info", "warning", "error")} | {"exception": "error"}
LOGGERS = {"_log", "self._log", "log"}
ROW = re.compile(r"^\| `(\w+)` \| ([\w, ]+) \| ([\w, ]*) ?\| (.+) \|$", re.MULTILINE)
FOREIGN = {"library", "kafka_client"}  # their level is the library's
EVENT = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def documented() -> dict[str, tuple[set[str], set[str]]]:
    """Return the levels and the fields of each event of the page."""
    text = (ROOT / "docs/logs.md").read_text(encoding="utf-8")
    rows = ROW.findall(text)
    found = {event: (_words(levels), _words(fields)) for event, levels, fields, _ in rows}
    assert len(found) == len(rows), "an event stands twice"
    return found


def _words(text: str) -> set[str]:
    return {word.strip() for word in text.split(",") if word.strip()}


def calls() -> Iterator[tuple[str, str, set[str]]]:
    """Yield level, event and named fields of every call of a logger in the code."""
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr in LEVELS and ast.unparse(node.func.value) in LOGGERS:
                fields = {keyword.arg for keyword in node.keywords if keyword.arg}
                for event in _events(node.args[0]):
                    yield LEVELS[node.func.attr], event, fields


def _events(node: ast.expr) -> list[str]:
    if isinstance(node, ast.IfExp):
        return [*_events(node.body), *_events(node.orelse)]
    if isinstance(node, ast.Name):
        return []  # a library's line, whose name is in FOREIGN
    assert isinstance(node, ast.Constant), ast.unparse(node)
    return [str(node.value)]


@cache
def logged() -> dict[str, tuple[set[str], set[str]]]:
    """Return the levels and the fields of each event of the code."""
    levels, fields = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    for level, event, named in calls():
        levels[event].add(level)
        fields[event] |= named
    return {event: (own, fields[event]) for event, own in levels.items()}


def test_the_page_has_the_events_of_the_code_and_no_other() -> None:
    assert documented().keys() - FOREIGN == logged().keys()
    assert documented().keys() >= FOREIGN


@pytest.mark.parametrize("event", sorted(logged()))
def test_an_event_is_described_with_its_levels_and_fields(event: str) -> None:
    (levels, fields), (stated, named) = logged()[event], documented()[event]
    assert levels == stated
    assert fields <= named
    assert EVENT.fullmatch(event)


def test_examples_of_the_page_are_lines_as_they_are_written() -> None:
    text = (ROOT / "docs/logs.md").read_text(encoding="utf-8")
    for event in ("starting", "reading", "record quarantined", "progress"):
        assert f" {event} pipeline=pin" in text
        assert event.replace(" ", "_") in documented()
