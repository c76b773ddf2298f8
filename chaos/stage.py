"""What a round plays on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from chaos.content import Content
from chaos.fleet import FleetSetup
from chaos.storage import Storage
from core.clock import Clock
from core.protocols import Options


class BrokerControl(Protocol):
    """A broker that the harness may break."""

    def start(self) -> None:
        """Start it over what it held; returns when it answers."""
        ...

    def stop(self) -> None:
        """Stop it as an operator would."""
        ...

    def kill(self) -> None:
        """Stop it as a power cut would."""
        ...


class Disk(Protocol):
    """A filesystem that the harness may fill."""

    def fill(self) -> None:
        """Leave no room."""
        ...

    def free(self) -> None:
        """Leave room again."""
        ...


@dataclass(frozen=True)
class Progress:
    """How many offsets the slowest sink lacks, and the rows of table and quarantine together."""

    behind: int
    rows: int


@dataclass(frozen=True)
class Stage:
    """What a round plays on.

    `tables`: the clean table and its quarantine. `archives`: Parquet chains of every record.
    `rate`: records a second. `fault_rate`: the share of storage requests that meet a fault.
    """

    home: FleetSetup
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
    progress: Callable[[], Progress]
    broker: BrokerControl | None
    storage: Storage | None
    disk: Disk | None
    clock: Clock
