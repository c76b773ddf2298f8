"""Commands that pinpip prints can be copied into the shell that called it."""

import sys
from pathlib import Path

import pytest

from pinpip.cli.shared import invocation


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a script called pinpip in a folder with a space, and work beside that folder."""
    own = tmp_path / "my venv" / "pinpip"
    own.parent.mkdir()
    own.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    return own


def called(monkeypatch: pytest.MonkeyPatch, name: str) -> str:
    monkeypatch.setattr(sys, "argv", [name, "demo"])
    return invocation()


def test_a_script_on_the_path_goes_by_its_name(
    script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(script.parent))
    assert called(monkeypatch, str(script)) == "pinpip"


def test_another_script_is_named_as_it_was_called(
    script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert called(monkeypatch, f"{script.parent.name}/pinpip") == "'my venv/pinpip'"


def test_a_module_goes_by_the_interpreter(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert script.exists()
    assert called(monkeypatch, "/somewhere/pinpip/__main__.py") == f"{sys.executable} -m pinpip"
