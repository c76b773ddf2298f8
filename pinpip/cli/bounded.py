"""Bounded sources: what a pipeline's source holds by now, beside its live consumer."""

from consumers import kafka_window, kinesis_window
from consumers.kafka_replay import BoundedKafkaSource
from consumers.kinesis import KinesisSource
from consumers.kinesis_calls import CLIENT_CONFIG
from pinpip import aws, kafka
from pinpip import config as settings
from pinpip.cli import compose
from pinpip.clock import Clock
from pinpip.config import Config


def kafka_source(
    config: Config,
    name: str,
    source: settings.KafkaSource,
    window: kafka_window.Window,
    *,
    want_headers: bool = False,
) -> BoundedKafkaSource:
    """The window of the topics of `source`, which is that of the pipeline `name`."""
    return BoundedKafkaSource(
        kafka.properties(config),
        source.topics,
        compose.group_of(config, name),
        window,
        budget=int(config.batching.memory),
        want_headers=want_headers,
    )


def kinesis_source(
    config: Config, source: settings.KinesisSource, window: kinesis_window.Window, clock: Clock
) -> KinesisSource:
    """The window of the stream."""
    return KinesisSource(
        aws.client(config.aws, "kinesis", CLIENT_CONFIG),
        source.stream,
        clock=clock,
        memory=int(config.batching.memory) // 4,
        window=window,
    )
