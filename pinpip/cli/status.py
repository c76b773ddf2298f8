"""`pinpip status`: where every pipeline is."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinpip.cli.shared import settings_of, show

if TYPE_CHECKING:
    from deltalake import DeltaTable

    from core.batch import Partition, Position
    from core.config import Config
    from sinks.delta.positions import Lookup
    from sinks.delta.target import Tables


def status(
    context: typer.Context,
    pipelines: Annotated[
        list[str] | None, typer.Argument(help="Pipelines of config.yaml; all when none is named.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Show each table's rows, and each partition's position, its end and the lag between.

    Asks the tables' logs and the sources and reads no row: `pinpip verify` does that.
    Held back is what lies behind a transaction that is still open: nobody can read it yet. Gone is
    what retention took unread, and expired what of that was accepted (consume --accept-gap); of a
    shard only the number of such accepted gaps is known.
    Kinesis does not tell where a shard ends: there the lag is unknown.
    recreated: another topic or stream has that name now; the consumer stops and says what to do.
    Example: pinpip status pin
    """
    config = settings_of(context).config()
    trees = [_tree(config, name) for name in pipelines or list(config.pipelines)]
    if as_json:
        typer.echo(json.dumps(trees))
        return
    show("Tables", [_without_partitions(tree) for tree in trees], as_json=False)
    rows = [{"pipeline": t["pipeline"], **row} for t in trees for row in t["partitions"]]
    show("Partitions", rows, as_json=False)


def _tree(config: "Config", name: str) -> dict[str, Any]:
    from pinpip.connectors import connector_of
    from pinpip.pipelines import tables_of
    from sinks.delta.table import find_own
    from sinks.delta.txns import versions

    tables = tables_of(config, name)
    clean, quarantine = (
        find_own(uri, tables.options, tables.coordinates)
        for uri in (tables.clean, tables.quarantine)
    )
    lookup = versions(clean, tables.options) if clean else None
    connector = connector_of(config, name)
    asked = connector.source_ends(must=True)
    ends = {p: high for p, (_, high) in asked.watermarks.items()} or connector.ends()
    epochs = connector.epochs(ends)
    partitions = [
        _row(tables, lookup, p, asked.watermarks.get(p), epochs.get(p.source))
        | {"held_back": asked.held_back.get(p)}
        for p, end in sorted(ends.items())
    ]
    lags = [row["lag"] for row in partitions]
    return {
        "pipeline": name,
        "table": tables.clean,
        "clean": _count(clean, tables),
        "quarantined": _count(quarantine, tables),
        "lag": None if None in lags else sum(lags),
        "partitions": partitions,
    }


def _row(
    tables: "Tables",
    lookup: "Lookup | None",
    partition: "Partition",
    watermarks: "tuple[Position, Position] | None",
    epoch: int | None,
) -> dict[str, Any]:
    from pinpip.connectors.protocol import lag
    from sinks.delta import positions

    position, expired, gaps = None, 0, 0
    if lookup is not None:
        position = positions.read_with_epoch(lookup, tables.app, partition, tables.coordinates)
        expired = positions.read_expired(lookup, tables.app, partition)
        gaps = positions.accepted_gaps(lookup, tables.app, partition)
    low, high = watermarks or (None, None)
    return {
        "partition": str(partition),
        "position": None if position is None else str(position.number),
        "end": None if high is None else str(high.number),
        "lag": lag(position, low, high) if low and high else None,
        "gone": None if low is None else _beyond(low, position or low),
        "expired": expired,
        "accepted_gaps": gaps,
        "recreated": _is_another(position, epoch),
    }


def _is_another(position: "Position | None", epoch: int | None) -> bool:
    """Whether the position counts in another life of the source, as far as both are told."""
    return None not in {epoch, held := position and position.epoch} and held != epoch


def _beyond(far: "Position | None", near: "Position | None") -> int | None:
    """Offsets from `near` to `far`; None where the source does not say."""
    return None if far is None else max(0, far.number - (near.number if near else 0))


def _count(table: "DeltaTable | None", tables: "Tables") -> int:
    from sinks.delta.scan import TableReader

    return 0 if table is None else TableReader(table, tables.options).count()


def _without_partitions(tree: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in tree.items() if key != "partitions"}
