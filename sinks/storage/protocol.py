"""What sinks ask of a place for their files."""

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Protocol

REACH = "look at the network, lake.root and aws.endpoint_url; nothing is lost or doubled"
ROOM = "make room on that disk; nothing is lost or doubled"


class Store(Protocol):
    """A place for whole objects. Keys are relative to the store's own root, parted by `/`.

    Every method raises TransientError when the same call may be tried again (after a `put_new`
    the object may be there all the same) and SinkError when a person must mend the place.
    """

    uri: str
    longest_name: int  # bytes of a key's last part

    def prove(self) -> None:
        """Raise SinkError unless creating a key that exists is refused; proven once an instance."""
        ...

    def put_new(self, key: str, body: bytes, metadata: Mapping[str, str]) -> bool:
        """Create `key` whole and durable; False, touching nothing, when it exists."""
        ...

    def metadata(self, key: str) -> Mapping[str, str] | None:
        """What was stored beside `key`, empty where the place keeps no metadata; None: no key."""
        ...

    def read(self, key: str) -> bytes:
        """The body of `key`."""
        ...

    def find(self, key: str) -> bytes | None:
        """The body of `key`; None: no key."""
        ...

    def tail(self, key: str, most: int) -> bytes:
        """The last bytes of `key`, `most` of them if it has so many."""
        ...

    def page(self, prefix: str, after: str) -> tuple[list[str], bool]:
        """The first keys beyond `after` that begin with `prefix`, sorted; whether others follow."""
        ...

    def list(self, prefix: str) -> list[str]:
        """All keys that begin with `prefix`, sorted; hidden names (`.…`) are not among them."""
        ...

    def scan(self, folder: str) -> Iterator[tuple[str, datetime]]:
        """The keys right below `folder` (`…/`) and when each was written, in any order."""
        ...

    def remove(self, keys: Collection[str]) -> None:
        """Remove the keys; those that are not there count as removed."""
        ...
