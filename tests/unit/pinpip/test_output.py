"""What the command line prints: any text on any stream."""

import io
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from pinpip.cli.output import print_json, tolerate
from pinpip.cli.tables import show

ODD = "[/x] [red]é🎄\x1b[2J\u202e"
Printed = Callable[..., str]


def shown() -> None:
    show(ODD, [{ODD: ODD}], as_json=False)


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> Printed:
    """Return what a function prints to a stream of 80 columns and some encoding."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(function: Callable[..., Any], *arguments: Any, encoding: str = "utf-8") -> str:
        body = io.BytesIO()
        stream = io.TextIOWrapper(body, encoding=encoding)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            tolerate(sys.stdout)
            function(*arguments)
            stream.flush()
        return body.getvalue().decode(encoding)

    return run


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_text_that_a_stream_lacks_is_replaced(printed: Printed, encoding: str) -> None:
    assert "[/x] [red]" in printed(shown, encoding=encoding)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_loses_nothing_on_any_stream(printed: Printed, encoding: str) -> None:
    rows = [{"name": ODD, "half": "\ud800"}]
    assert json.loads(printed(print_json, rows, encoding=encoding)) == rows


def test_markup_in_a_title_a_name_or_a_value_is_text(printed: Printed) -> None:
    assert printed(shown).count("[/x] [red]é🎄") == 3


def test_no_value_steers_the_terminal(printed: Printed) -> None:
    assert "\x1b" not in printed(shown)


def test_a_metadata_column_is_told_from_a_column_of_the_record(printed: Printed) -> None:
    row = {"ind": 1, "timestamp": "2018", "_timestamp": "2024"}
    said = printed(lambda: show("Geo", [row], as_json=False))
    assert said.splitlines()[1].split() == ["ind", "timestamp", "_timestamp"]
