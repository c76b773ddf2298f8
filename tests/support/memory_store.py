"""A store in memory, with faults and crashes on demand."""

import io
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import cast

import polars as pl

from core.errors import TransientError
from sinks.storage.protocol import Store


class Crash(Exception):
    """The process dies here."""


Fault = Callable[[str], None]


class MemoryStore:
    """Objects by key. `puts` lists the keys of all tries; `before` and `after` may raise.

    `written`: when, by `now`. `remove` calls `before`, too.
    """

    uri = "memory://store"
    longest_name = 1024

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, Mapping[str, str]]] = {}
        self.puts: list[str] = []
        self.written: dict[str, datetime] = {}
        self.now: Callable[[], datetime] = lambda: datetime(2026, 1, 1, tzinfo=UTC)
        self.before: Fault = lambda _: None
        self.after: Fault = lambda _: None

    @property
    def store(self) -> Store:
        """This store, which has only the calls that a chain needs."""
        return cast("Store", self)

    def prove(self) -> None:
        """Do nothing: put-if-absent is honoured."""

    def put_new(self, key: str, body: bytes, metadata: Mapping[str, str]) -> bool:
        self.puts.append(key)
        self.before(key)
        is_new = key not in self.objects
        if is_new:
            self.objects[key] = body, dict(metadata)
            self.written[key] = self.now()
        self.after(key)
        return is_new

    def metadata(self, key: str) -> Mapping[str, str] | None:
        return self.objects[key][1] if key in self.objects else None

    def read(self, key: str) -> bytes:
        return self.objects[key][0]

    def page(self, prefix: str, after: str) -> tuple[list[str], bool]:
        return [key for key in self.list(prefix) if key > after], False

    def list(self, prefix: str) -> list[str]:
        return sorted(key for key in self.objects if key.startswith(prefix))

    def scan(self, folder: str) -> Iterator[tuple[str, datetime]]:
        yield from [(key, self.written[key]) for key in self.list(folder)]

    def remove(self, keys: Collection[str]) -> None:
        for key in keys:
            self.before(key)
            self.objects.pop(key, None)

    def frame(self, key: str) -> pl.DataFrame:
        """Return the rows of one object."""
        return pl.read_parquet(io.BytesIO(self.read(key)))

    def rows(self) -> pl.DataFrame:
        """Return the rows of all objects."""
        return pl.concat([self.frame(key) for key in self.list("")])


def once(fault: Exception, only: str = "") -> Fault:
    """Raise `fault` for the first key that contains `only`, never again."""
    left = [fault]

    def raise_once(key: str) -> None:
        if left and only in key:
            raise left.pop()

    return raise_once


def unavailable() -> TransientError:
    """Return what a store raises that does not respond."""
    return TransientError("the store does not answer")
