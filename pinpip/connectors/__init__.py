"""One connector per system: everything that differs between Kafka and Kinesis for a pipeline."""

from core.batch import KAFKA, KINESIS, Coordinates
from core.clock import Clock, SystemClock
from core.config import Config, Pipeline, StreamSection
from pinpip.connectors.protocol import Connector


def coordinates_of(pipeline: Pipeline) -> Coordinates:
    """How the pipeline's source names a record: known without a client."""
    return KINESIS if isinstance(pipeline.source, StreamSection) else KAFKA


def connector_of(config: Config, name: str, clock: Clock | None = None) -> Connector:
    """Return the connector of the pipeline `name`; import only the clients of its system.

    `clock`: the system's by default.
    """
    source = config.pipeline(name).source
    if isinstance(source, StreamSection):
        from pinpip.connectors.kinesis import KinesisConnector

        return KinesisConnector(config, name, source, clock or SystemClock())
    from pinpip.connectors.kafka import KafkaConnector

    return KafkaConnector(config, name, source, clock or SystemClock())
