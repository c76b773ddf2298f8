"""A user's modules that are called like pinpip's packages."""

import os
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

from core import interpreter
from pinpip import shadowing
from tests.support.places import ROOT

PYTHON = [sys.executable, "-m", "pinpip"]
SCRIPT = [
    sys.executable,
    "-P",
    "-c",
    "import sys; sys.argv[0] = '/bin/pinpip'; from pinpip.cli import main; sys.exit(main())",
]


def run(command: list[str], folder: Path, *path: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of pinpip in `folder`, with `path` before pinpip on Python's path."""
    own = {"PYTHONPATH": os.pathsep.join(map(str, [*path, ROOT]))}
    return subprocess.run(
        [*command, "--version"],
        cwd=folder,
        env=os.environ | own,
        capture_output=True,
        text=True,
        check=False,
    )


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def the_error(done: subprocess.CompletedProcess[str]) -> str:
    """Return the first line of the only error."""
    assert done.returncode == 1, done.stdout
    error, following = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert following.startswith("next:  rename")
    return error


def test_the_packages_are_those_of_the_wheel() -> None:
    built = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = built["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert {*shadowing.PACKAGES, "pinpip"} == set(packages)


@pytest.mark.parametrize(
    "name", ["transforms/__init__.py", "core/__init__.py", "reports.py", "audit.py"]
)
def test_a_foreign_module_in_the_current_folder_is_one_error(tmp_path: Path, name: str) -> None:
    found = touch(tmp_path / name)
    foreign = found.parent if found.name == "__init__.py" else found
    assert the_error(run(PYTHON, tmp_path)).endswith(f": {foreign}")


def test_the_command_does_not_look_into_the_current_folder(tmp_path: Path) -> None:
    touch(tmp_path / "transforms/__init__.py")
    assert run(SCRIPT, tmp_path).returncode == 0


def test_every_foreign_module_on_pythonpath_is_named(tmp_path: Path) -> None:
    names = [touch(tmp_path / "mine" / f"{name}.py") for name in shadowing.PACKAGES]
    error = the_error(run(SCRIPT, tmp_path, tmp_path / "mine"))
    assert error.endswith(", ".join(map(str, names)))


def test_what_python_does_not_import_instead_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "transforms").mkdir()  # no package: Python goes on to pinpip's
    touch(tmp_path / "sinks/notes.txt")
    touch(tmp_path / "lib/core/__init__.py")
    assert run(PYTHON, tmp_path).returncode == 0


def test_who_only_imports_pinpip_gets_an_import_error(tmp_path: Path) -> None:
    touch(tmp_path / "gateway.py")
    done = run([sys.executable, "-c", "import pinpip"], tmp_path)
    assert "ImportError: pinpip finds other modules" in done.stderr


def test_another_copy_of_pinpip_is_no_foreign_package(tmp_path: Path) -> None:
    (tmp_path / "copy").symlink_to(ROOT, target_is_directory=True)
    assert run(PYTHON, tmp_path / "copy").returncode == 0
    assert run(SCRIPT, tmp_path, tmp_path / "copy").returncode == 0


def test_a_child_finds_the_modules_that_its_parent_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [sysconfig.get_path("stdlib")])
    assert interpreter.command() == [sys.executable, "-P"]
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert interpreter.command() == [sys.executable]
