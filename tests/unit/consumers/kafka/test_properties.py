"""What librdkafka refuses of a configuration, found without a broker."""

from typing import Any

import pytest
from confluent_kafka import Consumer

from consumers.kafka import client
from consumers.kafka.properties import INVALID, refused
from consumers.kafka.property_names import NAMES
from core.errors import ConfigError

BUDGET = 256 * 1024 * 1024


def said(**properties: Any) -> list[str]:
    """Return what is wrong with the properties, whose dots are double underscores."""
    own = {name.replace("__", "."): value for name, value in properties.items()}
    whole = client.settings({"bootstrap.servers": "127.0.0.1:1", **own}, "group", BUDGET)
    found = list(refused(whole))
    assert all(error.hint for error in found)
    return [error.message for error in found]


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {"linger__ms": 5, "acks": "all"},  # a producer's: ignored by a consumer
        {"security__protocol": "SASL_SSL", "sasl__mechanism": "OAUTHBEARER"},
        {"group__protocol": "consumer"},
        {"topic__metadata__refresh__interval__ms": "500", "socket__keepalive__enable": True},
    ],
)
def test_what_a_consumer_takes_is_not_refused(properties: dict[str, Any]) -> None:
    assert said(**properties) == []


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"sasl__mechanizm": "PLAIN"}, "(did you mean 'sasl.mechanism'?)"),
        ({"session__timeout__ms": "soon"}, 'Invalid value for configuration property "session'),
        ({"security__protocol": "SSL", "ssl__ca__location": "/absent"}, "ssl.ca.location failed"),
        ({"group__protocol": "consumer", "session__timeout__ms": 5000}, "not supported for"),
        ({"security__protocol": "SASL_SSL", "sasl__mechanism": "NO"}, "Unsupported SASL mechanism"),
        ({"error_cb": "x"}, "error_cb"),
        ({"stats_cb": 3}, "stats_cb"),
        ({"client__dns__lookup": None}, "client.dns.lookup"),
    ],
)
def test_what_a_consumer_does_not_take_is_named(properties: dict[str, Any], message: str) -> None:
    (only,) = said(**properties)
    assert only.startswith("kafka: ")
    assert message in only


def test_every_wrong_property_is_named_and_no_value_of_a_secret() -> None:
    found = said(sasl__pasword="hush", fetch__wait__mx__ms=5, client__rck="a")  # noqa: S106
    assert [text.count('"') for text in found] == [2, 2, 2]
    for name, text in zip(["sasl.pasword", "fetch.wait.mx.ms", "client.rck"], found, strict=True):
        assert f'"{name}" (did you mean' in text
    assert "hush" not in "".join(found)


def test_a_consumer_that_starts_is_told_the_same() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'sasl\.mechanism'"):
        client.client({"group.id": "g", "sasl.mechanizm": "PLAIN"})
    with pytest.raises(ConfigError, match="stats_cb"):
        client.client({"group.id": "g", "stats_cb": 3})


@pytest.mark.parametrize("name", NAMES)
def test_every_known_name_is_librdkafkas(name: str) -> None:
    with pytest.raises(INVALID) as caught:
        Consumer({"group.id": "g", name: "\x01", "pinpip.sentinel": ""})
    assert f'No such configuration property: "{name}"' not in str(caught.value)
