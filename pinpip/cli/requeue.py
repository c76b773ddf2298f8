"""`pinpip quarantine requeue`: records that pass today, out of the quarantine into their table."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinpip.cli.output import print_json
from pinpip.cli.quarantine import (
    AsJson,
    FromOffset,
    FromTime,
    Pipeline,
    Reasons,
    UntilOffset,
    UntilTime,
    Where,
    reading,
    window_of,
)
from pinpip.cli.shared import settings_of
from pinpip.cli.tables import show
from pinpip.runtime import tune_allocators

if TYPE_CHECKING:
    from pinpip.quarantine.requeue import Requeued

_FINISHED = "an earlier requeue or replacement, which was not finished, was finished first"
_UNFINISHED = (
    "an earlier requeue or replacement is not finished: without --dry-run it is finished first;"
    " records that it moves are counted here"
)


def requeue(
    context: typer.Context,
    pipeline: Pipeline,
    reason: Reasons = None,
    from_time: FromTime = None,
    until_time: UntilTime = None,
    partition: Where = None,
    from_offset: FromOffset = None,
    until_offset: UntilOffset = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would pass now, and change nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Put rejected records through today's schema and transform; those that pass enter the table.

    They leave the quarantine, each exactly once, beside running consumers; positions stay. Records
    that still fail stay, as do those that the transform or where leaves out. --reason is the one
    that the quarantine has. Killed, run it again; done, it changes nothing.
    Example: pinpip quarantine requeue pin --reason bad_key --dry-run
    """
    tune_allocators()
    from core.clock import SystemClock
    from pinpip.quarantine.requeue import requeue as run
    from pinpip.quarantine.rows import choice_of

    config = settings_of(context).config()
    window = window_of(from_offset, until_offset, from_time, until_time)
    choice = choice_of(config, pipeline, reason or (), window, partition)
    with reading(quiet=as_json) as tell:
        done = run(config, pipeline, choice, SystemClock(), dry_run=dry_run, tell=tell)
    if as_json:
        print_json(done.tree())
        return
    show(_about(done), _rows(done), as_json=False)
    if done.finished:
        typer.echo(_UNFINISHED if done.dry_run else _FINISHED)


def _about(done: "Requeued") -> str:
    what = "would pass" if done.dry_run else f"requeued in {done.commits:,} commits"
    return f"{done.pipeline}: {done.passing:,} of {done.chosen:,} records {what}"


def _rows(done: "Requeued") -> list[dict[str, Any]]:
    passing = "would pass" if done.dry_run else "requeued"
    told = [(passing, "", done.passing)] if done.passing else []
    told += [("still fails", reason, n) for reason, n in done.failing.most_common()]
    told += [("left", why, n) for why, n in done.left.most_common()]
    return [{"outcome": what, "because": why, "records": n} for what, why, n in told]
