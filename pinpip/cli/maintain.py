"""`pinpip maintain`: keep the tables fast."""

import json
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinpip.cli.shared import progress_bar, settings_of
from pinpip.cli.tables import show

if TYPE_CHECKING:
    from pinpip.maintain import Upkeep


def maintain(
    context: typer.Context,
    pipelines: Annotated[
        list[str] | None, typer.Argument(help="Pipelines of config.yaml; all when none is named.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Merge the small files of tables and quarantines, sorted by the key, beside running consumers.

    Rows and positions stay, and no consumer's commit fails. Files below a quarter of
    `maintain.target` are merged; the others are left as they are. Killed, run it again: it goes on
    where it was; done, it changes nothing.
    Example: pinpip maintain pin --dry-run
    """
    from core.clock import SystemClock
    from pinpip.maintain import maintain as run

    config = settings_of(context).config()
    found: list[Upkeep] = []
    with progress_bar(quiet=as_json) as bar:
        task = bar.add_task("Merging files", total=None)
        for name in pipelines or list(config.pipelines):
            tell = partial(bar.advance, task)
            found += run(config, name, SystemClock(), dry_run=dry_run, tell=tell)
    if as_json:
        typer.echo(json.dumps([one.tree() for one in found]))
        return
    what = "would be merged" if dry_run else "merged"
    merged = sum(one.merged for one in found)
    show(f"{merged:,} files {what}", [*map(_row, found)], as_json=False, identity=2)


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
        "commits": one.commits,
    }
