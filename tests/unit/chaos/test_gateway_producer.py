"""The producer behind the gateway believes what it is told, and sends no record twice."""

from collections.abc import Sequence
from threading import Lock

from chaos.content import Content
from chaos.gateway_producer import FIRST_NUMBER, GatewayProducer
from tests.support.processes import until

CONTENT = Content(templates=((b"<", b">"), None))  # every second record is a tombstone


class Gateway:
    """Stores a third of the records, refuses a third, and does not respond for a third."""

    def __init__(self) -> None:
        self.told: dict[int, bool | None] = {}
        self.values: list[bytes] = []
        self.requests = 0
        self._lock = Lock()

    def send(self, records: Sequence[tuple[int, bytes]]) -> list[bool | None]:
        with self._lock:
            self.requests += 1
            assert not self.told.keys() & {number for number, _ in records}
            self.told |= {number: (True, False, None)[number % 3] for number, _ in records}
            self.values += [value for _, value in records]
        return [self.told[number] for number, _ in records]


def test_each_record_is_sent_once_and_counted_as_the_gateway_says() -> None:
    gateway = Gateway()
    producer = GatewayProducer(gateway.send, CONTENT)
    producer.start()
    until(lambda: gateway.requests >= 5, "some requests")
    sent = producer.finish()
    producer.close()
    assert sent.acknowledged == {n for n, said in gateway.told.items() if said}
    assert sent.unknown == {n for n, said in gateway.told.items() if said is None}
    assert producer.counts == {
        "acknowledged": len(sent.acknowledged),
        "unknown": len(sent.unknown),
        "refused": list(gateway.told.values()).count(False),
    }
    assert min(gateway.told) == FIRST_NUMBER
    assert {n % 2 for n in gateway.told} == {FIRST_NUMBER % 2}
    assert set(gateway.values) == {b"<%d>" % n for n in gateway.told}
