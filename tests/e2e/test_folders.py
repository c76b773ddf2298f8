"""Commands that cannot make their folders."""

from pathlib import Path
from shutil import copy

import pytest

from tests.support.commands import the_error
from tests.support.disks import small_disk
from tests.support.places import ROOT
from tests.support.processes import Home

CHAOS = ["chaos", "pin", "--rounds", "1", "--seconds", "5", "--lake", "folder"]
COMMANDS = [["demo"], ["local", "up"], [*CHAOS, "--kafka", "real"]]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Write the documented configuration into a folder where `.pinpip` is a file."""
    copy(ROOT / "config.yaml", tmp_path)
    (tmp_path / ".pinpip").touch()
    return Home(tmp_path)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
def test_a_folder_that_cannot_be_made_is_one_clear_error(home: Home, command: list[str]) -> None:
    error = the_error(home.run(*command))
    assert f"{home.folder / '.pinpip'}" in error.splitlines()[0]
    assert "this user may write" in error.splitlines()[1]


def test_a_demo_on_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "64k") as disk:
        copy(ROOT / "config.yaml", disk.root)
        disk.fill()
        error = the_error(Home(disk.root).run("demo"))
    assert "No space left on device" in error.splitlines()[0]
