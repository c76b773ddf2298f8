"""What librdkafka says of the section `kafka`, without a network: a client that has no broker."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException

from consumers.kafka.property_names import NAMES
from core.config import nearest
from core.errors import ConfigError

HINT = "the properties are those of librdkafka's CONFIGURATION.md"
INVALID = (KafkaException, TypeError, ValueError)  # what a client's constructor raises
_SENTINEL = "pinpip.sentinel"  # no property: the constructor stops at it
_BROKERS = {"bootstrap.servers", "metadata.broker.list"}
_UNKNOWN = re.compile(r'No such configuration property: "(.+)"$')


def refused(properties: Mapping[str, Any]) -> Iterator[ConfigError]:
    """Yield an error for each property that a consumer does not take, then for their combination.

    `properties`: a consumer's whole configuration. No broker is contacted, nothing is logged.
    """
    single = [error for name in properties if (error := _refused(name, properties[name]))]
    yield from single
    oauth = "OAUTHBEARER" in {properties.get(f"sasl.mechanism{s}") for s in ("", "s")}
    if single or oauth:  # with OAUTHBEARER a client requests a token
        return
    alone = {name: value for name, value in properties.items() if name not in _BROKERS}
    try:
        Consumer({**alone, "log_level": 0}).close()
    except INVALID as error:
        yield invalid(error)


def invalid(error: Exception) -> ConfigError:
    """Return the error that a client's constructor raised, with the nearest known property."""
    text = error.args[0].str() if isinstance(error, KafkaException) else str(error)
    unknown = _UNKNOWN.search(text)
    return ConfigError(f"kafka: {text}{nearest(unknown[1], NAMES) if unknown else ''}", HINT)


def _refused(name: str, value: object) -> ConfigError | None:
    """Return the error of one property: the constructor reads them in their order."""
    try:
        Consumer({"group.id": "any", name: value, _SENTINEL: ""}).close()
    except INVALID as error:
        found = invalid(error)
        return None if _SENTINEL in found.message else found
    return None
