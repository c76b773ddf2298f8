"""Client threads that send numbered records, and what they were told against what is there."""

import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from threading import Event

from gateway.kafka.producer import NO_OFFSET
from producers.client import GatewayClient
from producers.delivery import DeliveryReport, DeliveryStatus, ProducerRecord, Retry
from tests.support.gateways import everything

THREADS = 4
LARGEST = 40


@dataclass
class ClientLoad:
    """What was said of each record, while more are sent."""

    told: list[tuple[ProducerRecord, DeliveryReport]] = field(default_factory=list)
    stopped: Event = field(default_factory=Event)

    def of(self, outcome: DeliveryStatus) -> int:
        """How many records have this outcome so far."""
        return sum(result.status is outcome for _, result in list(self.told))


@contextmanager
def load(url: str, topic: str) -> Iterator[ClientLoad]:
    """Run THREADS clients that send to the gateway at `url` while the block runs."""
    under, numbers = ClientLoad(), count()

    def send(seed: int) -> None:
        rng = random.Random(seed)
        with GatewayClient(url, retry=Retry(rng=rng, seconds=0)) as client:
            while not under.stopped.is_set():
                keys = [next(numbers) for _ in range(rng.randint(1, LARGEST))]
                records = [ProducerRecord(key, {"n": key}) for key in keys]
                under.told += zip(records, client.send_kafka(topic, records), strict=True)

    with ThreadPoolExecutor(THREADS) as pool:
        sending = [pool.submit(send, seed) for seed in range(THREADS)]
        try:
            yield under
        finally:
            under.stopped.set()
    for job in sending:
        job.result()


def assert_so(under: ClientLoad, bootstrap: str, topic: str) -> None:
    """Assert that the topic has each record where its client was told, and none twice."""
    held = everything(bootstrap, topic)
    places: dict[tuple[str, object], tuple[bytes | None, bytes | None]]
    places = {(str(r.partition), r.offset): (r.key, r.value) for r in held}
    keys = Counter(r.key for r in held)
    assert set(keys.values()) == {1}
    for record, result in under.told:
        if result.status is DeliveryStatus.STORED and result.position == NO_OFFSET:
            assert b"%d" % record.key in keys
        elif result.status is DeliveryStatus.STORED:
            place = (result.partition, result.position)
            assert places[place] == (b"%d" % record.key, record.payload)
        elif result.status is DeliveryStatus.REJECTED:
            assert b"%d" % record.key not in keys
