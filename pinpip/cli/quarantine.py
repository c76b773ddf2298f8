"""`pinpip quarantine`: what was rejected, and why."""

import sys
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinpip.cli.output import print_json, refuse_address
from pinpip.cli.shared import TIMES, progress_bar, refuse_reversed, settings_of, utc, working
from pinpip.cli.signals import tidying
from pinpip.cli.tables import show as show_table

if TYPE_CHECKING:
    from consumers.window import Window
    from core.batch import Coordinates
    from pinpip.quarantine.listing import Tell

commands = typer.Typer(help="Rejected records: look at them, export them.", no_args_is_help=True)
_NUMBER_SHOWN = 12  # last digits of a stream's 56

Pipeline = Annotated[str, typer.Argument(help="A pipeline of config.yaml.")]
Reasons = Annotated[
    list[str] | None, typer.Option("--reason", help="With this reason; may be repeated.")
]
FromTime = Annotated[
    datetime | None, typer.Option(formats=TIMES, help="First broker timestamp (UTC).")
]
UntilTime = Annotated[
    datetime | None, typer.Option(formats=TIMES, help="Timestamp to stop before (UTC).")
]
Where = Annotated[str | None, typer.Option("--partition", help="NUMBER, TOPIC/NUMBER or SHARD.")]
FromOffset = Annotated[int | None, typer.Option(min=0, help="First offset.")]
UntilOffset = Annotated[int | None, typer.Option(min=0, help="Offset to stop before.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]


@commands.callback()
def _group() -> None:
    """Take the options of every command before the name of one."""


@commands.command("list")
def list_(
    context: typer.Context,
    pipeline: Pipeline,
    newest: Annotated[
        int | None, typer.Option(min=1, help="Show so many of the newest records instead.")
    ] = None,
    reason: Reasons = None,
    from_time: FromTime = None,
    until_time: UntilTime = None,
    partition: Where = None,
    from_offset: FromOffset = None,
    until_offset: UntilOffset = None,
    as_json: AsJson = False,
) -> None:
    """Show how many records were rejected for which reason, with the newest one of each.

    first seen, last seen: by the broker's time. --newest N shows records instead of sums.
    Example: pinpip quarantine list pin --from-time 2026-01-01
    """
    from pinpip.quarantine import listing
    from pinpip.quarantine.rows import choice_of, opened

    config = settings_of(context).config()
    window = window_of(from_offset, until_offset, from_time, until_time)
    choice = choice_of(config, pipeline, reason or (), window, partition)
    found = opened(config, pipeline)
    if found is None:
        show_table("Quarantine", [], as_json=as_json)
        return
    with reading(quiet=as_json) as tell:
        if newest is None:
            rows = [own.tree() for own in listing.by_reason(found, choice, tell)]
        else:
            rows = listing.newest(found, choice, newest, tell)
    if newest is None:
        shown = rows if as_json else list(map(_dated, rows))
        show_table("Quarantine", shown, as_json=as_json, cut=("record", "detail", "value"))
    else:
        shown = rows if as_json else [_for_people(row, found.coordinates) for row in rows]
        show_table("Quarantine", shown, as_json=as_json, identity=2, cut=("detail", "value"))


@commands.command()
def show(
    context: typer.Context,
    pipeline: Pipeline,
    record: Annotated[str, typer.Argument(help="PARTITION:OFFSET or SHARD:SEQUENCE.")],
    as_json: AsJson = False,
) -> None:
    """Show one rejected record whole, and what today's schema and transform make of it.

    A payload that is not UTF-8 is shown in hexadecimal (--json: base64). The quarantine has no
    headers; a raw archive has them.
    Example: pinpip quarantine show pin 2:1500
    """
    from pinpip.quarantine.showing import shown

    config = settings_of(context).config()
    try:
        with working(f"Looking for {record}", quiet=as_json):
            tree = shown(config, pipeline, record)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="RECORD") from error
    if as_json:
        print_json(tree)
        return
    show_table("Record", [{"what": k, "is": v} for k, v in _spread(tree)], as_json=False)


@commands.command()
def export(
    context: typer.Context,
    pipeline: Pipeline,
    out: Annotated[
        Path | None, typer.Option(help="Write to this file; an existing one is replaced.")
    ] = None,
    reason: Reasons = None,
    from_time: FromTime = None,
    until_time: UntilTime = None,
    partition: Where = None,
    from_offset: FromOffset = None,
    until_offset: UntilOffset = None,
) -> None:
    """Write rejected records as JSON lines: coordinates, reason, and the payload byte for byte.

    A payload is in value as text, or in value_base64 when it is not UTF-8. The quarantine keeps
    the records.
    Example: pinpip quarantine export pin --reason not_json --out bad.ndjson
    """
    from pinpip.export.files import Files
    from pinpip.quarantine import export as exporting
    from pinpip.quarantine.rows import choice_of, opened
    from pinpip.runtime import tune_allocators

    refuse_address(out)
    tune_allocators()
    config = settings_of(context).config()
    window = window_of(from_offset, until_offset, from_time, until_time)
    choice = choice_of(config, pipeline, reason or (), window, partition)
    files, found = Files(), opened(config, pipeline)
    with tidying(files.discard):
        if out is None:
            exporting.write(found, choice, sys.stdout.buffer)
            return
        with files.new(out) as body:
            rows = exporting.write(found, choice, body)
        typer.echo(f"{rows:,} records in {out}" + (", replaced" if files.replaced else ""))


def window_of(
    first: int | None, last: int | None, since: datetime | None, until: datetime | None
) -> "Window":
    """Return the window that the options name; a usage error for one that ends before it begins."""
    from consumers.window import Window

    window = Window(first, last, utc(since), utc(until))
    refuse_reversed(window.first, window.last, ("--from-offset", "--until-offset"))
    refuse_reversed(window.since, window.until, ("--from-time", "--until-time"))
    return window


@contextmanager
def reading(*, quiet: bool) -> "Iterator[Tell]":
    """Show a progress bar; yield what moves it."""
    with progress_bar(quiet=quiet) as bar:
        task = bar.add_task("Reading the quarantine", total=None)

        def tell(done: int, of: int) -> None:
            bar.update(task, completed=done, total=of)

        yield tell


def _dated(row: dict[str, Any]) -> dict[str, Any]:
    """Return the row with times of whole seconds."""
    times = {n: str(row[n] or "-")[:19].replace("T", " ") for n in ("first_seen", "last_seen")}
    return row | times


def _spread(tree: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what a person reads of a record: bytes in hexadecimal, today's outcome in parts."""
    today, encoded = tree.pop("today"), tree.pop("value_base64")
    value = tree.pop("value") if encoded is None else b64decode(encoded).hex(" ")
    tree["headers"] = "not in the quarantine"
    yield from tree.items()
    yield ("value" if encoded is None else "value (hex)"), value
    row = today.pop("row", {})
    yield from {f"today: {name}": own for name, own in today.items()}.items()
    yield from {f"  {name}": own for name, own in row.items()}.items()


def _for_people(row: dict[str, Any], names: "Coordinates") -> dict[str, Any]:
    """Return the row with its coordinates as one word and its time in whole seconds."""
    number = str(row[names.number])
    short = number if len(number) <= _NUMBER_SHOWN else f"…{number[-_NUMBER_SHOWN:]}"
    return {
        names.source: row[names.source],
        "record": f"{row[names.partition]}:{short}",
        "time": f"{row['_timestamp']:%Y-%m-%d %H:%M:%S}",
        **{name: row[name] for name in ("reason", "detail", "value")},
    }
