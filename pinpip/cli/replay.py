"""`pinpip replay`: a stretch of a source again, into a table of its own."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import ConfigError, FatalError, PositionLost
from pinpip.cli.shared import (
    TIMES,
    leaving_in_time,
    progress_bar,
    refuse_reversed,
    settings_of,
    stopping_on_signals,
    utc,
)
from pinpip.cli.tables import show
from pinpip.runtime import tune_allocators, tuned_interpreter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from consumers.engine.loop import Loop
    from consumers.window import Window
    from core.batch import Batch, Positions
    from core.config import Config
    from core.observer import Observer
    from pinpip.connectors.protocol import Row
    from pinpip.replaying import Origin, Planned

_ANOTHER = "name another one with --into"


def replay(
    context: typer.Context,
    pipeline: Annotated[str, typer.Argument(help="A pipeline of config.yaml.")],
    into: Annotated[
        str | None, typer.Option("--into", help="Table to fill, below lake.root.")
    ] = None,
    from_offset: Annotated[int | None, typer.Option(min=0, help="First offset.")] = None,
    until_offset: Annotated[int | None, typer.Option(min=0, help="Offset to stop before.")] = None,
    from_time: Annotated[
        datetime | None, typer.Option(formats=TIMES, help="First broker timestamp (UTC).")
    ] = None,
    until_time: Annotated[
        datetime | None, typer.Option(formats=TIMES, help="Timestamp to stop before (UTC).")
    ] = None,
    from_archive: Annotated[
        bool, typer.Option("--from-archive", help="From the pipeline's raw Parquet archive.")
    ] = False,
    from_connect: Annotated[
        str | None,
        typer.Option("--from-connect", help="From the topics.dir of Kafka Connect's S3 sink."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace the rows of the live tables in place.")
    ] = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="With --replace: say what would change, change nothing.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --replace: say what it would do, do nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Read a stretch of a pipeline's source again, into a table of its own.

    The live consumer's group, positions and tables are not touched. Run again it goes on where it
    was, and changes nothing when it was done. Without bounds: all that the source holds now.
    --from-archive: when the source no longer holds it; the same command without it then goes on
    where the archive ended.
    --from-connect s3://bucket/topics, or a folder: without --into it fills the live table with what
    the topic no longer holds; its consumer then reads the rest.
    --replace: the rows of the range in the live tables are replaced by what today's transform
    makes of its records, atomically, while the consumer runs.
    expired: how many of the asked offsets retention has taken; -: not known.
    Example: pinpip replay pin --into pin_again --from-time 2026-01-01
    """
    tune_allocators()
    from consumers.window import Window  # polars comes with it: the allocators first
    from pinpip.replaying import Origin

    config = settings_of(context).config()
    window = Window(from_offset, until_offset, utc(from_time), utc(until_time))
    refuse_reversed(window.first, window.last, ("--from-offset", "--until-offset"))
    refuse_reversed(window.since, window.until, ("--from-time", "--until-time"))
    if from_archive and from_connect is not None:
        raise typer.BadParameter("--from-archive and --from-connect are two sources: give one")
    if replace:
        if into is not None or from_connect is not None:
            raise typer.BadParameter("--replace changes the live tables: no --into, --from-connect")
        _replace(config, pipeline, window, Origin(from_archive), diff, dry_run, as_json)
        return
    if diff or dry_run:
        raise typer.BadParameter("--diff and --dry-run are of --replace")
    if into is None and from_connect is None:
        raise typer.BadParameter("name a table with --into, or replace the live rows: --replace")
    try:
        run(config, pipeline, into, window, Origin(from_archive, from_connect), as_json=as_json)
    except PositionLost as error:
        table = into or config.pipeline(pipeline).table
        raise FatalError(
            f"{table} already holds rows that this replay did not write: {error.message}",
            "name a table of its own with --into",
        ) from error


def _replace(
    config: "Config",
    name: str,
    window: "Window",
    origin: "Origin",
    diff: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    from pinpip.cli import replace

    if dry_run:
        replace.plan(config, name, window, origin, as_json=as_json)
    else:
        filling = partial(_fill_all, quiet=as_json)
        replace.run(config, name, window, origin, filling, as_json=as_json, only_diff=diff)


def run(
    config: "Config",
    name: str,
    into: str | None,
    window: "Window",
    origin: "Origin | None" = None,
    *,
    as_json: bool = False,
) -> None:
    """Fill the table, or the live ones, with a progress bar, through the live pipeline's loop."""
    from core.clock import SystemClock
    from pinpip import replaying

    clock, origin = SystemClock(), origin or replaying.Origin()
    if into is None:
        plan = replaying.before_live(config, name, origin, window, clock)
    else:
        plan = replaying.beside(config, name, _place(config, into), window, origin, clock)
    into = into or config.pipeline(name).table
    again, uri = plan.again, plan.tables.clean
    begun = any(replaying.held(plan.tables, again.ends).values())
    written = _fill(plan.loop, name, into, again.total, quiet=as_json)
    if not again.source.exhausted:
        _tell({"table": uri, **written}, [], {}, as_json=as_json)
        raise _stopped(into)
    why = "" if any(written.values()) else _why_none(window, again.ends, clock.now(), begun=begun)
    said = {"why": why, "remark": again.remark}
    _tell({"table": uri, **written}, again.lacking(), said, as_json=as_json)


def _fill_all(plan: "Planned", name: str, into: str, *, quiet: bool) -> None:
    """Fill the tables of the plan with a progress bar; FatalError when stopped before the end."""
    _fill(plan.loop, name, into, plan.again.total, quiet=quiet)
    if not plan.again.source.exhausted:
        raise _stopped(into)


def _why_none(window: "Window", ends: "Positions", now: datetime, *, begun: bool) -> str:
    """Say why a replay that came to its end wrote nothing; `begun`: by an earlier run."""
    if begun:
        return "nothing was left to do: an earlier run of this replay came to its end"
    if not ends:
        return "the topic still holds all that the history has"
    high = max((end.number for end in ends.values() if end is not None), default=0)
    if window.first is not None and window.first == window.last:
        return f"the range from {window.first} until {window.last} is empty"
    if window.first is not None and window.first >= high:
        return f"the range begins at offset {window.first}, the source ends at {high}"
    if window.since is not None and window.since > now:
        return f"the range begins at {window.since}, which is in the future"
    return "the source has no record in the range"


def _fill(
    loop_with: "Callable[[Executor, Observer], Loop]",
    name: str,
    into: str,
    total: int | None,
    *,
    quiet: bool,
) -> dict[str, int]:
    """Run the loop to its end or a signal; how many rows each table got."""
    from consumers.engine.loop import THREADS
    from core.clock import SystemClock
    from core.observer import Unobserved

    written = {"clean": 0, "quarantined": 0}
    with (
        leaving_in_time(partial(_stopped, into)) as leave,
        ThreadPoolExecutor(THREADS, "batch") as workers,
        progress_bar(quiet=quiet) as bar,
    ):
        task = bar.add_task(f"{name} into {into}", total=total)

        def count(batch: "Batch") -> None:
            written["clean"] += batch.clean.height
            written["quarantined"] += batch.rejected.height
            bar.advance(task, sum(span.records for span in batch.spans.values()))

        loop = loop_with(workers, Unobserved(SystemClock(), count))
        with stopping_on_signals(leave, loop.stop), tuned_interpreter():
            loop.run()
    return written


def _tell(
    written: dict[str, Any], gone: "list[Row]", said: dict[str, str], *, as_json: bool
) -> None:
    """Print what was written, and what of the requested range the source no longer has.

    `said`: why nothing was written, and a remark on the source.
    """
    row = {**written, "expired": _expired(gone)}
    tree = {**row, "partitions": gone, "why": "", "remark": "", **said}
    show("Replayed", [tree if as_json else row], as_json=as_json)
    if said.get("why") and not as_json:
        typer.echo(f"0 rows: {said['why']}")
    if said.get("remark") and not as_json:
        typer.echo(said["remark"])
    if gone and not as_json:
        show("Gone", gone, as_json=False)
        typer.echo(_said(gone))


def _expired(gone: "Sequence[Row]") -> int | None:
    """All that expired; None where that of one partition is not known."""
    counts = [row["expired"] for row in gone]
    return None if None in counts else sum(counts)


def _said(gone: "Sequence[Row]") -> str:
    """Describe in one line what is gone."""
    expired = _expired(gone)
    if expired is None:
        return "not known: how many records of the range retention has taken"
    return f"expired: {expired:,} of the asked offsets are gone from the source"


def _stopped(into: str) -> FatalError:
    return FatalError(
        f"the replay into {into} was stopped before its end",
        "run the same command again: it goes on where it was",
    )


def _place(config: "Config", into: str) -> str:
    """Return where the table is.

    Raises ConfigError when it or its quarantine is one that some pipeline fills, or no table can
    be there.
    """
    from core import paths
    from core.pipeline import quarantine_of

    uri = config.lake.uri(into.rstrip("/"))
    if not paths.is_below(into.rstrip("/")):
        raise ConfigError(f"--into {into!r} is not a table below {config.lake.root}", _ANOTHER)
    try:
        own = [paths.identity(paths.check(place)) for place in (uri, quarantine_of(uri))]
    except ValueError as error:
        raise ConfigError(str(error), _ANOTHER) from error
    for name, pipeline in config.pipelines.items():
        if {paths.identity(place) for place in pipeline.places(config.lake)} & set(own):
            raise ConfigError(f"{into} is a live table of {name}", _ANOTHER)
    return uri
