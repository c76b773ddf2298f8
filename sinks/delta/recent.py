"""The newest entries of a log that this process has seen: a checkpoint need not read them again."""

from collections.abc import Mapping

MOST = 8 * 1024 * 1024  # bytes


class RecentEntries:
    """Bodies by version, without a hole; the oldest are dropped beyond `MOST` bytes."""

    def __init__(self) -> None:
        self._bodies: dict[int, bytes] = {}
        self._nbytes = 0

    def keep(self, version: int, body: bytes) -> None:
        """Note an entry of the log."""
        if version - 1 not in self._bodies:
            self.take()
        self._bodies[version] = body
        self._nbytes += len(body)
        while self._nbytes > MOST:
            self._nbytes -= len(self._bodies.pop(next(iter(self._bodies))))

    def take(self) -> Mapping[int, bytes]:
        """Return them, and forget them."""
        taken, self._bodies, self._nbytes = self._bodies, {}, 0
        return taken
