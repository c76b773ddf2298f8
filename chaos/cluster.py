"""Break the nodes of a cluster one at a time, and wait until it is whole again."""

import logging
import os
import signal
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from chaos.network import Network
from core.clock import Clock
from core.errors import FatalError

TIMEOUT_S = 180.0  # for an election or a node's return; a busy machine needs long
_POLL_S = 0.2
_RESPONSE_TIMEOUT_S = 2.0
_QUIET = logging.Logger("chaos", logging.CRITICAL + 1)  # noqa: LOG001  # nodes are down by design


class Node(Protocol):
    """A broker of the cluster.

    `start` returns when it responds, `stop` sends SIGTERM and waits for its end, `kill` SIGKILL.
    """

    bootstrap: str

    @property
    def pid(self) -> int | None:
        """The process id, None when it does not run."""
        ...

    def start(self) -> None:
        """Start it over its existing log folder."""
        ...

    def stop(self) -> None:
        """Stop it in order: its partitions are led by others first."""
        ...

    def kill(self) -> None:
        """Kill it."""
        ...


@dataclass(frozen=True)
class Cluster:
    """Nodes by number, and the network between them.

    Each fault returns when every replica is in sync again. Call one at a time: a majority stays.
    """

    nodes: Mapping[int, Node]
    network: Network
    clock: Clock

    def kill_leader(self, partition: TopicPartition) -> None:
        """Kill the partition's leader with SIGKILL; start it again when another leads."""
        leader = self._leader(partition)
        self.nodes[leader].kill()
        self._await_successor(partition, leader)
        self.nodes[leader].start()
        self.await_whole()

    def freeze_leader(self, partition: TopicPartition, seconds: float) -> None:
        """Freeze the partition's leader for `seconds`, and until another leads; then thaw it.

        It wakes up as a leader that does not know of its successor.
        """
        leader = self._leader(partition)
        with _frozen(self.nodes[leader]):
            self.clock.sleep(seconds)
            self._await_successor(partition, leader)
        self.await_whole()

    def roll(self) -> None:
        """Stop and start one node after the other; each when every replica is in sync."""
        for node in self.nodes.values():
            node.stop()
            node.start()
            self.await_whole()

    def cut(self, victim: int, seconds: float) -> None:
        """Cut the network between two nodes for `seconds`; clients reach both meanwhile."""
        numbers = sorted(self.nodes)
        one = numbers[victim % len(numbers)]
        other = numbers[(victim + 1) % len(numbers)]
        self.network.cut(one, other)
        try:
            self.clock.sleep(seconds)
        finally:
            self.network.heal(one, other)
        self.await_whole()

    def await_whole(self) -> None:
        """Return when every node says that every replica is in sync and every partition is led.

        Raises FatalError after TIMEOUT_S.
        """
        self._until(lambda: all(map(self._is_whole, self.nodes)), "replicas do not catch up")

    def _leader(self, partition: TopicPartition) -> int:
        """Return the leader, once there is one."""
        found: list[int] = []

        def known() -> bool:
            found[:] = self._leaders(partition, self.nodes)
            return bool(found)

        self._until(known, f"{partition.topic}/{partition.partition} has no leader")
        return found[0]

    def _await_successor(self, partition: TopicPartition, leader: int) -> None:
        others = set(self.nodes) - {leader}

        def succeeded() -> bool:
            return any(found != leader for found in self._leaders(partition, others))

        self._until(succeeded, f"no other node leads {partition.topic}/{partition.partition}")

    def _leaders(self, partition: TopicPartition, nodes: Collection[int]) -> list[int]:
        """Return who leads the partition, by what each of `nodes` says that says anything."""
        views = (self._view(number) for number in nodes)
        known = (v.topics[partition.topic].partitions for v in views if v is not None)
        leaders = (found[partition.partition].leader for found in known if found)
        return [leader for leader in leaders if leader in self.nodes]

    def _is_whole(self, number: int) -> bool:
        view = self._view(number)
        if view is None or set(view.brokers) != set(self.nodes):
            return False
        replicated = [p for topic in view.topics.values() for p in topic.partitions.values()]
        return all(p.leader in self.nodes and set(p.isrs) == set(p.replicas) for p in replicated)

    def _view(self, number: int) -> Any:
        """Return the metadata that a node has, None when it does not respond.

        By a new client each time: one that knows the other nodes may ask any of them.
        """
        own: dict[str, Any] = {"bootstrap.servers": self.nodes[number].bootstrap, "log_level": 0}
        try:
            return AdminClient(own, logger=_QUIET).list_topics(timeout=_RESPONSE_TIMEOUT_S)
        except KafkaException:
            return None

    def _until(self, condition: Callable[[], bool], otherwise: str) -> None:
        deadline = self.clock.monotonic() + TIMEOUT_S
        while not condition():
            if self.clock.monotonic() > deadline:
                raise FatalError(f"{otherwise}, for {TIMEOUT_S:g} s", "see the brokers' logs")
            self.clock.sleep(_POLL_S)


@contextmanager
def _frozen(node: Node) -> Iterator[None]:
    """Stop the node's process with SIGSTOP while the block runs."""
    pid = node.pid
    if pid is None:
        raise FatalError("a broker is to be frozen and does not run", "see the brokers' logs")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
