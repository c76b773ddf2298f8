"""A small tmpfs that can be filled; mounting it needs root."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

SIZE = "1g"  # an upper bound: tmpfs takes only the memory in use
_CHUNK = 1 << 20


@dataclass(frozen=True)
class TmpfsDisk:
    """A filesystem mounted at `folder`."""

    folder: Path

    def fill(self) -> None:
        """Use up all free space."""
        with self._ballast.open("wb", buffering=0) as ballast, suppress(OSError):
            space = os.statvfs(self.folder)
            os.posix_fallocate(ballast.fileno(), 0, space.f_bavail * space.f_frsize)
            ballast.seek(0, os.SEEK_END)
            while True:
                ballast.write(bytes(_CHUNK))

    def free(self) -> None:
        """Free the space again."""
        self._ballast.unlink(missing_ok=True)

    @property
    def _ballast(self) -> Path:
        return self.folder / "ballast"


@contextmanager
def tmpfs_disk(folder: Path) -> Iterator[TmpfsDisk | None]:
    """Mount a filesystem at `folder` while the block runs; yields None without the right to."""
    folder.mkdir(parents=True, exist_ok=True)
    if not _succeeds("mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)):
        yield None
        return
    try:
        yield TmpfsDisk(folder)
    finally:
        release(folder)


def release(folder: Path) -> None:
    """Unmount the filesystem that a killed run left behind."""
    if folder.is_mount():
        _succeeds("umount", "--lazy", str(folder))


def _succeeds(program: str, *arguments: str) -> bool:
    path = shutil.which(program)
    if path is None:
        return False
    return subprocess.run([path, *arguments], capture_output=True, check=False).returncode == 0  # noqa: S603  # our own command
