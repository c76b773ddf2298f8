"""A small filesystem that a test can fill, where this user may mount one."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

PAGE = 4096  # what the smallest file takes


@dataclass(frozen=True)
class SmallDisk:
    """Its root, with room to be taken and given back."""

    root: Path

    def fill(self, leave: int = 0) -> None:
        """Take all the room but `leave` bytes."""
        room = os.statvfs(self.root)
        self._ballast.write_bytes(bytes(room.f_bavail * room.f_frsize - leave))

    def free(self) -> None:
        """Give the room back."""
        self._ballast.unlink(missing_ok=True)

    def files(self) -> set[str]:
        """All but the ballast, hidden ones as well."""
        found = (path for path in self.root.rglob("*") if path.is_file() and path != self._ballast)
        return {path.relative_to(self.root).as_posix() for path in found}

    @property
    def _ballast(self) -> Path:
        return self.root / "ballast"


@contextmanager
def small_disk(root: Path, size: str) -> Iterator[SmallDisk]:
    """Mount a small disk at `root` while the block runs, or skip the test."""
    root.mkdir(parents=True, exist_ok=True)
    mount = [_command("mount"), "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(root)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"needs the right to mount a small disk: {done.stderr.strip()}")
    try:
        yield SmallDisk(root)
    finally:
        subprocess.run([_command("umount"), str(root)], check=True)


def _command(name: str) -> str:
    return shutil.which(name) or pytest.skip(f"needs {name}")
