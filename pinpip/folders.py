"""Folders that commands make for themselves, and what to say when they cannot be written."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.errors import FatalError


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Raise FatalError, which names `folder`, for a fault of the file system in the block."""
    try:
        yield
    except OSError as error:
        raise FatalError(
            f"{folder.absolute()} cannot be written: {error.strerror}",
            "run it in a folder that this user may write, on a disk with room",
        ) from error
