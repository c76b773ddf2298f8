"""Choose the broker of `pinpip chaos`, or start one or a cluster that it may break."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from chaos.cluster import Cluster
from chaos.environment import BrokerControl
from chaos.network import network
from core.clock import SystemClock
from core.config import Config
from core.errors import ConfigError
from core.kafka import properties
from pinpip.chaos.environment import FOLDER
from pinpip.folders import writing
from pinpip.local.cluster import ClusterPlan, kafka_cluster
from pinpip.local.embedded import embedded_kafka
from pinpip.local.java import FAST_FENCING, real_kafka

_LOW_SESSIONS = {"group.min.session.timeout.ms": "1000"}


@dataclass(frozen=True)
class Brokers:
    """The client properties, and what chaos may break: one broker, a cluster or nothing."""

    properties: Mapping[str, Any]
    broker: BrokerControl | None = None
    cluster: Cluster | None = None


@contextmanager
def brokers_of(
    config: Config, kafka: Literal["real", "mock", "config"], size: int
) -> Iterator[Brokers]:
    """Yield the brokers of the rounds; `size` is the number of real ones.

    Raises ConfigError when more than one is wanted and they are not to be started here.
    """
    if size > 1 and kafka != "real":
        raise ConfigError(
            f"--brokers {size} starts its own brokers, and --kafka {kafka} names others",
            "leave out one of the two options",
        )
    with ExitStack() as parts:
        if kafka == "config":
            yield Brokers(properties(config))
        elif kafka == "mock":
            yield Brokers({"bootstrap.servers": parts.enter_context(embedded_kafka())})
        else:
            shutil.rmtree(FOLDER / "kafka", ignore_errors=True)
            yield parts.enter_context(_one() if size == 1 else _several(size))


@contextmanager
def _one() -> Iterator[Brokers]:
    with real_kafka(FOLDER / "kafka", properties=FAST_FENCING | _LOW_SESSIONS) as broker:
        yield Brokers({"bootstrap.servers": broker.bootstrap}, broker=broker)


@contextmanager
def _several(size: int) -> Iterator[Brokers]:
    folder, plan, clock = FOLDER / "kafka", ClusterPlan(size), SystemClock()
    with writing(folder):
        folder.mkdir(parents=True)
    with (
        network(plan.links, folder / "links.log") as between,
        kafka_cluster(folder, plan, size, properties=_LOW_SESSIONS, clock=clock) as nodes,
    ):
        cluster = Cluster(nodes, between, clock)
        cluster.await_whole()
        bootstrap = ",".join(node.bootstrap for node in nodes.values())
        yield Brokers({"bootstrap.servers": bootstrap}, cluster=cluster)
