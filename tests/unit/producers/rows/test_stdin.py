"""Rows of standard input, as they arrive."""

import gzip
import io
import os
import sys
import threading
from collections.abc import Iterator

import pytest

from producers.rows.events import from_inputs
from producers.rows.inputs import InputError
from producers.rows.places import inputs_at
from tests.support.records import BOARD

ROW = b'{"board": 4.0, "pins": 1}\n'


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.BufferedWriter]:
    """Yield the other end of standard input."""
    out, into = os.pipe()
    with os.fdopen(out, "r") as reader, os.fdopen(into, "wb") as writer:
        monkeypatch.setattr(sys, "stdin", reader)
        yield writer


def boards(kind: str | None = None, stopped: threading.Event | None = None) -> Iterator[object]:
    stop = stopped or threading.Event()
    inputs = inputs_at("-", kind, list[str]().append, stop.is_set)
    chosen = [(each, [BOARD]) for each in inputs]
    return (event.rows["boards"] for event in from_inputs(chosen, list[str]().append))


@pytest.mark.parametrize("data", [ROW, gzip.compress(ROW)], ids=["plain", "gzip"])
def test_json_is_recognised(pipe: io.BufferedWriter, data: bytes) -> None:
    pipe.write(data)
    pipe.close()
    assert list(boards()) == [{"board": 4, "pins": 1}]


def test_csv_needs_its_format(pipe: io.BufferedWriter) -> None:
    pipe.write(b"board,pins\n4.0,1\n")
    pipe.close()
    with pytest.raises(InputError, match="standard input, after 0 rows") as raised:
        list(boards())
    assert "--format" in raised.value.message


def test_csv_with_its_format_is_read(pipe: io.BufferedWriter) -> None:
    pipe.write(b"board,pins\n4.0,1\n")
    pipe.close()
    assert list(boards("csv")) == [{"board": 4, "pins": 1}]


def test_a_row_is_given_before_the_end_of_a_pipe_and_a_stop_ends_the_wait(
    pipe: io.BufferedWriter,
) -> None:
    stopped = threading.Event()
    pipe.write(ROW)
    pipe.flush()
    rows = boards("json", stopped)
    assert next(rows) == {"board": 4, "pins": 1}
    stopped.set()
    assert list(rows) == []
