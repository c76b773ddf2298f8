"""What sinks require of a store for their objects."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Protocol

NO_RESPONSE_HINT = "look at the network, lake.root and aws.endpoint_url; nothing is lost or doubled"
DISK_FULL_HINT = "make room on that disk; nothing is lost or doubled"


class Store(Protocol):
    """A store of whole objects. Keys are relative to the store's root, separated by `/`.

    Every method raises TransientError when the same call may be tried again (after a `put_new`
    the object may exist nevertheless) and SinkError when a person must act.
    """

    uri: str
    longest_name: int  # bytes of a key's last part

    def prove(self) -> None:
        """Raise SinkError unless creating a key that exists is refused; proven once an instance."""
        ...

    def put_new(self, key: str, body: bytes, metadata: Mapping[str, str]) -> bool:
        """Create `key` whole and durable; False, touching nothing, when it exists."""
        ...

    def replace(self, key: str, body: bytes) -> None:
        """Write `key` whole whether or not it exists: only for what no proof depends on."""
        ...

    def metadata(self, key: str) -> Mapping[str, str] | None:
        """Return the metadata of `key`, empty where the store keeps none; None: no key."""
        ...

    def read(self, key: str) -> bytes:
        """Return the body of `key`."""
        ...

    def find(self, key: str) -> bytes | None:
        """Return the body of `key`; None: no key."""
        ...

    def tail(self, key: str, size: int) -> bytes:
        """Return the last bytes of `key`, at most `size`."""
        ...

    def page(self, prefix: str, after: str) -> tuple[list[str], bool]:
        """Return the first keys after `after` with that prefix, sorted; whether others follow."""
        ...

    def absent(self, keys: Sequence[str]) -> Sequence[str]:
        """Return those of a few keys that are not there; they are sorted and close to each other.

        In a folder it costs the same at any number of other files, in a bucket one request.
        """
        ...

    def list(self, prefix: str) -> list[str]:
        """Return all keys with that prefix, sorted, without hidden names (`.…`)."""
        ...

    def scan(self, folder: str) -> Iterator[tuple[str, datetime]]:
        """Yield the keys right below `folder` (`…/`) and when each was written, in any order."""
        ...

    def take_away(self, key: str, body: bytes) -> None:
        """Remove `key` unless it has another body by now."""
        ...

    def remove(self, keys: Collection[str]) -> None:
        """Remove the keys; those that are not there count as removed."""
        ...
