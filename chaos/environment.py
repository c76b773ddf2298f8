"""What a chaos round runs on: broker, topic, storage, tables and consumer settings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from chaos.cluster import Cluster
from chaos.content import Content
from chaos.fleet import FleetSetup
from chaos.gateway_producer import Send
from chaos.storage import Storage
from core.clock import Clock
from core.protocols import Options


class BrokerControl(Protocol):
    """A broker that the round may stop and kill."""

    def start(self) -> None:
        """Start the broker over its existing log folder; return when it responds."""
        ...

    def stop(self) -> None:
        """Stop the broker with SIGTERM."""
        ...

    def kill(self) -> None:
        """Stop the broker with SIGKILL."""
        ...


class Disk(Protocol):
    """A filesystem that the round may fill."""

    def fill(self) -> None:
        """Use up all free space."""
        ...

    def free(self) -> None:
        """Free the space again."""
        ...


@dataclass(frozen=True)
class SinkProgress:
    """Offsets that the slowest sink still lacks, and the rows of table and quarantine together."""

    lag: int
    rows: int


@dataclass(frozen=True)
class Environment:
    """What a round runs on.

    `tables`: the clean table and its quarantine. `archives`: Parquet chains of every record.
    `rate`: records per second. `fault_rate`: the share of storage requests that meet a fault.
    `broker` or `cluster`: what the round may break.
    `gateway`: sends records through a gateway.
    """

    launch: FleetSetup
    kafka: Mapping[str, Any]
    topic: str
    content: Content
    consumers: int
    rate: int
    fault_rate: float
    transactions: bool
    tables: tuple[str, ...]
    archives: tuple[str, ...]
    options: Options
    progress: Callable[[], SinkProgress]
    broker: BrokerControl | None
    cluster: Cluster | None
    gateway: Send | None
    storage: Storage | None
    disk: Disk | None
    clock: Clock
