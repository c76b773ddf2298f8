"""A topic of the round's own, gone again after it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from core.clock import Clock
from core.errors import FatalError

PARTITIONS = 6
_WITHIN = 30.0


@contextmanager
def fresh_topic(
    properties: Mapping[str, Any], topic: str, clock: Clock, *, mock: bool = False
) -> Iterator[None]:
    """`topic` as long as the block runs; the mock cluster makes one when it is asked for it."""
    admin = AdminClient({**properties, "log_level": 2})
    if mock:
        admin.list_topics(topic, timeout=_WITHIN)
        yield
        return
    try:
        admin.create_topics([NewTopic(topic, PARTITIONS)])[topic].result(_WITHIN)
        _await(admin, topic, clock)
        yield
    except KafkaException as error:
        raise FatalError(
            f"topic {topic} cannot be made: {error.args[0].str()}",
            "chaos needs the rights to create and delete topics of its own",
        ) from error
    finally:
        with suppress(KafkaException, TimeoutError):  # it may be the broker that is gone
            admin.delete_topics([topic])[topic].result(_WITHIN)


def _await(admin: AdminClient, topic: str, clock: Clock) -> None:
    """Until the broker that is asked knows what was created."""
    deadline = clock.monotonic() + _WITHIN
    while not admin.list_topics(topic, timeout=_WITHIN).topics[topic].partitions:
        if clock.monotonic() > deadline:
            raise FatalError(f"topic {topic} does not come up", "see the broker's log")
        clock.sleep(0.05)
