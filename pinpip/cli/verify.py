"""`pinpip verify`: the proof, from the data."""

import json
import random
from typing import Annotated

import typer

from core.clock import SystemClock
from core.errors import ConfigError, FatalError
from pinpip.cli.output import note
from pinpip.cli.shared import progress_bar, settings_of
from pinpip.cli.verdict import print_verdict
from pinpip.verify.conclusion import exit_code
from pinpip.verify.recorded import recorded
from pinpip.verify.verdict import RereadPlan

GRACE = 60.0
_REREAD = "Read the source again"


def verify(
    context: typer.Context,
    pipelines: Annotated[
        list[str] | None, typer.Argument(help="Pipelines of config.yaml; all when none is named.")
    ] = None,
    grace: Annotated[
        float, typer.Option(help="Seconds that a record may wait in the source unread.")
    ] = GRACE,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask the tables alone, not the sources.")
    ] = False,
    partitions: Annotated[
        bool, typer.Option("--partitions", help="Show each partition, and each archive's chains.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    reread: Annotated[
        bool,
        typer.Option(
            "--reread",
            help="All of it, and compare every row's content.",
            rich_help_panel=_REREAD,
        ),
    ] = False,
    sample: Annotated[
        int | None,
        typer.Option(
            min=1, help="So many stretches of 1,000 records instead.", rich_help_panel=_REREAD
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Draw these stretches again.", rich_help_panel=_REREAD)
    ] = None,
) -> None:
    """Prove from the data that each record is in its table or quarantine exactly once.

    Exit code 3 when a difference is found, 4 when none is but something is not known: then it is
    said what, and why. The verdict is kept beside each table, for `pinpip ui` and `report --html`.
    Example: pinpip verify pin --grace 5
    """
    config = settings_of(context).config()
    names = pipelines or list(config.pipelines)
    if offline and (reread or sample is not None):
        raise ConfigError("--offline does not ask the source", "leave it out to read it again")
    drawn = random.SystemRandom().randrange(10**6) if seed is None else seed
    plan = RereadPlan(sample, drawn) if reread or sample is not None else None
    waits = None if offline else grace
    with progress_bar(quiet=as_json) as bar:
        verdicts = [recorded(config, n, SystemClock(), note, waits, plan, bar) for n in names]
    if not any(verdict.partitions or verdict.findings for verdict in verdicts):
        raise FatalError(
            f"there is nothing to verify: {config.lake.root} has no rows of {', '.join(names)}",
            "fill the tables first: pinpip consume",
        )
    if as_json:
        typer.echo(json.dumps([verdict.tree() for verdict in verdicts]))
    else:
        print_verdict(verdicts, partitions=partitions)
    raise typer.Exit(exit_code(verdicts))
