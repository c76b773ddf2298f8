"""What the next start of a consumer changes in its table, or refuses there, said beforehand."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby

import polars as pl

from core.config import Config
from core.errors import PinpipError, TransientError
from pinpip.pipelines import tables_of
from sinks.delta import added_columns, merging
from sinks.delta import table as delta
from sinks.delta.target import DeltaTarget
from sinks.delta.type_names import type_names

_AT_ONCE = 8  # tables that are looked at side by side: a bucket may take long not to respond


@dataclass(frozen=True)
class NextStart:
    """The columns that the next start adds to the table, with their types in Delta.

    `problem`: why a consumer would refuse the table. `unknown`: why it was not looked at.
    """

    table: str
    adds: Mapping[str, str] = field(default_factory=dict)
    problem: PinpipError | None = None
    unknown: str = ""


def next_starts(config: Config, columns: Mapping[str, pl.Schema]) -> dict[str, NextStart]:
    """Compare the table of each of these pipelines with the columns that its transform makes."""
    targets = {name: _target(config, name, schema) for name, schema in columns.items()}
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return dict(zip(targets, threads.map(_look, targets.values()), strict=True))


def notes(starts: Mapping[str, NextStart]) -> Iterator[str]:
    """Yield what the next start adds, and which tables were not looked at."""
    for name, own in starts.items():
        if own.adds:
            said = ", ".join(f"{column} ({dtype})" for column, dtype in own.adds.items())
            yield f"the next start of {name} adds to the table {own.table}: {said}"
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
    return NextStart(target.uri, {name: types[name] for name in target.schema if name in added})
