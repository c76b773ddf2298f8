"""The links between brokers: a cut one holds everything back, a healed one delivers it."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from chaos.network import Network, network
from core.errors import FatalError
from pinpip.local.java import free_port

SHORT_S = 0.3  # on a whole link a response takes a hundredth of that
LONG_S = 30.0


@dataclass(frozen=True)
class Link:
    """Where one node connects to another, and where that goes."""

    source: int
    target: int
    address: tuple[str, int]
    upstream: tuple[str, int]


@dataclass
class Peer:
    """What listens behind a link, and one connection through it."""

    server: socket.socket
    client: socket.socket

    def accepted(self, timeout: float) -> socket.socket:
        self.server.settimeout(timeout)
        connection, _ = self.server.accept()
        return connection

    def close(self) -> None:
        self.client.close()
        self.server.close()


@pytest.fixture
def links() -> list[Link]:
    """Two links, of the nodes 1 and 2, and of 1 and 3."""
    targets = [("127.0.0.1", free_port()) for _ in range(2)]
    return [
        Link(1, n, (f"127.0.1.{n}", port), (host, port))
        for n, (host, port) in enumerate(targets, start=2)
    ]


@pytest.fixture
def between(links: list[Link], tmp_path: Path) -> Iterator[Network]:
    with network(links, tmp_path / "links.log") as made:
        yield made


@contextmanager
def connected(link: Link) -> Iterator[Peer]:
    server = socket.create_server(link.upstream)
    peer = Peer(server, socket.create_connection(link.address, LONG_S))
    try:
        yield peer
    finally:
        peer.close()


def test_a_whole_link_carries_both_ways_and_the_end(between: Network, links: list[Link]) -> None:
    del between
    with connected(links[0]) as peer, peer.accepted(LONG_S) as far:
        peer.client.sendall(b"question")
        assert far.recv(100) == b"question"
        far.sendall(b"answer")
        assert peer.client.recv(100) == b"answer"
        peer.client.close()
        assert far.recv(100) == b""


def test_a_cut_link_holds_everything_back_and_a_healed_one_delivers_it(
    between: Network, links: list[Link]
) -> None:
    with connected(links[0]) as peer, peer.accepted(LONG_S) as far:
        between.cut(2, 1)
        peer.client.sendall(b"question")
        far.sendall(b"answer")
        for side in (far, peer.client):
            side.settimeout(SHORT_S)
            with pytest.raises(TimeoutError):
                side.recv(100)
            side.settimeout(LONG_S)
        between.heal(1, 2)
        assert far.recv(100) == b"question"
        assert peer.client.recv(100) == b"answer"


def test_a_cut_link_takes_a_connection_that_reaches_nobody_until_it_is_healed(
    between: Network, links: list[Link]
) -> None:
    between.cut(1, 2)
    with connected(links[0]) as peer:
        with pytest.raises(TimeoutError):
            peer.accepted(SHORT_S)
        between.heal(1, 2)
        peer.accepted(LONG_S).close()


def test_the_end_of_a_side_is_not_told_over_a_cut_link(between: Network, links: list[Link]) -> None:
    with connected(links[0]) as peer, peer.accepted(LONG_S) as far:
        between.cut(1, 2)
        peer.client.close()
        far.settimeout(SHORT_S)
        with pytest.raises(TimeoutError):
            far.recv(1)
        between.heal(1, 2)
        far.settimeout(LONG_S)
        assert far.recv(1) == b""


def test_only_the_links_of_the_pair_are_cut(between: Network, links: list[Link]) -> None:
    between.cut(1, 2)
    with connected(links[1]) as peer, peer.accepted(LONG_S) as far:
        peer.client.sendall(b"question")
        assert far.recv(100) == b"question"


def test_links_that_cannot_be_made_are_reported(links: list[Link], tmp_path: Path) -> None:
    with (
        socket.create_server(links[0].address),
        pytest.raises(FatalError, match="links between the brokers ended"),
        network(links, tmp_path / "links.log"),
    ):
        pytest.fail("it must not start")
