"""What sinks answer that have nothing to say to some of the loop's questions."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from core.batch import Batch, Partition, Position, Rejects
from core.origins import Start


@dataclass(frozen=True)
class Whole:
    """A batch of which nothing is uploaded before its commit."""

    batch: Batch

    @property
    def nbytes(self) -> int:
        """Bytes of the clean rows."""
        return int(self.batch.clean.estimated_size())

    def upload(self) -> None:
        """Do nothing."""


class AtOnce(ABC):
    """What a `Sink` answers that does all its work in `write`."""

    @abstractmethod
    def write(self, batch: Batch) -> None:
        """As `Sink.write`."""

    def prepare(self, batch: Batch) -> Whole:
        """Take the batch as it is."""
        return Whole(batch)

    def commit(self, prepared: Sequence[Whole]) -> None:
        """Write one batch after the other; a repeat passes over what was written."""
        for one in prepared:
            self.write(one.batch)


class WithoutHistory:
    """What a `Sink` answers that keeps its rows and positions, and nothing of the pipeline's past.

    The clean table keeps that for all.
    """

    def rejects(self, partitions: Collection[Partition]) -> Sequence[Rejects]:  # noqa: ARG002
        """No windows are kept."""
        return ()

    def origins(self, partitions: Collection[Partition]) -> Mapping[Partition, Position]:  # noqa: ARG002
        """No beginnings are kept."""
        return {}

    def tips(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:  # noqa: ARG002
        """No notes are kept."""
        return {}

    def gaps(self, partitions: Collection[Partition]) -> Mapping[Partition, range]:  # noqa: ARG002
        """No accepted gaps are kept."""
        return {}

    def pin(self, starts: Mapping[str, Start]) -> None:
        """No beginnings are kept."""

    def arrivals(
        self,
        partitions: Collection[Partition],  # noqa: ARG002
    ) -> Mapping[Partition, datetime]:
        """No arrivals stand for an epoch here."""
        return {}

    def release(self, partitions: Collection[Partition]) -> None:
        """No commit is deferred."""

    @property
    def is_overdue(self) -> bool:
        """No commit is deferred."""
        return False

    def settle(self) -> None:
        """No commit is deferred."""
