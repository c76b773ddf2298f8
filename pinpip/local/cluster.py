"""Run a cluster of real Apache Kafka nodes whose connections to each other can be cut.

Every node is broker and controller. It reaches each peer by a name that its own hosts file maps to
an address of 127.0.0.0/8 for just these two; chaos/links.py forwards it. Clients connect directly.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from uuid import uuid4

from core.clock import Clock, SystemClock
from pinpip.folders import writing
from pinpip.local.java import FAST_FENCING, KafkaProcess, Membership, free_port

# Less heap and no second compiler: three brokers share a small machine.
_JAVA = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


@dataclass(frozen=True)
class Link:
    """Where node `source` connects to node `target`: what is sent to `address` is for `upstream`.

    Both are host and port.
    """

    source: int
    target: int
    address: tuple[str, int]
    upstream: tuple[str, int]


@dataclass(frozen=True)
class _Ports:
    """The listeners of one node."""

    clients: int
    peers: int
    controller: int


class ClusterPlan:
    """The addresses of a cluster of `size` nodes, numbered from 1."""

    def __init__(self, size: int) -> None:
        self.cluster = uuid4().hex[:22]
        self._ports = {n: _Ports(free_port(), free_port(), free_port()) for n in _numbers(size)}

    @property
    def links(self) -> list[Link]:
        """The links that must be forwarded before a node starts."""
        return [
            Link(source, target, (_peer_address(source, target), port), ("127.0.0.1", port))
            for source, target in permutations(self._ports, 2)
            for port in (self._ports[target].peers, self._ports[target].controller)
        ]

    def membership(self, number: int, hosts: Path) -> Membership:
        """Return how node `number` is started; `hosts` is its own hosts file."""
        java = (*_JAVA, f"-Djdk.net.hosts.file={hosts}")
        return Membership(f"127.0.0.1:{self._ports[number].clients}", self.cluster, java)

    def hosts(self, number: int) -> str:
        """Return the hosts file of node `number`."""
        addresses = {n: _peer_address(number, n) for n in self._ports if n != number}
        own = {number: "127.0.0.1"}
        lines = [f"{address} {_name(n)}" for n, address in (addresses | own).items()]
        return "\n".join([*lines, "127.0.0.1 localhost", ""])

    def properties(self, number: int) -> dict[str, str]:
        """Return what is in server.properties of node `number` beside the defaults of one node."""
        own, size = self._ports[number], len(self._ports)
        clients = f"PLAINTEXT://127.0.0.1:{own.clients}"
        return {
            "node.id": str(number),
            "controller.quorum.voters": ",".join(
                f"{n}@{_name(n)}:{ports.controller}" for n, ports in self._ports.items()
            ),
            "listeners": f"{clients},PEERS://127.0.0.1:{own.peers},"
            f"CONTROLLER://127.0.0.1:{own.controller}",
            "advertised.listeners": f"{clients},PEERS://{_name(number)}:{own.peers},"
            f"CONTROLLER://{_name(number)}:{own.controller}",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,"
            "PEERS:PLAINTEXT",
            "inter.broker.listener.name": "PEERS",
            **_replicated(size),
            **FAST_FENCING,
        }


@contextmanager
def kafka_cluster(
    folder: Path,
    plan: ClusterPlan,
    size: int,
    *,
    properties: Mapping[str, str],
    clock: Clock | None = None,
) -> Iterator[dict[int, KafkaProcess]]:
    """Run the cluster over `folder` while the block runs; the plan's links must be forwarded.

    `properties` go into each node's server.properties. Raises FatalError when Java or Maven is
    missing or a node does not start.
    """
    numbers, started = _numbers(size), clock or SystemClock()

    def made(number: int) -> KafkaProcess:
        own = folder.absolute() / str(number)
        with writing(own):
            own.mkdir(parents=True, exist_ok=True)
            (own / "hosts").write_text(plan.hosts(number), encoding="utf-8")
        node = plan.membership(number, own / "hosts")
        return KafkaProcess(own, plan.properties(number) | dict(properties), started, node=node)

    with ThreadPoolExecutor(size) as threads:
        nodes = dict(zip(numbers, threads.map(made, numbers), strict=True))
        try:
            list(threads.map(KafkaProcess.start, nodes.values()))
            yield nodes
        finally:
            list(threads.map(KafkaProcess.kill, nodes.values()))


def _replicated(size: int) -> dict[str, str]:
    """Return the replication: one node of three may be missing."""
    enough = str(size // 2 + 1)
    return {
        "default.replication.factor": str(size),
        "min.insync.replicas": enough,
        "offsets.topic.replication.factor": str(size),
        "transaction.state.log.replication.factor": str(size),
        "transaction.state.log.min.isr": enough,
        "unclean.leader.election.enable": "false",
        # A follower behind a cut link leaves the in-sync replicas while the cut lasts.
        "replica.lag.time.max.ms": "4000",
        "log.cleaner.dedupe.buffer.size": str(16 << 20),
    }


def _numbers(size: int) -> range:
    return range(1, size + 1)


def _name(number: int) -> str:
    return f"node{number}"


def _peer_address(source: int, target: int) -> str:
    return f"127.0.{source}.{target}"
