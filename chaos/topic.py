"""Create a topic for one round, and delete it afterwards."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from core.clock import Clock
from core.errors import FatalError

PARTITIONS = 6
_ADMIN_TIMEOUT_S = 30.0


@contextmanager
def fresh_topic(
    properties: Mapping[str, Any], topic: str, clock: Clock, *, mock: bool = False
) -> Iterator[None]:
    """Create `topic` while the block runs; a mock cluster creates it on a metadata request."""
    admin = AdminClient({**properties, "log_level": 2})
    if mock:
        admin.list_topics(topic, timeout=_ADMIN_TIMEOUT_S)
        yield
        return
    try:
        admin.create_topics([NewTopic(topic, PARTITIONS)])[topic].result(_ADMIN_TIMEOUT_S)
        _await(admin, topic, clock)
        yield
    except KafkaException as error:
        raise FatalError(
            f"topic {topic} cannot be created: {error.args[0].str()}",
            "chaos needs permission to create and delete topics",
        ) from error
    finally:
        with suppress(KafkaException, TimeoutError):  # the broker may be down
            admin.delete_topics([topic])[topic].result(_ADMIN_TIMEOUT_S)


def _await(admin: AdminClient, topic: str, clock: Clock) -> None:
    """Wait until the broker's metadata has the topic."""
    deadline = clock.monotonic() + _ADMIN_TIMEOUT_S
    while not admin.list_topics(topic, timeout=_ADMIN_TIMEOUT_S).topics[topic].partitions:
        if clock.monotonic() > deadline:
            raise FatalError(f"topic {topic} does not come up", "see the broker's log")
        clock.sleep(0.05)
