"""What the next start of a consumer changes in its table, or refuses there, said beforehand."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby

import polars as pl

from core.config import Config
from core.errors import PinpipError, TransientError
from pinpip.pipelines import tables_of
from sinks.delta import added_columns, merging, narrower
from sinks.delta import table as delta
from sinks.delta.target import DeltaTarget
from sinks.delta.type_names import type_names

_AT_ONCE = 8  # tables that are looked at side by side: a bucket may take long not to respond


@dataclass(frozen=True)
class NextStart:
    """The columns that the next start adds to the table, with their types in Delta.

    `stays`: the columns that keep the table's narrower type, with it and the transform's.
    `problem`: why a consumer would refuse the table. `unknown`: why it was not looked at.
    """

    table: str
    adds: Mapping[str, str] = field(default_factory=dict)
    problem: PinpipError | None = None
    unknown: str = ""
    stays: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def next_starts(config: Config, columns: Mapping[str, pl.Schema]) -> dict[str, NextStart]:
    """Compare the table of each of these pipelines with the columns that its transform makes."""
    targets = {name: _target(config, name, schema) for name, schema in columns.items()}
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return dict(zip(targets, threads.map(_look, targets.values()), strict=True))


def notes(starts: Mapping[str, NextStart]) -> Iterator[str]:
    """Yield what the next start adds, which types stay, and which tables were not looked at."""
    for name, own in starts.items():
        if own.adds:
            said = ", ".join(f"{column} ({dtype})" for column, dtype in own.adds.items())
            yield f"the next start of {name} adds to the table {own.table}: {said}"
        if own.stays:
            said = ", ".join(f"{column} ({held})" for column, (held, _) in own.stays.items())
            yield (
                f"the table {own.table} keeps narrower types than the transform of {name} makes:"
                f" {said}; a number that does not fit stops the consumer before it is written."
                f" To widen: pinpip replay {name} --into NAME, then name that table in config.yaml"
            )
    silent = sorted((own.unknown, name) for name, own in starts.items() if own.unknown)
    for why, names in groupby(silent, key=lambda pair: pair[0]):
        those = ", ".join(name for _, name in names)
        yield f"what the next start changes is not known of {those}: {why}"


def _target(config: Config, name: str, schema: pl.Schema) -> DeltaTarget:
    own = tables_of(config, name)
    return DeltaTarget(own.clean, own.options, schema, own.coordinates, own.app)


def _look(target: DeltaTarget) -> NextStart:
    """Return what a consumer with this target would do to its table."""
    try:
        found = delta.find(target.uri, target.options)
    except PinpipError as error:
        return NextStart(target.uri, unknown=error.message)
    if found is None:
        return NextStart(target.uri)
    try:
        delta.check(found, target)
        others = added_columns.of(found, target.schema.names())
        if others:
            added_columns.refuse_own(found, target.uri, target.options, others)
    except TransientError as error:
        return NextStart(target.uri, unknown=error.message)
    except PinpipError as error:
        return NextStart(target.uri, problem=error)
    held = {one.name for one in found.schema().fields}
    added, types = merging.missing(held, target), type_names(target.schema)
    adds = {name: types[name] for name in target.schema if name in added}
    return NextStart(target.uri, adds, stays=narrower.kept(found, target.schema))
