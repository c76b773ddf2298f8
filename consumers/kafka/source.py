"""Kafka as a source: a member of a consumer group that reads where the sinks say.

The positions come from the tables, by way of `seek`; the group only shares out the partitions.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from consumers.kafka.begins import starts
from consumers.kafka.client import partition_of, settings, topic_partition
from consumers.kafka.horizons import Horizons
from consumers.kafka.protocol import refuse_old_broker
from consumers.kafka.reader import Reader
from core.batch import KAFKA, Partition, Position, Positions, Records
from core.clock import Clock, SystemClock
from core.errors import SourceError
from core.observer import Horizon
from core.origins import Start
from core.protocols import Listener
from core.retry import Outage
from core.topic_id import Known

CHUNK = 5_000
BUDGET = 256 * 1024 * 1024
_log = structlog.get_logger()


class KafkaSource:
    """A consumer group's member for `topics`, which may appear later.

    `properties` are librdkafka's (ConfigError for one that exactly-once forbids), `budget` the
    bytes that a pipeline may hold: a 16th of it, 16 MiB at most, is the client's queue.
    `start` is where a partition begins that is sought to None; `outage` hears when no broker
    answers, `clock` dates horizons. What expired unread before the offsets `accepted`, and no more,
    is passed over and told with the records.
    """

    coordinates = KAFKA
    exhausted = False
    _reader: Reader
    _listener: Listener

    def __init__(  # noqa: PLR0913  # three are needed
        self,
        properties: Mapping[str, Any],
        topics: Sequence[str],
        group: str,
        *,
        budget: int = BUDGET,
        start: Literal["earliest", "latest"] = "earliest",
        want_headers: bool = False,
        chunk: int = CHUNK,
        outage: Outage | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._settings = settings(properties, group, budget)
        self._topics = list(topics)
        self._headers, self._chunk, self._from_end = want_headers, chunk, start == "latest"
        self._outage = outage
        self._horizons = Horizons(clock or SystemClock())
        self.accepted: Mapping[Partition, int] = {}
        self._held: set[Partition] = set()

    def open(self, listener: Listener) -> None:
        """Join the group; ConfigError, or SourceError for a broker out of reach or too old."""
        self._listener = listener
        self._reader = Reader(
            self._settings,
            headers=self._headers,
            chunk=self._chunk,
            from_end=self._from_end,
            member=True,
            outage=self._outage,
        )
        self._reader.placement.gaps.accepted = self.accepted
        try:
            refuse_old_broker(self._settings)
        except SourceError:
            self._reader.close()
            raise
        # Without an on_lost of its own the client calls on_revoke: both only drop.
        self._reader.consumer.subscribe(
            self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke
        )

    def poll(self, timeout: float) -> Records | None:
        """Return the next records, or None; wait one second at most, since signals wait with it.

        Raises RecordsExpired when the topic no longer reaches back to a position, TopicRecreated
        for one beyond its end or of another topic, SourceError for what the broker refuses.
        """
        begun = self._reader.begin(timeout)
        self.acknowledge({p: at for p, at in begun.items() if at})  # a word may have been lost
        self._horizons.ask(self._reader.admin, self._reader.next)
        return self._reader.read(timeout)

    def starts(self, sources: Collection[str]) -> Mapping[str, Start]:
        """Where the partitions of these topics may begin now."""
        reader = self._reader
        return starts(reader.admin, reader.identity.ids, sources, from_end=self._from_end)

    def bind(self, known: Mapping[Partition, Known]) -> None:
        """Check the topics against what the sinks know, before these partitions are read."""
        held = {p: own for p, own in known.items() if p in self._held}
        self._reader.placement.known |= held
        self._reader.placement.firsts |= {p: k.origin.number for p, k in held.items() if k.origin}

    def seek(self, positions: Positions) -> None:
        """Read each partition that is still ours from its position (None: from its start)."""
        self._reader.seek({p: at for p, at in positions.items() if p in self._held})

    def pause(self) -> None:
        """Fetch nothing; the client's queue is dropped and fetched again later."""
        self._reader.pause()

    def resume(self) -> None:
        """Fetch again, also what was taken away meanwhile and may come back."""
        self._reader.resume()

    def acknowledge(self, positions: Mapping[Partition, Position]) -> None:
        """Commit to the group in the background: a hint for lag tools, so a failure is no error."""
        held = [(p, position) for p, position in positions.items() if p in self._reader.next]
        offsets = [topic_partition(p, position.number) for p, position in held]
        try:
            if offsets:
                self._reader.consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            _log.debug("kafka_commit_failed", error=str(error))

    def horizons(self) -> Mapping[Partition, Horizon]:
        """Return where the partitions end that are read, paused ones too."""
        return self._horizons.taken()

    def close(self) -> None:
        """Leave the group."""
        self._horizons.close()
        self._reader.close()

    def _on_assign(self, consumer: Consumer, found: list[TopicPartition]) -> None:
        consumer.incremental_assign([])  # else the client starts them at the group's offsets
        partitions = sorted(map(partition_of, found))
        self._held.update(partitions)
        self._listener.assigned(partitions)

    def _on_revoke(self, consumer: Consumer, found: list[TopicPartition]) -> None:
        partitions = sorted(map(partition_of, found))
        begun = [topic_partition(p) for p in partitions if p in self._reader.next]
        consumer.incremental_unassign(begun)
        self._reader.drop(partitions)
        self._held.difference_update(partitions)
        self._listener.revoked(partitions)
