"""Files that are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from core.errors import ConfigError
from pinpip.folders import writing


@dataclass
class Files:
    """Files written by one command: complete under their names, or not there.

    `replaced` are those that existed before. `discard` removes what is incomplete.
    """

    replaced: list[Path] = field(default_factory=list)
    _parts: set[Path] = field(default_factory=set)

    @contextmanager
    def new(self, path: Path) -> Iterator[BinaryIO]:
        """Write to a file beside `path`, which takes that name at the end of the block."""
        if path.exists() and not path.is_file():
            raise ConfigError(f"{path} is not a file", "name a file, new or to be replaced")
        part = path.with_name(f".{path.name}.{uuid4().hex[:8]}.part")
        with writing(path.parent):
            self._parts.add(part)
            try:
                with part.open("xb") as out:
                    yield out
                    out.flush()
                    os.fsync(out.fileno())
                if path.exists():
                    self.replaced.append(path)
                part.replace(path)
            finally:
                self.discard()

    def discard(self) -> None:
        """Remove incomplete files."""
        for part in list(self._parts):
            part.unlink(missing_ok=True)
            self._parts.discard(part)
