"""The routes by which `pinpip produce` sends: through the gateway, or straight to the brokers."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

from core.config import Config
from core.errors import ConfigError

if TYPE_CHECKING:
    from pinpip.targets import Target
    from producers.client import GatewayClient
    from producers.delivery import Retry, Send
    from producers.send import SendRoute


class Way(StrEnum):
    """Which way records go; `both` takes turns where a target has a topic and a stream."""

    KAFKA = "kafka"
    KINESIS = "kinesis"
    BOTH = "both"


def routes_of(
    config: Config,
    way: Way,
    targets: "Sequence[Target]",
    stopping: Callable[[], bool],
    *,
    direct: bool,
) -> "list[SendRoute]":
    """Return the routes for `targets`; ConfigError when `way` leaves a target without one."""
    from producers.send import SendRoute

    topics = {t.type.name: t.topic for t in targets if t.topic and way is not Way.KINESIS}
    streams = {t.type.name: t.stream for t in targets if t.stream and way is not Way.KAFKA}
    for target in targets:
        if target.type.name not in topics.keys() | streams.keys():
            other = Way.KAFKA if target.topic else Way.KINESIS
            raise ConfigError(
                f"{target.topic or target.stream} cannot be reached by --route {way}",
                f"leave out --route, or write --route {other}",
            )
    routes = []
    if topics:
        routes.append(SendRoute(_kafka(config, stopping, direct=direct), topics))
    if streams:
        sending = _kinesis(config, stopping, direct=direct)
        routes.append(SendRoute(sending, streams, text_only=not direct))
    return routes


def _kafka(config: Config, stopping: Callable[[], bool], *, direct: bool) -> "Send":
    from core import kafka
    from producers.direct import KafkaDirect

    if direct:
        return KafkaDirect(kafka.properties(config), timeout=config.producer.timeout).send
    return _client(config, stopping).send_kafka


def _kinesis(config: Config, stopping: Callable[[], bool], *, direct: bool) -> "Send":
    from producers.direct import KinesisDirect, kinesis_client

    if direct:
        client = kinesis_client(config.aws, timeout=config.producer.timeout)
        return KinesisDirect(client, retry=_retry(config, stopping)).send
    return _client(config, stopping).send_kinesis


def _client(config: Config, stopping: Callable[[], bool]) -> "GatewayClient":
    from producers.client import GatewayClient

    own = config.producer
    key = own.api_key.get_secret_value() if own.api_key else None
    retry = _retry(config, stopping)
    return GatewayClient(own.gateway_url, api_key=key, timeout=own.timeout, retry=retry)


def _retry(config: Config, stopping: Callable[[], bool]) -> "Retry":
    from producers.delivery import Retry

    own = config.producer
    return Retry(own.retries, seconds=own.patience, stopping=stopping)
