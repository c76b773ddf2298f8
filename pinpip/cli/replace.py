"""`pinpip replay --replace`: a range replayed in place, planned, compared, or done."""

from typing import TYPE_CHECKING, Any

import typer

from pinpip.cli.shared import working
from pinpip.cli.tables import show

if TYPE_CHECKING:
    from collections.abc import Callable

    from consumers.window import Window
    from core.config import Config
    from pinpip.replacement_diff import Difference
    from pinpip.replaying import Origin, Planned


def plan(config: "Config", name: str, window: "Window", origin: "Origin", *, as_json: bool) -> None:
    """Say what would be replaced; nothing is written."""
    from pinpip import replacement_plan

    rows = replacement_plan.plan(config, name, window, origin)
    show(f"{name}: a replay in place", rows, as_json=as_json)


def run(
    config: "Config",
    name: str,
    window: "Window",
    origin: "Origin",
    fill: "Callable[[Planned, str, str], None]",
    *,
    as_json: bool,
    only_diff: bool,
) -> None:
    """Stage the range with `fill`, then replace the live rows by it, or say what would change."""
    from core.clock import SystemClock
    from core.errors import SourceError
    from pinpip import pipelines, replacement_diff, replacing, replaying
    from pinpip import replacement_proof as proof

    clock = SystemClock()
    if not only_diff:  # before any refusal: verify names this command for what is unfinished
        replacing.finish(config, name, clock)
    replacing.refuse(config, name, window)
    uri = replacing.place(config, name, window)
    plan_ = replaying.beside(config, name, uri, window, origin, clock)
    before = proof.positions(pipelines.tables_of(config, name))
    if plan_.again.remark and not as_json:
        typer.echo(plan_.again.remark)
    fill(plan_, name, uri)
    with working(f"comparing {name}", quiet=as_json):
        try:
            staged = replacing.staged(config, name, plan_.tables, window, origin, clock)
            proof.refuse_unstaged(replacing.places(config, name), staged.selection, before, window)
            proof.refuse_expired(plan_.again.lacking(), staged.held, window)
        except SourceError:
            replacing.drop(config, uri)  # else another source would go on after what is lacking
            raise
        found = replacement_diff.differences(staged)
    if not only_diff:
        with working(f"replacing rows of {name}", quiet=as_json):
            if not all(own.is_empty for own in found):
                replacing.swap(config, name, staged, clock)
            replacing.drop(config, uri)
    _tell(name, found, as_json=as_json, done=not only_diff)


def _tell(name: str, found: "list[Difference]", *, as_json: bool, done: bool) -> None:
    if as_json:
        tree = {"pipeline": name, "replaced": done, "tables": [own.tree() for own in found]}
        show("Replaced", [tree], as_json=True)
        return
    title = f"{name}: " + ("replaced" if done else "would be replaced")
    show(title, [_row(own) for own in found], as_json=False)
    for own in found:
        for kind, samples in own.samples.items():
            for sample in samples:
                typer.echo(f"{kind}: {sample}")
    if all(own.is_empty for own in found):
        typer.echo("no row differs: nothing was left to do")


def _row(own: "Difference") -> dict[str, Any]:
    columns = ", ".join(f"{name} {count:,}" for name, count in own.columns.most_common())
    return {
        "table": own.table,
        "added": own.added,
        "removed": own.removed,
        "changed": own.changed,
        "by_column": columns or None,
    }
