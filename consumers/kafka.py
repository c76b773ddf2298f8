"""Kafka as a source: a member of a consumer group that reads where the sinks say.

The positions come from the listener (the tables); the group only shares out the partitions.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from consumers.kafka_client import partition_of, settings, topic_partition
from consumers.kafka_reader import Reader
from pinpip.batch import KAFKA, Listener, Partition, Position, Positions, Records

CHUNK = 10_000
BUDGET = 256 * 1024 * 1024
_log = structlog.get_logger()


class KafkaSource:
    """A consumer group's member for `topics`, which may appear later.

    `properties` are librdkafka's (ConfigError for one that exactly-once forbids), `budget` the
    bytes that a consumer may hold: a quarter of it, 64 MiB at most, is the client's queue.
    `start` is where a partition begins whose position the listener does not know.
    """

    coordinates = KAFKA
    exhausted = False
    _reader: Reader
    _listener: Listener

    def __init__(
        self,
        properties: Mapping[str, Any],
        topics: Sequence[str],
        group: str,
        *,
        budget: int = BUDGET,
        start: Literal["earliest", "latest"] = "earliest",
        want_headers: bool = False,
        chunk: int = CHUNK,
    ) -> None:
        self._settings = settings(properties, group, budget)
        self._topics = list(topics)
        self._headers, self._chunk, self._from_end = want_headers, chunk, start == "latest"
        self._arriving: set[Partition] = set()
        self._untold: dict[Partition, Position] = {}
        self._raised: list[Exception] = []

    def open(self, listener: Listener) -> None:
        """Join the group; ConfigError, or SourceError when no broker can be reached."""
        self._listener = listener
        self._reader = Reader(
            self._settings, headers=self._headers, chunk=self._chunk, from_end=self._from_end
        )
        # Without an on_lost of its own the client calls on_revoke: both only drop.
        self._reader.consumer.subscribe(
            self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke
        )

    def poll(self, timeout: float) -> Records | None:
        """The next records, or None; waits one second at most, for signals wait with it.

        Raises RecordsExpired when the topic no longer reaches back to a position, SourceError for
        one beyond its end and for what the broker refuses, and what the listener raised.
        """
        if self._arriving:
            self._start_arriving()
        records = self._reader.read(timeout)
        if self._raised:
            raise self._raised.pop(0)
        if self._untold:
            told, self._untold = self._untold, {}
            self.acknowledge(told)
        return records

    def seek(self, positions: Positions) -> None:
        """Read each partition that is still ours from its position (None: from its start)."""
        self._reader.seek(positions)

    def acknowledge(self, positions: Mapping[Partition, Position]) -> None:
        """Commit to the group in the background: a hint for lag tools, so a failure is no error."""
        held = [(p, position) for p, position in positions.items() if p in self._reader.next]
        offsets = [topic_partition(p, position.number) for p, position in held]
        try:
            if offsets:
                self._reader.consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            _log.debug("kafka_commit_failed", error=str(error))

    def close(self) -> None:
        """Leave the group."""
        self._reader.consumer.close()

    def _on_assign(self, consumer: Consumer, found: list[TopicPartition]) -> None:
        self._arriving |= {partition_of(tp) for tp in found}
        try:
            self._start_arriving()
        except Exception as error:  # noqa: BLE001  # the client would swallow it: poll raises it
            consumer.incremental_assign([])  # else the client starts them at the group's offsets
            self._raised.append(error)

    def _start_arriving(self) -> None:
        """Start new partitions where the listener says; they stay new until that succeeds."""
        positions = self._listener.assigned(sorted(self._arriving))
        starts = [self._reader.place(p, positions.get(p)) for p in sorted(self._arriving)]
        self._reader.consumer.incremental_assign(starts)
        self._arriving.clear()
        # Told to the group after the rebalance: the last owner's word may have been lost.
        self._untold |= {p: position for p, position in positions.items() if position}

    def _on_revoke(self, consumer: Consumer, found: list[TopicPartition]) -> None:
        partitions = {partition_of(tp) for tp in found}
        started = partitions - self._arriving
        self._arriving -= partitions
        self._reader.drop(partitions)
        consumer.incremental_unassign([topic_partition(p) for p in started])
        self._guard(lambda: self._listener.revoked(sorted(partitions)))

    def _guard(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001  # the client would swallow it: poll raises it
            self._raised.append(error)
