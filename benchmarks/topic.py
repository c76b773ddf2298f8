"""Create and fill the topics of the benchmarks with the same emulated pins every time."""

import json
import random
import string
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from pinpip.cli.shared import progress_bar
from producers import emulator

POOL = 50_000  # distinct pins; a topic repeats them
STEP_S = 0.02  # between two sends of a steady load
SEED = 1
_QUIET = {"log_level": 2}
_THROUGHPUT = {
    **_QUIET,
    "compression.type": "lz4",
    "linger.ms": 50,
    "batch.size": 500_000,
    "enable.idempotence": True,  # retries must not change the order: an offset identifies a pin
}
_LOW_LATENCY = {**_QUIET, "compression.type": "lz4", "linger.ms": 5}
MAX_MESSAGE_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Topic:
    """A filled topic: record n has offset n // partitions in partition n % partitions.

    `mean_bytes`: the mean size of a value.
    """

    bootstrap: str
    name: str
    partitions: int
    records: int
    mean_bytes: float


@cache
def pins() -> list[bytes]:
    """Return the pool of distinct pins as JSON."""
    events = islice(emulator.events(SEED), POOL)
    return [json.dumps(event.rows["pin"]).encode() for event in events]


def sized(size: int) -> list[bytes]:
    """Make pins of exactly `size` bytes (at least 100) by padding their description."""
    rng = random.Random(SEED)
    letters = "".join(rng.choices(string.ascii_letters + "   ", k=size + 100_000))
    return [_padded(n, size, letters[rng.randrange(100_000) :]) for n in range(200)]


def _padded(number: int, size: int, letters: str) -> bytes:
    start = b'{"index": %d, "category": "art", "description": "' % (number + 1000)
    return start + letters[: size - len(start) - 2].encode() + b'"}'


def create(bootstrap: str, name: str, partitions: int, **config: str) -> None:
    """Create an empty topic; `config`: its settings with `_` for `.`."""
    own = {key.replace("_", "."): value for key, value in config.items()}
    new = NewTopic(name, partitions, 1, config={"max.message.bytes": str(MAX_MESSAGE_BYTES), **own})
    admin = AdminClient({"bootstrap.servers": bootstrap, **_QUIET})
    admin.create_topics([new])[name].result(30)


def fill(bootstrap: str, name: str, partitions: int, records: int, pool: Sequence[bytes]) -> Topic:
    """Create the topic and produce `records` values of `pool`, round-robin over partitions."""
    create(bootstrap, name, partitions)
    return put(bootstrap, name, partitions, records, pool)


def put(bootstrap: str, name: str, partitions: int, records: int, pool: Sequence[bytes]) -> Topic:
    """Do as `fill` on an existing topic."""
    own = {"bootstrap.servers": bootstrap, "message.max.bytes": MAX_MESSAGE_BYTES, **_THROUGHPUT}
    producer, size = Producer(own), 0
    with progress_bar(quiet=False) as bar:
        shown = bar.add_task(f"filling {name}", total=records)
        for n in range(records):
            value = pool[n % len(pool)]
            size += len(value)
            _produce(producer, name, value, n % partitions)
            if n % 1000 == 0:
                bar.update(shown, completed=n)
    producer.flush()
    return Topic(bootstrap, name, partitions, records, size / records)


def _produce(producer: Producer, name: str, value: bytes, partition: int) -> None:
    while True:
        try:
            producer.produce(name, value, partition=partition)
        except BufferError:
            producer.poll(0.05)
        else:
            return


def steady(
    bootstrap: str,
    topics: Sequence[str],
    partitions: int,
    rate: int,
    proceed: Callable[[int], bool],
) -> Iterator[int]:
    """Produce `rate` pins per second, in turn to each topic, while `proceed(sent)`.

    Yields the number sent; all are acknowledged at the end.
    """
    producer, pool = Producer({"bootstrap.servers": bootstrap, **_LOW_LATENCY}), pins()
    began, sent = time.monotonic(), 0
    while proceed(sent):
        time.sleep(STEP_S)
        due = int((time.monotonic() - began) * rate)
        for n in range(sent, due):
            turn, nth = divmod(n, len(topics))
            _produce(producer, topics[nth], pool[n % POOL], turn % partitions)
        sent = due
        producer.poll(0)
        yield sent
    producer.flush()
