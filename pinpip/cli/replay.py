"""`pinpip replay`: a stretch of a source again, into a table of its own."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import ConfigError, FatalError, PositionLost
from pinpip.cli.shared import TIMES, leaving_in_time, settings_of, show, stopping_on_signals, utc
from pinpip.runtime import tune_allocators, tuned_interpreter
from pinpip.stretch import Stretch

if TYPE_CHECKING:
    from collections.abc import Callable

    from core.batch import Batch
    from core.clock import Clock
    from core.config import Config
    from core.protocols import Source
    from sinks.delta.target import Tables


def replay(
    context: typer.Context,
    pipeline: Annotated[str, typer.Argument(help="A pipeline of config.yaml.")],
    into: Annotated[str, typer.Option("--into", help="Table to fill, below lake.root.")],
    from_offset: Annotated[int | None, typer.Option(min=0, help="First offset.")] = None,
    until_offset: Annotated[int | None, typer.Option(min=0, help="Offset to stop before.")] = None,
    from_time: Annotated[
        datetime | None, typer.Option(formats=TIMES, help="First broker timestamp (UTC).")
    ] = None,
    until_time: Annotated[
        datetime | None, typer.Option(formats=TIMES, help="Timestamp to stop before (UTC).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Read a stretch of a pipeline's source again, into a table of its own.

    The live consumer's group, positions and tables are not touched. Run again it goes on where it
    was, and changes nothing when it was done. Without bounds: all that the source holds now.
    expired: how many of the asked offsets retention has taken; -: not known.
    Example: pinpip replay pin --into pin_again --from-time 2026-01-01
    """
    config = settings_of(context).config()
    stretch = Stretch(from_offset, until_offset, utc(from_time), utc(until_time))
    try:
        run(config, pipeline, into, stretch, as_json=as_json)
    except PositionLost as error:
        raise FatalError(
            f"{into} already holds rows that this replay did not write: {error.message}",
            "name a table of its own with --into",
        ) from error


def run(config: "Config", name: str, into: str, stretch: Stretch, *, as_json: bool = False) -> None:
    """Fill the table with a progress bar, through the loop and sinks of the live pipeline."""
    tune_allocators()
    from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

    from consumers.engine.loop import IN_FLIGHT, Loop
    from core.clock import SystemClock
    from pinpip import pipelines

    clock = SystemClock()
    pipeline = config.pipeline(name)
    uri = config.lake.uri(into.rstrip("/"))
    _refuse_live(config, into, uri)
    app = f"pinpip/replay-{name}/{stretch.label}"
    tables = pipelines.tables_at(config, uri, pipelines.coordinates_of(pipeline), app)
    process = pipelines.process_of(pipeline, keep_values=False)
    sinks = pipelines.delta_sinks(config, tables, process, clock)
    source, total, lacking = _source(config, name, stretch, tables, clock)
    written = {"clean": 0, "quarantined": 0}
    columns = [*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn()]
    with (
        leaving_in_time(partial(_stopped, into)) as leave,
        ThreadPoolExecutor(IN_FLIGHT, "batch") as workers,
        Progress(*columns, disable=as_json) as bar,
    ):
        task = bar.add_task(f"{name} into {into}", total=total)

        def count(batch: "Batch") -> None:
            written["clean"] += batch.clean.height
            written["quarantined"] += batch.rejected.height
            bar.advance(task, sum(span.records for span in batch.spans.values()))

        loop = Loop(source, process, sinks, pipelines.limits_of(config), clock, workers, count)
        with stopping_on_signals(leave, loop.stop), tuned_interpreter():
            loop.run()
    _tell({"table": uri, **written}, lacking() if source.exhausted else [], as_json=as_json)
    if not source.exhausted:
        raise _stopped(into)


def _tell(written: dict[str, Any], gone: list[dict[str, Any]], *, as_json: bool) -> None:
    """What was written, and what of the asked range the source does not have any more."""
    from pinpip.gone import said, total

    row = {**written, "expired": total(gone)}
    show("Replayed", [row | {"partitions": gone} if as_json else row], as_json=as_json)
    if gone and not as_json:
        show("Gone", gone, as_json=False)
        typer.echo(said(gone))


def _stopped(into: str) -> FatalError:
    return FatalError(
        f"the replay into {into} was stopped before its end",
        "run the same command again: it goes on where it was",
    )


def _refuse_live(config: "Config", into: str, uri: str) -> None:
    """ConfigError when `uri` is a table or quarantine that some pipeline fills."""
    from pinpip.pipelines import tables_of

    for name in config.pipelines:
        tables = tables_of(config, name)
        if uri in {tables.clean, tables.quarantine}:
            raise ConfigError(f"{into} is a live table of {name}", "name another one with --into")


def _source(
    config: "Config", name: str, stretch: Stretch, tables: "Tables", clock: "Clock"
) -> "tuple[Source, int | None, Callable[[], list[dict[str, Any]]]]":
    """The bounded source, how many records it has at most when that can be told, what is gone.

    The last is to be asked for once the source has been read.
    """
    from consumers.kafka import window as kafka_window
    from consumers.kafka.ends import end_positions
    from consumers.kinesis import window as kinesis_window
    from core import config as settings
    from core import kafka
    from pinpip import bounded, gone

    source = config.pipeline(name).source
    if isinstance(source, settings.KinesisSource):
        if stretch.first is not None or stretch.last is not None:
            raise ConfigError("Kinesis has no offsets", "use --from-time and --until-time")
        times = kinesis_window.Window(stretch.since, stretch.until)
        stream = bounded.kinesis_source(config, source, times, clock)
        return stream, None, lambda: gone.of_stream(config, source.stream, stretch, clock.now())
    ends = end_positions(kafka.properties(config), source.topics)
    first, last = stretch.first or 0, stretch.last
    spans = [
        (max(low.number, first), high.number if last is None else min(high.number, last))
        for low, high in ends.values()
    ]
    offsets = kafka_window.Window(stretch.first, stretch.last, stretch.since, stretch.until)
    total = sum(max(0, high - low) for low, high in spans)
    lows = {p: low.number for p, (low, _) in ends.items()}
    held = {} if stretch.unbounded else gone.held(tables, lows)
    gone.refuse(stretch, lows, held)
    topics = bounded.kafka_source(config, name, source, offsets)
    return topics, total, lambda: gone.of_topics(stretch, lows, topics.begun, held)
