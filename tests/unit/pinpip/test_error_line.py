"""Every end of a command but a wanted one is one `error:` line."""

from collections.abc import Callable, Iterator
from typing import Any

import polars as pl
import pytest

from core.errors import ConfigError
from pinpip import cli
from pinpip.cli import consume

FAULTS: list[Callable[[], BaseException]] = [
    lambda: ConfigError("no such thing", "name another"),
    lambda: KeyError("city"),
    lambda: ValueError("two\nlines"),
    MemoryError,
    lambda: ImportError("no module"),
    lambda: pl.exceptions.PanicException("polars panicked"),
]


class Failing:
    """A loop that raises at once."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def run(self) -> None:
        raise self._error

    def stop(self) -> None:
        """Do nothing: it has ended."""


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    """Run two loops in their threads, of which one fails; return what standard error shows."""

    def end(error: BaseException, *options: str) -> list[str]:
        loops: list[Any] = [Failing(error)]
        monkeypatch.setattr("sys.argv", ["pinpip", *options, "consume"])
        monkeypatch.setattr(cli, "app", lambda: consume._run_all(loops, [], lambda: None))
        assert cli.run() == 1
        return capsys.readouterr().err.splitlines()

    return end  # type: ignore[return-value]


@pytest.mark.parametrize("make", FAULTS)
def test_an_exception_in_a_loop_ends_in_one_error_line(ended: Any, make: Any) -> None:
    lines = ended(make())
    assert [line.partition(":")[0] for line in lines] == ["error", "next"]
    assert str(make()).split()[:1] == [] or str(make()).split()[0] in lines[0]


@pytest.mark.parametrize("make", FAULTS)
def test_debug_shows_the_traceback_before_the_error_line(ended: Any, make: Any) -> None:
    lines = ended(make(), "--debug")
    assert lines[0].startswith("Traceback")
    assert sum(line.startswith("error:") for line in lines) == 1
    assert lines[-2].startswith("error:")


def test_an_unexpected_exception_is_named_with_its_place(ended: Any) -> None:
    [line, _] = ended(KeyError("city"))
    assert line.startswith("error: unexpected KeyError: 'city' (")
    assert "test_error_line.py:" in line
