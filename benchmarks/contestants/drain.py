"""Call `consume()` and drop the records: the upper bound of every contestant."""

import signal

from confluent_kafka import Consumer

from benchmarks.contestants import Task, note, task
from consumers.kafka.client import settings
from core.config import Batching
from pinpip.runtime import tuned_interpreter


def tuned(bootstrap: str, group: str) -> Consumer:
    """Return a consumer with pinpip's settings that starts at the beginning."""
    own = settings({"bootstrap.servers": bootstrap}, group, int(Batching().memory))
    return Consumer(own | {"auto.offset.reset": "earliest", "enable.partition.eof": False})


def drain(given: Task) -> None:
    """Read every record once."""
    consumer = tuned(given.bootstrap, given.folder.name)
    consumer.subscribe([given.topic])
    read = 0
    while read < given.records:
        messages = consumer.consume(10_000, 1.0)
        if messages and not read:
            note(given.folder, "first")
        read += len(messages)
    note(given.folder, "done")
    signal.pause()  # until the parent has measured and ends this process


if __name__ == "__main__":
    with tuned_interpreter():
        drain(task())
