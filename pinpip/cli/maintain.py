"""`pinpip maintain`: keep the tables fast."""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

import structlog
import typer
from structlog.contextvars import bound_contextvars

from core.config_types import period
from core.errors import FatalError, PinpipError
from pinpip.cli.shared import (
    awaited,
    leaving_in_time,
    progress_bar,
    settings_of,
    stopping_on_signals,
)
from pinpip.cli.tables import show

if TYPE_CHECKING:
    from core.config import Config
    from pinpip.upkept import Upkeep

_log = structlog.get_logger()


def maintain(
    context: typer.Context,
    pipelines: Annotated[
        list[str] | None, typer.Argument(help="Pipelines of config.yaml; all when none is named.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    every: Annotated[
        str | None, typer.Option(help="Do it again and again, like 10m, until SIGTERM.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Merge small files of tables and quarantines, and remove files that nobody needs any more.

    Beside running consumers: rows and positions stay, and no consumer's commit fails. Rows are
    sorted by the key. Files that were replaced or never committed are removed after
    `maintain.retention`, objects of an archive after its `keep`, if it has one. Killed, run it
    again: it goes on where it was; done, it changes nothing.
    Example: pinpip maintain pin --dry-run
    """
    if every is not None and (dry_run or as_json):
        raise typer.BadParameter("--every goes with neither --dry-run nor --json")
    config = settings_of(context).config(daemon=every is not None)
    names = pipelines or list(config.pipelines)
    if every is not None:
        _repeat(config, names, _seconds(every))
        return
    with progress_bar(quiet=as_json) as bar:
        tell = partial(bar.advance, bar.add_task("Merging files", total=None))
        found = [one for name in names for one in _upkeep(config, name, tell, dry_run=dry_run)]
    if as_json:
        typer.echo(json.dumps([one.tree() for one in found]))
        return
    what = "would be merged" if dry_run else "merged"
    merged = sum(one.merged for one in found)
    show(f"{merged:,} files {what}", [*map(_row, found)], as_json=False, identity=2)
    for one in found:
        for note in one.notes:
            typer.echo(f"{one.table}: {note}")


def _upkeep(
    config: "Config", name: str, tell: Callable[[int], None], *, dry_run: bool = False
) -> "Iterator[Upkeep]":
    from core.clock import SystemClock
    from pinpip.maintain import maintain as run

    return run(config, name, SystemClock(), dry_run=dry_run, tell=tell)


def _seconds(every: str) -> float:
    try:
        seconds = period(every).total_seconds()
    except ValueError as error:
        raise typer.BadParameter(f"--every {every} {error}") from error
    if seconds < 1:
        raise typer.BadParameter(f"--every {every} is less than a second")
    return seconds


def _repeat(config: "Config", names: Sequence[str], seconds: float) -> None:
    """Maintain the pipelines every so many seconds, until a signal."""
    for name in names:
        config.pipeline(name)
    stop = Event()
    with leaving_in_time(_left) as leave, ThreadPoolExecutor(1, "maintain") as threads:
        work = threads.submit(_turns, config, names, seconds, stop)
        with stopping_on_signals(stop.set, leave):
            awaited(lambda timeout: bool(wait([work], timeout).done))
        work.result()


def _turns(config: "Config", names: Sequence[str], seconds: float, stop: Event) -> None:
    while not stop.is_set():
        for name in names:
            with bound_contextvars(pipeline=name):
                _turn(config, name, stop)
        stop.wait(seconds)


def _turn(config: "Config", name: str, stop: Event) -> None:
    """Maintain one pipeline; a fault is logged, and the next turn tries again."""
    if stop.is_set():
        return
    try:
        for one in _upkeep(config, name, lambda _: None):
            log_done(one)
    except PinpipError as error:
        _log.warning("not_maintained", error=error.message, next=error.hint)


def log_done(done: "Upkeep") -> None:
    """Log what was done to a table or an archive, if anything was."""
    if done.kind == "archive":
        if done.removed or done.notes:
            told: dict[str, Any] = {"removed": done.removed, "notes": done.notes}
            _log.info("archive_maintained", archive=done.table, **told)
    elif done.merged or done.removed:
        told = {"merged": done.merged, "made": done.made, "removed": done.removed}
        _log.info("table_maintained", table=done.table, **told)


def _left() -> PinpipError:
    return FatalError(
        "stopped while files were merged: the table is as it was before these",
        "nothing is lost or doubled; the next start merges them",
    )


def _row(one: "Upkeep") -> dict[str, Any]:
    return {
        "pipeline": one.pipeline,
        "table": one.table.rstrip("/").rpartition("/")[2],
        "version": one.version,
        "files": one.files,
        "small": one.small,
        "merged": one.merged,
        "merged_bytes": one.merged_bytes,
        "made": one.made,
        "made_bytes": one.made_bytes,
        "removed": one.removed,
        "commits": one.commits,
    }
