"""`pinpip status --drift`: what the records have that the schemas do not take."""

import json
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from pinpip.cli.shared import progress_bar
from pinpip.cli.tables import show

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from core.config import Config
    from pinpip.drift import Drift, FieldDrift

_PERCENT = 100


def show_drift(config: "Config", names: Sequence[str], *, as_json: bool) -> None:
    """Sum up `_rescued` of these pipelines' tables, with a progress bar."""
    from pinpip.drift import drift_of

    found = []
    with progress_bar(quiet=as_json) as bar:
        for name in names:
            task = bar.add_task(f"Reading {name}", total=None)
            found.append(drift_of(config, name, partial(_advance, bar, task)))
    if as_json:
        typer.echo(json.dumps([own.tree() for own in found]))
        return
    for own in found:
        _show(own)


def _advance(bar: "Progress", task: "TaskID", done: int, of: int) -> None:
    bar.update(task, completed=done, total=of)


def _show(own: "Drift") -> None:
    show(
        f"Drift of {own.pipeline}: {_about(own)}",
        [_row(own, f) for f in own.fields],
        as_json=False,
        cut=("sample",),
    )
    if own.unreadable:
        typer.echo(f"{own.unreadable:,} values of _rescued are not JSON objects: not counted")
    for what, why in own.unknown.items():
        typer.echo(f"unknown: {what}: {why}")


def _about(own: "Drift") -> str:
    if own.version is None:
        return "not looked at" if own.unknown else "no table yet"
    of = "an unknown number" if own.rows is None else f"{own.rows:,}"
    return (
        f"{own.rescued:,} of {own.looked_at:,} rows have values in _rescued"
        f" ({own.looked_at:,} of {of} rows looked at, version {own.version})"
    )


def _row(own: "Drift", field: "FieldDrift") -> dict[str, Any]:
    return {
        "field": field.field,
        "declared": field.declared,
        "rows": field.rows,
        "share": f"{_PERCENT * field.rows / own.looked_at:.3g} %",
        "types": ", ".join(f"{kind} {n:,}" for kind, n in field.types.items()),
        "first_seen": field.first_seen and f"{field.first_seen:%Y-%m-%d %H:%M:%S}",
        "record": field.record,
        "sample": field.sample,
    }
