"""Raw bytes to and from a gateway."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    """Connect to the gateway at `url`."""
    port = int(url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        yield client


def answer(client: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    parts = []
    while part := client.recv(65536):
        parts.append(part)
    return b"".join(parts)


def exchange(url: str, *parts: bytes) -> bytes:
    """All that a new connection answers to `parts` until the other side closes it."""
    with connected(url) as client:
        for part in parts:
            client.sendall(part)
        return answer(client)
