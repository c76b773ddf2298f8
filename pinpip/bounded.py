"""Bounded sources: what a pipeline's source holds by now, beside its live consumer."""

from consumers.kafka import window as kafka_window
from consumers.kafka.replay import BoundedKafkaSource
from consumers.kinesis import window as kinesis_window
from consumers.kinesis.calls import CLIENT_CONFIG
from consumers.kinesis.source import KinesisSource
from core import aws, kafka
from core import config as settings
from core.clock import Clock
from core.config import Config
from pinpip import pipelines


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
        pipelines.group_of(config, name),
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
