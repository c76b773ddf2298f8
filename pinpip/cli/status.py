"""`pinpip status`: where every pipeline is."""

import json
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from core.errors import ConfigError, PinpipError, TransientError
from pinpip.cli.shared import settings_of
from pinpip.cli.tables import show

if TYPE_CHECKING:
    from deltalake import DeltaTable

    from core.batch import Partition, Position
    from core.config import Config
    from pinpip.connectors.protocol import SourceEnds
    from sinks.delta.positions import Lookup
    from sinks.delta.target import Tables

A = TypeVar("A")
T = TypeVar("T")
# columns that are shown when they tell something
_RARE = ("left_out", "unclaimed", "gone", "expired", "accepted_gaps", "recreated", "held_back")
_AT_ONCE = 8  # pipelines that are looked at side by side


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
    Kinesis does not tell where a shard ends: there the lag is not told (-).
    unknown: a source or a bucket does not respond now; below the tables it is said why.
    left_out: records that the pipeline's `where` does not take; unclaimed: of these, those that no
    other pipeline of the configuration took when they were read.
    recreated: another topic or stream has that name now; the consumer stops and says what to do.
    Example: pinpip status pin
    """
    config = settings_of(context).config()
    with ThreadPoolExecutor(_AT_ONCE) as threads:  # a source may take long not to respond
        trees = list(threads.map(partial(_tree, config), pipelines or list(config.pipelines)))
    if as_json:
        typer.echo(json.dumps(trees))
        return
    show("Tables", [_of_table(tree) for tree in trees], as_json=False, rare=_RARE)
    rows = [row for tree in trees for row in _of_partitions(tree)]
    show("Partitions", rows, as_json=False, identity=2, rare=_RARE)
    reasons = {f"{what}: {why}" for tree in trees for what, why in tree["unknown"].items()}
    for reason in sorted(reasons):
        typer.echo(f"unknown: {reason}")


def _tree(config: "Config", name: str) -> dict[str, Any]:
    from pinpip.pipelines import tables_of

    tables = tables_of(config, name)
    unknown: dict[str, str] = {}
    held = _unless(_held, tables, (TransientError, ConfigError), unknown, tables.clean)
    read = ", ".join(config.pipeline(name).reads)
    source = _unless(partial(_source, config), name, (PinpipError,), unknown, read)
    known = source.ends if source else held.partitions if held else ()
    partitions = [_row(tables, held, source, p) for p in sorted(known)]
    lags = [row["lag"] for row in partitions]
    return {
        "pipeline": name,
        "table": tables.clean,
        "clean": held and held.clean,
        "quarantined": held and held.quarantined,
        "lag": None if source is None or None in lags else sum(lags),
        "left_out": held and sum(row["left_out"] for row in partitions),
        "unclaimed": held and sum(row["unclaimed"] for row in partitions),
        "partitions": partitions,
        "unknown": unknown,
    }


def _unless(
    look: Callable[[A], T],
    at: A,
    errors: tuple[type[PinpipError], ...],
    unknown: dict[str, str],
    what: str,
) -> T | None:
    """Return what `look` finds; None when it cannot tell now, and `unknown` says why."""
    try:
        return look(at)
    except errors as error:
        unknown[what] = f"{error.message}; next: {error.hint}" if error.hint else error.message
        return None


@dataclass(frozen=True)
class _Held:
    """What the tables of a pipeline say of themselves."""

    clean: int
    quarantined: int
    lookup: "Lookup | None"
    partitions: "Collection[Partition]"


@dataclass(frozen=True)
class _Source:
    """What a pipeline's source says of itself."""

    ends: "Mapping[Partition, Position | None]"
    asked: "SourceEnds"
    epochs: Mapping[str, int | None]


def _held(tables: "Tables") -> _Held:
    from sinks.delta import positions, txns
    from sinks.delta.table import find_own

    clean, quarantine = (
        find_own(uri, tables.options, tables.coordinates)
        for uri in (tables.clean, tables.quarantine)
    )
    told = txns.read(clean, tables.options) if clean else None
    return _Held(
        _count(clean, tables),
        _count(quarantine, tables),
        None if told is None else txns.lookup(told),
        positions.partitions(told or (), tables.app),
    )


def _source(config: "Config", name: str) -> _Source:
    from pinpip.connectors import connector_of

    connector = connector_of(config, name)
    asked = connector.source_ends(must=True)
    ends = {p: high for p, (_, high) in asked.watermarks.items()} or connector.ends()
    return _Source(ends, asked, connector.epochs(ends))


def _row(
    tables: "Tables", held: _Held | None, source: _Source | None, partition: "Partition"
) -> dict[str, Any]:
    from pinpip.connectors.protocol import lag
    from sinks.delta import positions

    position, expired, gaps, left_out = None, 0, 0, (0, 0)
    if held is not None and held.lookup is not None:
        lookup = held.lookup
        position = positions.read_with_epoch(lookup, tables.app, partition, tables.coordinates)
        expired = positions.read_expired(lookup, tables.app, partition)
        gaps = positions.accepted_gaps(lookup, tables.app, partition)
        left_out = positions.read_left_out(lookup, tables.app, partition)
    asked, epochs = (source.asked, source.epochs) if source else (None, {})
    low, high = asked.watermarks.get(partition, (None, None)) if asked else (None, None)
    behind = lag(position, low, high) if low and high and held else None
    return {
        "partition": str(partition),
        "position": None if position is None else str(position.number),
        "end": None if high is None else str(high.number),
        "lag": behind,
        "gone": None if low is None or held is None else _beyond(low, position or low),
        "expired": None if held is None else expired,
        "accepted_gaps": None if held is None else gaps,
        "left_out": held and left_out[0],
        "unclaimed": held and left_out[1],
        "recreated": _is_another(position, epochs.get(partition.source)) if source else None,
        "held_back": asked.held_back.get(partition) if asked else None,
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


def _of_table(tree: dict[str, Any]) -> dict[str, Any]:
    """Return the pipeline's row; what is not known says so."""
    row = {key: value for key, value in tree.items() if key not in {"partitions", "unknown"}}
    return _marked(row, ("clean", "quarantined", "lag")) if tree["unknown"] else row


def _of_partitions(tree: dict[str, Any]) -> list[dict[str, Any]]:
    rows = [{"pipeline": tree["pipeline"], **row} for row in tree["partitions"]]
    return [_marked(row, row) for row in rows] if tree["unknown"] else rows


def _marked(row: dict[str, Any], keys: "Collection[str]") -> dict[str, Any]:
    return row | {key: "unknown" for key in keys if row[key] is None}
