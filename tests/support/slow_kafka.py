"""A Kafka of the gateway that stores when a test says so."""

import asyncio
from collections.abc import Sequence
from threading import Event

from gateway.http.request_codec import KafkaRecord
from gateway.kafka.producer import Outcome, Stored


class SlowKafka:
    """A port that counts what it is asked to store, and stores when it is told to."""

    def __init__(self) -> None:
        self.calls = 0
        self.asked = Event()
        self.go = Event()

    async def open(self) -> None:
        """Start."""

    async def close(self) -> None:
        """Stop."""

    def fault(self) -> str | None:
        """None."""

    async def knows(self, topic: str) -> bool:
        """Every topic."""
        return bool(topic)

    async def produce(self, topic: str, records: Sequence[KafkaRecord]) -> list[Outcome]:
        """Store when told to."""
        del topic
        self.calls += 1
        self.asked.set()
        await asyncio.to_thread(self.go.wait, 20)
        return [Stored(0, n) for n in range(len(records))]
