"""The network between the nodes of a cluster: it can be cut between two of them."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Protocol

from chaos.child import child
from core.errors import FatalError


class Link(Protocol):
    """Where node `source` connects to node `target`, and where that is forwarded to."""

    @property
    def source(self) -> int:
        """The node's number."""
        ...

    @property
    def target(self) -> int:
        """The peer's number."""
        ...

    @property
    def address(self) -> tuple[str, int]:
        """What the node connects to."""
        ...

    @property
    def upstream(self) -> tuple[str, int]:
        """What the peer listens on."""
        ...


class Network:
    """Steers a running chaos.links process."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self._process, self._log = process, log
        self._lock = Lock()
        self._expect("ready")

    def cut(self, one: int, other: int) -> None:
        """Let nothing pass between these two nodes; nothing that was sent is lost."""
        self._order("cut", one, other)

    def heal(self, one: int, other: int) -> None:
        """Let pass what was held back, and whatever follows."""
        self._order("heal", one, other)

    def _order(self, what: str, one: int, other: int) -> None:
        with self._lock:
            if self._process.stdin:
                self._process.stdin.write(f"{what} {_pair(one, other)}\n".encode())
                self._process.stdin.flush()
            self._expect("done")

    def _expect(self, word: str) -> None:
        line = self._process.stdout.readline() if self._process.stdout else b""
        if line.decode().strip() != word:
            raise FatalError("the links between the brokers ended", f"see {self._log}")


@contextmanager
def network(links: Sequence[Link], log: Path) -> Iterator[Network]:
    """Forward `links` while the block runs."""
    given = [(_pair(ln.source, ln.target), ln.address, ln.upstream) for ln in links]
    with child(["-m", "chaos.links", json.dumps(given)], log) as process:
        yield Network(process, log)


def _pair(one: int, other: int) -> str:
    return f"{min(one, other)}-{max(one, other)}"
