"""A small filesystem that can be full; mounting one needs the rights of root."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

SIZE = "1g"  # of memory, and only as much as is used
_CHUNK = 1 << 20


@dataclass(frozen=True)
class SmallDisk:
    """A filesystem over `folder`."""

    folder: Path

    def fill(self) -> None:
        """Leave no byte."""
        with self._ballast.open("wb", buffering=0) as ballast, suppress(OSError):
            room = os.statvfs(self.folder)
            os.posix_fallocate(ballast.fileno(), 0, room.f_bavail * room.f_frsize)
            ballast.seek(0, os.SEEK_END)
            while True:
                ballast.write(bytes(_CHUNK))

    def free(self) -> None:
        """Give the room back."""
        self._ballast.unlink(missing_ok=True)

    @property
    def _ballast(self) -> Path:
        return self.folder / "ballast"


@contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk | None]:
    """Mount a small filesystem at `folder` while the block runs; None where that is impossible."""
    folder.mkdir(parents=True, exist_ok=True)
    if not _done("mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)):
        yield None
        return
    try:
        yield SmallDisk(folder)
    finally:
        release(folder)


def release(folder: Path) -> None:
    """Unmount what a harness that was killed left behind."""
    if folder.is_mount():
        _done("umount", "--lazy", str(folder))


def _done(program: str, *arguments: str) -> bool:
    path = shutil.which(program)
    if path is None:
        return False
    return subprocess.run([path, *arguments], capture_output=True, check=False).returncode == 0  # noqa: S603  # our own command
