"""A store in which objects were written when a test's clock says so."""

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any, cast

from sinks.storage.protocol import Store
from tests.support.clock import ManualClock


class AgedStore:
    """A store in which an object was written when the test's clock says so.

    `removals`: the calls of `remove`; `killed` calls more are done, then the process dies there.
    """

    def __init__(self, store: Store, clock: ManualClock) -> None:
        self._store, self._clock = store, clock
        self.written: dict[str, datetime] = {}
        self.removals: list[list[str]] = []
        self.killed: int | None = None

    @property
    def store(self) -> Store:
        """This store."""
        return cast("Store", self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put_new(self, key: str, body: bytes, metadata: dict[str, str]) -> bool:
        made = self._store.put_new(key, body, metadata)
        if made:
            self.written[key] = self._clock.now()
        return made

    def scan(self, folder: str) -> Iterator[tuple[str, datetime]]:
        for key, _ in self._store.scan(folder):
            yield key, self.written.get(key, self._clock.now())

    def remove(self, keys: Collection[str]) -> None:
        if self.killed is not None and len(self.removals) >= self.killed:
            raise KilledError
        self.removals.append(list(keys))
        self._store.remove(keys)


class KilledError(Exception):
    """The process dies here."""
