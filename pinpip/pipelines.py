"""From configuration to parts: which source, transform and sinks make up a pipeline."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pydantic import ByteSize

from consumers.engine.limits import Limits
from consumers.engine.loop import Loop
from core import config as settings
from core.batch import Batch, Coordinates, Partition, Records
from core.clock import Clock
from core.config import Config, Pipeline
from core.errors import TransientError
from core.observer import Observer, Unobserved
from core.pipeline import quarantine_of
from core.protocols import FaultInjector, Sink, Source
from pinpip.connectors import connector_of, coordinates_of
from pinpip.delta_targets import targets_of
from sinks.delta.incarnation import folder_of
from sinks.delta.sink import DeltaSink
from sinks.delta.target import Tables
from sinks.parquet.held import Pace
from sinks.parquet.sink import ParquetSink
from sinks.storage.options import options_at
from sinks.storage.protocol import Store
from sinks.storage.store import open_store
from transforms.isolate import MostRejects
from transforms.load import load_schema, load_transform, rules_of, version_of
from transforms.process import processor
from transforms.schema import Schema

if TYPE_CHECKING:
    from audit.archive import Archive
    from transforms.selection import FormerTest


def tables_of(config: Config, name: str) -> Tables:
    """Return the live tables of the pipeline `name`."""
    pipeline = config.pipeline(name)
    app = f"pinpip/{name}/{pipeline.incarnation}"
    tables = tables_at(config, config.lake.uri(pipeline.table), coordinates_of(pipeline), app)
    return replace(tables, folder=folder_of(pipeline.incarnation))


def tables_at(config: Config, uri: str, coordinates: Coordinates, app: str) -> Tables:
    """Return the table at `uri` and the quarantine beside it, their positions under `app`."""
    options = options_at(uri, config.aws)
    return Tables(uri, quarantine_of(uri), options, coordinates, app)


def process_of(
    pipeline: Pipeline,
    *,
    keep_values: bool,
    limits: Limits | None = None,
    others: Sequence[Pipeline] = (),
    former: "Sequence[FormerTest]" = (),
) -> Callable[[Records], Batch]:
    """Return the pipeline's `where`, decode and transform.

    `limits` bound the rows that the transform fails on. `others`: the pipelines of the same topics
    or stream, to count the records that none takes. `former`: what was `where` for some ranges.
    """
    coordinates, where = coordinates_of(pipeline), pipeline.source.where
    process = _processor(pipeline, load_schema(pipeline.schema_), limits, keep_values=keep_values)
    if where is None and not former:
        return process
    from transforms.selection import in_force, selecting

    return selecting(process, in_force(where, former, coordinates), others, coordinates)


def _processor(
    pipeline: Pipeline, schema: Schema, limits: Limits | None, *, keep_values: bool
) -> Callable[[Records], Batch]:
    most = None
    if limits and not limits.accept_rejects:
        most = MostRejects(limits.reject_ratio, limits.reject_window)
    transform = load_transform(pipeline.transform)
    return processor(
        schema,
        transform,
        coordinates_of(pipeline),
        keep_values=keep_values,
        drop_tombstones=pipeline.source.drops_tombstones,
        limit=most,
        version=version_of(transform),
    )


def earlier_of(pipeline: Pipeline) -> Callable[[Batch], Batch]:
    """Return the function from a batch with values to what version 0.1 made of its records."""
    schema = replace(load_schema(pipeline.schema_), whole_floats=False)
    process = _processor(pipeline, schema, None, keep_values=False)

    def decode_again(batch: Batch) -> Batch:
        return process(Records(batch.raw, batch.spans, batch.coordinates, batch.notes))

    return decode_again


def decides(pipeline: Pipeline) -> str:
    """Hash what decides whether a record of the pipeline is rejected."""
    schema, transform = load_schema(pipeline.schema_), load_transform(pipeline.transform)
    where = where_of(pipeline)
    options = ["drop"] if pipeline.source.drops_tombstones else []
    return rules_of(schema, transform, options + ([] if where is None else [where]))


def where_of(pipeline: Pipeline) -> str | None:
    """Return which records the pipeline takes, as its table's ledger says it; None: all."""
    where = pipeline.source.where
    return None if where is None else where.canonical


def archive_uri(pipeline: Pipeline, archive: settings.ParquetSection) -> str:
    """Where the archive's chains of the pipeline's incarnation are."""
    return f"{archive.parquet.rstrip('/')}/{folder_of(pipeline.incarnation)}".rstrip("/")


def delta_sinks(
    config: Config,
    tables: Tables,
    process: Callable[[Records], Batch],
    clock: Clock,
    *,
    begins: bool = False,
    rules: str = "",
    where: str | None = None,
    faults: FaultInjector | None = None,
) -> list[Sink]:
    """Make the sinks of both tables; `begins`, `rules` and `where` as in `sinks.delta.target`."""
    targets = targets_of(tables, process, begins=begins, rules=rules, where=where)
    return [
        DeltaSink(name, target, _store(config, target.uri, name, faults), clock)
        for name, target in zip(("clean", "quarantine"), targets, strict=True)
    ]


def sinks_of(
    config: Config,
    name: str,
    process: Callable[[Records], Batch],
    clock: Clock,
    *,
    begins: bool = False,
    faults: FaultInjector | None = None,
) -> list[Sink]:
    """All sinks of the live pipeline `name`; `begins` as in `sinks.delta.target`."""
    pipeline = config.pipeline(name)
    coordinates = coordinates_of(pipeline)
    chains: list[Sink] = [
        ParquetSink(store, a.stage, coordinates, own, pace_of(config, pipeline, a), clock)
        for a in pipeline.archives
        for own in [f"archive {a.parquet}"]
        for store in [_store(config, archive_uri(pipeline, a), own, faults)]
    ]
    tables = tables_of(config, name)
    deltas = delta_sinks(
        config,
        tables,
        process,
        clock,
        begins=begins,
        rules=decides(pipeline),
        where=where_of(pipeline),
        faults=faults,
    )
    sinks = [*deltas, *chains]
    return [faults.sink(sink) for sink in sinks] if faults else sinks


def pace_of(config: Config, pipeline: Pipeline, archive: settings.ParquetSection) -> Pace:
    """How long the archive's rows are held: no more than a quarter of the byte budget."""
    share = int(config.batching.memory) // 4 // len(pipeline.archives)
    return Pace(archive.flush.seconds, min(int(archive.flush.bytes), share))


def archives_of(
    config: Config, name: str, asked: datetime | None = None
) -> "tuple[list[Archive], dict[str, str]]":
    """Open what the Parquet sinks of the pipeline `name` have written.

    The second: why an archive cannot be read now, by its URI. `asked`: from that moment on at the
    latest a consumer would be too late with what it holds.
    """
    from audit.archive import Archive  # a consumer reads nothing back

    pipeline = config.pipeline(name)
    found, unknown = [], {}
    for section in pipeline.archives:
        uri = archive_uri(pipeline, section)
        try:
            store = open_store(uri, config.aws)
            if "://" in uri:
                store.page("", "")  # a bucket that does not respond says so once, here
        except TransientError as error:
            unknown[uri] = f"{error.message}: what the archive holds"
        else:
            due = asked - timedelta(seconds=section.flush.seconds) if asked else None
            found.append(Archive(store, section.stage, coordinates_of(pipeline), due))
    return found, unknown


def _store(config: Config, uri: str, sink: str, faults: FaultInjector | None) -> Store:
    store = open_store(uri, config.aws)
    return faults.store(sink, store) if faults else store


def shared(config: Config, pipelines: int) -> Config:
    """Return the configuration of each of so many pipelines in a process: equal shares."""
    memory = ByteSize(int(config.batching.memory) // max(pipelines, 1))
    batching = config.batching.model_copy(update={"memory": memory})
    return config.model_copy(update={"batching": batching})


def limits_of(config: Config, *, accept_rejects: bool = False) -> Limits:
    """When a batch is due, and how much may be in flight, out of the pipeline's share of memory.

    These shares of it keep the peak within 1.5 times the memory (`python -m benchmarks memory`).
    """
    batching, memory = config.batching, int(config.batching.memory)
    return Limits(
        max_records=batching.max_records,
        max_bytes=min(int(batching.max_bytes), memory // 20),
        max_wait=batching.max_wait,
        reject_ratio=batching.reject_ratio,
        reject_window=batching.reject_window,
        accept_rejects=accept_rejects,
        max_in_flight=memory * 3 // 16,
    )


def loop_of(
    config: Config,
    name: str,
    clock: Clock,
    executor: Executor,
    observer: Observer | None = None,
    *,
    begins: bool = False,
    accept_rejects: bool = False,
    accepted: Mapping[Partition, int] | None = None,
    faults: FaultInjector | None = None,
    source: Source | None = None,
) -> Loop:
    """Compose the live pipeline `name`, ready to run.

    `observer` hears what the pipeline does; `begins` as in `sinks.delta.target`, `accept_rejects`
    as in `consumers.engine.loop.Limits`, `accepted` as in `Connector.live`; `faults` wraps the
    source, the sinks and their stores; `source` is read instead of the live one.
    """
    pipeline = config.pipeline(name)
    limits = limits_of(config, accept_rejects=accept_rejects)
    others = list(config.neighbours(name).values())
    process = process_of(pipeline, keep_values=pipeline.keeps_raw, limits=limits, others=others)
    observer = observer or Unobserved(clock)
    source = source or connector_of(config, name, clock).live(observer.outage("source"), accepted)
    return Loop(
        faults.source(source) if faults else source,
        process,
        sinks_of(config, name, process, clock, begins=begins, faults=faults),
        limits,
        clock,
        executor,
        observer,
    )
