"""`pinpip latest`: bring the table of latest rows up to date, once."""

import json
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer

from pinpip.cli.shared import progress_bar, settings_of

if TYPE_CHECKING:
    from sinks.latest.step import Step


@dataclass
class _Sum:
    """What all steps did."""

    rows: int = 0
    files: int = 0
    steps: int = 0
    version: int | None = None
    rebuilt: list[str] = field(default_factory=list)

    def add(self, step: "Step") -> None:
        self.rows += step.rows
        self.files += step.files
        self.steps += step.committed
        self.version = step.version
        self.rebuilt += [step.rebuilt] if step.rebuilt else []


def latest(
    context: typer.Context,
    pipeline: Annotated[str, typer.Argument(help="A pipeline of config.yaml with mode: upsert.")],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Bring the table of a pipeline's latest row per key up to its append table, once.

    `pinpip consume` does the same all the time. Beside a consumer, or run twice, it changes nothing
    twice. Example: pinpip latest pin
    """
    from core.clock import SystemClock
    from pinpip.latest import LatestTable

    config = settings_of(context).config()
    done = _Sum()
    with (
        closing(LatestTable(config, pipeline, SystemClock())) as table,
        progress_bar(quiet=as_json) as bar,
    ):
        task = bar.add_task(f"Following {pipeline}", total=None)

        def tell(step: "Step") -> None:
            done.add(step)
            bar.update(task, completed=done.steps, total=done.steps + bool(step.behind))

        table.catch_up(tell=tell)
        if as_json:
            typer.echo(json.dumps({"pipeline": pipeline, "table": table.uri, **vars(done)}))
            return
    why = "".join(f"; built again: {reason}" for reason in done.rebuilt)
    read = f"{done.rows:,} rows read, {done.files:,} files written{why}"
    typer.echo(f"{pipeline}: {read if done.steps else 'up to date'}")
