"""Which incarnation wrote a row that names none: by their positions and their ledgers' times.

An incarnation claims the records before its position. As far as its ledger reaches, it claims only
those whose broker timestamp is between the first and the last that its commits name.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl
from deltalake import DeltaTable

from core.batch import Coordinates, Partition, Position
from core.errors import PositionLost
from core.protocols import Options
from sinks.delta import history, ledger, positions
from sinks.delta.txns import Application

_TIME = "_timestamp"


@dataclass
class _Read:
    """What the ledger says an incarnation read."""

    first: dict[Partition, Position | None] = field(default_factory=dict)
    times: list[datetime] = field(default_factory=list)


@dataclass(frozen=True)
class Claim:
    """The records that an incarnation has read.

    `spans`: one row a partition: its columns of `coordinates`, `last` (the position as a number),
    `first` (from there on the ledger knows the times; null: from the start on) and `dated` (whether
    it knows any). `times`: the first and last of these.
    """

    spans: pl.DataFrame
    times: tuple[datetime, datetime] | None


def of(
    table: DeltaTable,
    options: Options,
    told: Mapping[str, Application],
    apps: Mapping[str, str],
    coordinates: Coordinates,
) -> dict[str, Claim]:
    """Return the claim of each incarnation in `apps` (name to app id); `told` has all app ids."""
    read = _ledger(table, options, apps)
    return {name: _claim(read[app], told, app, coordinates) for name, app in apps.items()}


def of_one(
    rows: pl.LazyFrame, claims: Mapping[str, Claim], own: str, coordinates: Coordinates
) -> pl.LazyFrame:
    """Return the rows that only `own` claims."""
    mine, others = _claimed(rows, claims, own, coordinates)
    return mine.filter(~others).select(rows.collect_schema().names())


def of_several(
    rows: pl.LazyFrame, claims: Mapping[str, Claim], own: str, coordinates: Coordinates
) -> pl.LazyFrame:
    """Return the rows that `own` and at least one other claim."""
    mine, others = _claimed(rows, claims, own, coordinates)
    return mine.filter(others).select(rows.collect_schema().names())


def _claimed(
    rows: pl.LazyFrame, claims: Mapping[str, Claim], own: str, coordinates: Coordinates
) -> tuple[pl.LazyFrame, pl.Expr]:
    """Return the rows that `own` claims, and an expression that is true where others claim them."""
    for name, claim in claims.items():
        rows = _with_claim(rows, claim, f"__{name}", coordinates)
    others = [pl.col(f"__{name}") for name in claims if name != own]
    return rows.filter(pl.col(f"__{own}")), pl.any_horizontal(others)


def _with_claim(
    rows: pl.LazyFrame, claim: Claim, name: str, coordinates: Coordinates
) -> pl.LazyFrame:
    number = pl.col(coordinates.number)
    before = number < pl.col("last") if coordinates.sub is None else number <= pl.col("last")
    unknown = ~pl.col("dated") | (number < pl.col("first")).fill_null(value=False)
    in_time = pl.lit(value=True)
    if claim.times is not None:
        in_time = pl.col(_TIME).is_between(*claim.times).fill_null(value=True)
    claimed = (before & (unknown | in_time)).fill_null(value=False)
    by = [coordinates.source, coordinates.partition]
    joined = rows.join(claim.spans.lazy(), on=by, how="left", maintain_order="left")
    return joined.with_columns(claimed.alias(name)).drop("first", "last", "dated")


def _ledger(table: DeltaTable, options: Options, apps: Mapping[str, str]) -> Mapping[str, _Read]:
    """Return what the ledger says by application id; damaged entries are skipped."""
    read: dict[str, _Read] = defaultdict(_Read)
    for commit in reversed(history.commits(table, options)):
        try:
            entry = ledger.decode(commit.text)
        except ValueError:
            continue
        if entry.app in apps.values():
            own = read[entry.app]
            own.times += entry.event_time or ()
            for r in entry.ranges:
                own.first.setdefault(r.of, r.start)
    return read


def _claim(
    read: _Read, told: Mapping[str, Application], app: str, coordinates: Coordinates
) -> Claim:
    by = {coordinates.source: pl.String(), coordinates.partition: pl.String()}
    number = coordinates.metadata[coordinates.number]
    schema = pl.Schema(by | {"first": number, "last": number, "dated": pl.Boolean()})
    rows = []
    for partition in sorted(positions.partitions(told, app)):
        first, last = read.first.get(partition), _position(told, app, partition, coordinates)
        if last is not None:
            values = [None if p is None else coordinates.column_value(p) for p in (first, last)]
            rows.append((*partition, *values, partition in read.first))
    spans = pl.DataFrame(rows, schema, orient="row")
    own = coordinates.metadata[coordinates.partition]
    times = (min(read.times), max(read.times)) if read.times else None
    return Claim(spans.cast({coordinates.partition: own}), times)


def _position(
    told: Mapping[str, Application], app: str, partition: Partition, coordinates: Coordinates
) -> Position | None:
    def lookup(name: str) -> int | None:
        return told[name].version if name in told else None

    try:
        return positions.read(lookup, app, partition, coordinates)
    except PositionLost:
        return None
