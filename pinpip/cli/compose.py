"""From configuration to parts: which source, transform and sinks make up a pipeline."""

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace

import polars as pl

from consumers.kafka import KafkaSource
from consumers.loop import Limits, Loop
from pinpip import config as settings
from pinpip import kafka
from pinpip.batch import KAFKA, KINESIS, VALUE, Batch, Coordinates, Records, Sink, Source
from pinpip.clock import Clock
from pinpip.config import Config, Pipeline
from sinks.delta import DeltaSink, Target
from sinks.parquet import ParquetSink
from sinks.store import open_store
from sinks.verify import Tables
from transforms.process import load_schema, load_transform, processor

QUARANTINE_DEFER = 10.0  # seconds that "nothing was rejected up to here" may wait for a commit


def tables_of(config: Config, name: str) -> Tables:
    """The live tables of the pipeline `name`."""
    pipeline = config.pipeline(name)
    app = f"pinpip/{name}/{pipeline.incarnation}"
    return tables_at(config, config.lake.uri(pipeline.table), coordinates_of(pipeline), app)


def tables_at(config: Config, uri: str, coordinates: Coordinates, app: str) -> Tables:
    """The table at `uri` and the quarantine beside it, their positions under `app`."""
    options = config.storage_options if uri.startswith("s3://") else {}
    return Tables(uri, f"{uri}_quarantine", options, coordinates, app)


def coordinates_of(pipeline: Pipeline) -> Coordinates:
    """How the pipeline's source names a record."""
    return KINESIS if isinstance(pipeline.source, settings.KinesisSource) else KAFKA


def drops_tombstones(pipeline: Pipeline) -> bool:
    """Whether records without a value are filtered out instead of quarantined."""
    source = pipeline.source
    return isinstance(source, settings.KafkaSource) and source.tombstones == "drop"


def group_of(config: Config, name: str) -> str:
    """The consumer group of a Kafka pipeline."""
    source = config.pipeline(name).source
    own = source.group if isinstance(source, settings.KafkaSource) else None
    return own or f"pinpip-{config.id}-{name}"


def archives(pipeline: Pipeline) -> list[settings.ParquetSink]:
    """The pipeline's Parquet sinks."""
    return [s for s in pipeline.sinks if isinstance(s, settings.ParquetSink)]


def source_of(config: Config, name: str, clock: Clock) -> Source:
    """The live source of the pipeline `name`."""
    pipeline = config.pipeline(name)
    source = pipeline.source
    memory = int(config.batching.memory)
    if isinstance(source, settings.KinesisSource):
        from consumers.kinesis import CLIENT_CONFIG, KinesisSource  # boto3 is slow to import
        from pinpip import aws

        client = aws.client(config.aws, "kinesis", CLIENT_CONFIG)
        return KinesisSource(
            client, source.stream, clock=clock, start=source.start, memory=memory // 4
        )
    return KafkaSource(
        kafka.properties(config),
        source.topics,
        group_of(config, name),
        budget=memory,
        start=source.start,
        want_headers=any(archive.stage == "raw" for archive in archives(pipeline)),
    )


def process_of(pipeline: Pipeline, *, keep_values: bool) -> Callable[[Records], Batch]:
    """The pipeline's decode and transform."""
    schema, transform = load_schema(pipeline.schema_), load_transform(pipeline.transform)
    return processor(
        schema,
        transform,
        coordinates_of(pipeline),
        keep_values=keep_values,
        drop_tombstones=drops_tombstones(pipeline),
    )


def delta_sinks(
    config: Config, tables: Tables, process: Callable[[Records], Batch], clock: Clock
) -> list[Sink]:
    """The clean table and its quarantine."""
    coordinates = tables.coordinates
    empty = process(_nothing(coordinates))
    clean = Target(tables.clean, tables.options, empty.clean.schema, coordinates, tables.app)
    rejected = replace(
        clean,
        uri=tables.quarantine,
        schema=empty.rejected.schema,
        stage="rejected",
        defer=QUARANTINE_DEFER,
    )
    return [
        DeltaSink(name, target, open_store(target.uri, config.aws), clock)
        for name, target in (("clean", clean), ("quarantine", rejected))
    ]


def sinks_of(
    config: Config, name: str, process: Callable[[Records], Batch], clock: Clock
) -> list[Sink]:
    """All sinks of the live pipeline `name`."""
    pipeline = config.pipeline(name)
    coordinates = coordinates_of(pipeline)
    chains = [
        ParquetSink(open_store(a.parquet, config.aws), a.stage, coordinates, f"archive {a.parquet}")
        for a in archives(pipeline)
    ]
    return [*delta_sinks(config, tables_of(config, name), process, clock), *chains]


def limits_of(config: Config) -> Limits:
    """When a batch is due: a byte budget that leaves room for queue, buffer and frames."""
    batching = config.batching
    return Limits(
        max_records=batching.max_records,
        max_bytes=min(int(batching.max_bytes), int(batching.memory) // 4),
        max_wait=batching.max_wait,
        reject_ratio=batching.reject_ratio,
        reject_window=batching.reject_window,
    )


def loop_of(
    config: Config,
    name: str,
    clock: Clock,
    executor: Executor,
    written: Callable[[Batch], None],
) -> Loop:
    """The live pipeline `name`, ready to run."""
    pipeline = config.pipeline(name)
    keep = any(archive.stage == "raw" for archive in archives(pipeline))
    process = process_of(pipeline, keep_values=keep)
    return Loop(
        source_of(config, name, clock),
        process,
        sinks_of(config, name, process, clock),
        limits_of(config),
        clock,
        executor,
        written,
    )


def _nothing(coordinates: Coordinates) -> Records:
    schema = pl.Schema({**coordinates.metadata, VALUE: pl.Binary()})
    return Records(pl.DataFrame(schema=schema), {}, coordinates)
