"""The objects of a bucket in memory, in the order of their keys."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count


@dataclass(frozen=True)
class StoredObject:
    """A body with its user metadata; `at`: seconds of the wall clock when it became visible."""

    body: bytes
    etag: str
    at: float
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class Page:
    """One answer of a LIST: keys and common prefixes; `next`: where the following page starts."""

    keys: tuple[str, ...]
    prefixes: tuple[str, ...]
    next: str | None


@dataclass
class Bucket:
    """Objects by key; `keys` is sorted."""

    objects: dict[str, StoredObject] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)

    def put(self, key: str, stored: StoredObject) -> None:
        """Write an object, also over another."""
        if key not in self.objects:
            insort(self.keys, key)
        self.objects[key] = stored

    def delete(self, key: str) -> None:
        """Remove an object, if it exists."""
        if self.objects.pop(key, None) is not None:
            del self.keys[bisect_left(self.keys, key)]

    def page(self, prefix: str, delimiter: str, after: str, limit: int) -> Page:
        """List up to `limit` keys and common prefixes beyond `after`."""
        keys, prefixes, last = list[str](), list[str](), ""
        for entry, is_prefix in self._entries(prefix, delimiter, after):
            if len(keys) + len(prefixes) == limit:
                return Page(tuple(keys), tuple(prefixes), last)
            (prefixes if is_prefix else keys).append(entry)
            last = entry
        return Page(tuple(keys), tuple(prefixes), None)

    def _entries(self, prefix: str, delimiter: str, after: str) -> Iterator[tuple[str, bool]]:
        """Yield the keys, and each common prefix once; a prefix stands for all keys below it."""
        at = max(bisect_left(self.keys, prefix), bisect_right(self.keys, after))
        if delimiter and after.endswith(delimiter) and after != prefix:
            at = max(at, self._beyond(after))
        while at < len(self.keys) and self.keys[at].startswith(prefix):
            key = self.keys[at]
            head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            if found:
                yield prefix + head + found, True
                at = self._beyond(prefix + head + found)
            else:
                yield key, False
                at += 1

    def _beyond(self, prefix: str) -> int:
        """Return the index of the first key after all keys that begin with `prefix`."""
        return bisect_left(self.keys, prefix[:-1] + chr(ord(prefix[-1]) + 1))


@dataclass
class Buckets:
    """The buckets of a store, and the uploads in parts that are not complete."""

    by_name: dict[str, Bucket] = field(default_factory=dict)
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def find(self, bucket: str, key: str) -> StoredObject | None:
        """Return an object; None when it or its bucket does not exist."""
        found = self.by_name.get(bucket)
        return found.objects.get(key) if found else None
