"""Kafka's error codes by meaning, and the first contact with a broker.

The codes with an underscore are librdkafka's own.
"""

from collections.abc import Callable, Collection
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException

from core.clock import SystemClock

AUTHENTICATION = {
    KafkaError._AUTHENTICATION,  # noqa: SLF001
    KafkaError._SSL,  # noqa: SLF001
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.UNSUPPORTED_SASL_MECHANISM,
    KafkaError.ILLEGAL_SASL_STATE,
}
AUTHORIZATION = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
}
UNKNOWN_TOPIC = {
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
    KafkaError.UNKNOWN_TOPIC_OR_PART,
}
RETRIABLE = {
    KafkaError._MSG_TIMED_OUT,  # noqa: SLF001
    KafkaError._QUEUE_FULL,  # noqa: SLF001
    KafkaError._PURGE_QUEUE,  # noqa: SLF001
    KafkaError._PURGE_INFLIGHT,  # noqa: SLF001
    KafkaError._TRANSPORT,  # noqa: SLF001
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.NOT_ENOUGH_REPLICAS,
    KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
}
"""Errors of a produce request that may succeed later, as in the REST Proxy (50003)."""
MSG_TIMED_OUT = KafkaError._MSG_TIMED_OUT  # noqa: SLF001
"""No delivery report in time: the broker may have stored the record."""
FATAL = KafkaError._FATAL  # noqa: SLF001
"""The client will never work again."""
_ATTEMPTS = 10


class Client(Protocol):
    """A consumer or a producer of confluent_kafka."""

    @property
    def list_topics(self) -> Callable[..., Any]:
        """Query the metadata; raises KafkaException when no broker responds in time."""
        ...

    @property
    def poll(self) -> Callable[..., Any]:
        """Call the callbacks that are due."""
        ...


def reach(
    client: Client,
    errors: Collection[KafkaError],
    denied: Collection[int],
    timeout: float,
) -> None:
    """Wait until a broker responds to `client`, whose error_cb adds to `errors`.

    Raises KafkaException as soon as an error has a code in `denied`, else after `timeout` seconds.
    """
    clock, share = SystemClock(), timeout / _ATTEMPTS
    for left in reversed(range(_ATTEMPTS)):
        due = clock.monotonic() + share
        try:
            client.list_topics(timeout=share)
        except KafkaException:
            client.poll(0)  # calls error_cb
            refused = [error for error in errors if error.code() in denied]
            if refused:
                raise KafkaException(refused[0]) from None
            if not left:
                raise
            # It fails at once where a connection is closed, as by a broker that is starting.
            client.poll(max(0.0, due - clock.monotonic()))
        else:
            return
