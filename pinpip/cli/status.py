"""`pinpip status`: where every pipeline is."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinpip.cli.shared import settings_of, show

if TYPE_CHECKING:
    from pinpip.config import Config


def status(
    context: typer.Context,
    pipelines: Annotated[
        list[str] | None, typer.Argument(help="Pipelines of config.yaml; all when none is named.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Show each partition's position, its end and the lag between, and the rows so far.

    Kinesis does not tell where a shard ends: there the lag is unknown.
    Example: pinpip status pin
    """
    config = settings_of(context).config()
    names = pipelines or list(config.pipelines)
    rows = [row for name in names for row in _rows(config, name)]
    show("Status", rows, as_json=as_json)


def _rows(config: "Config", name: str) -> list[dict[str, Any]]:
    from pinpip.cli.compose import tables_of
    from pinpip.cli.ends import ends_of
    from sinks.verify import verify

    report = verify(tables_of(config, name), ends_of(config, name))
    return [
        {
            "pipeline": name,
            "partition": str(t.partition),
            "clean": t.clean,
            "quarantined": t.quarantined,
            "position": None if t.position is None else str(t.position.number),
            "end": None if t.end is None else str(t.end.number),
            "lag": t.lag,
        }
        for t in report.tallies
    ]
