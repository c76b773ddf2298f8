"""What replacements changed of the counts in the ledger: made from rows, and applied to ranges.

Source: `sinks.delta.replacing`, which commits them, and `audit`, which compares them with rows.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from core.batch import Coordinates, Partition, Position
from sinks.delta import keys
from sinks.delta.ledger import Amendment, CommitRange

Keys = Mapping[Partition, pl.Series]  # sorted, each once


@dataclass(frozen=True)
class Rows:
    """The keys of rows that leave a table, and of those that enter it."""

    gone: Keys
    new: Keys


def of_rows(frames: Iterable[pl.DataFrame], coordinates: Coordinates) -> Keys:
    """Return the keys of the rows of all frames."""
    parts: dict[Partition, list[pl.Series]] = defaultdict(list)
    by = [coordinates.source, coordinates.partition]
    for frame in frames:
        keyed = frame.select(*by, key=keys.expr(coordinates)).partition_by(by, as_dict=True)
        for (source, id_), own in keyed.items():
            parts[Partition(str(source), str(id_))].append(own["key"])
    return {p: pl.concat(own).unique().sort() for p, own in parts.items()}


def made(
    ranges: Mapping[Partition, Sequence[CommitRange]],
    clean: Rows,
    quarantine: Rows,
    coordinates: Coordinates,
) -> list[Amendment]:
    """Return what changes of each range of one table's ledger, where counts change."""
    touched = {p for rows in (clean, quarantine) for p in {*rows.gone, *rows.new}}
    return [
        amendment
        for partition in sorted(touched)
        for amendment in _of(partition, ranges.get(partition, ()), clean, quarantine, coordinates)
        if amendment.clean or amendment.quarantined
    ]


def _of(
    partition: Partition,
    ranges: Sequence[CommitRange],
    clean: Rows,
    quarantine: Rows,
    coordinates: Coordinates,
) -> Iterator[Amendment]:
    spans = _spans(partition, ranges, (clean, quarantine), coordinates)
    counts = [_changes(rows, partition, spans, coordinates) for rows in (clean, quarantine)]
    for (start, end), good, bad in zip(spans, *counts, strict=True):
        yield Amendment(
            source=partition.source,
            partition=partition.id,
            start=start,
            end=end,
            clean=good,
            quarantined=bad,
        )


def _spans(
    partition: Partition,
    ranges: Sequence[CommitRange],
    changes: Sequence[Rows],
    coordinates: Coordinates,
) -> list[tuple[Position | None, Position]]:
    """Return the range before the ledger begins, and those of its commits."""
    spans = [(r.start, r.end) for r in ranges]
    if not spans:
        return [(None, _end(partition, changes, coordinates))]
    edge = ranges[0].start
    return spans if edge is None else [(None, edge), *spans]


def _end(partition: Partition, changes: Sequence[Rows], coordinates: Coordinates) -> Position:
    """Return the position after the last of all keys."""
    last = max(
        own[-1]
        for rows in changes
        for side in (rows.gone, rows.new)
        for own in [side.get(partition)]
        if own is not None and own.len()
    )
    return keys.after(last, coordinates)


def _changes(
    rows: Rows,
    partition: Partition,
    spans: Sequence[tuple[Position | None, Position]],
    coordinates: Coordinates,
) -> list[int]:
    """Return how many rows more each span has afterwards."""
    sides = (rows.new.get(partition), rows.gone.get(partition))
    new, gone = (keys.counts(own, spans, coordinates) for own in sides)
    return [more - less for more, less in zip(new, gone, strict=True)]


def applied(
    ranges: Sequence[CommitRange], amendments: Iterable[Amendment]
) -> tuple[list[CommitRange], list[Amendment]]:
    """Return the ranges of a partition with today's counts, and the amendments of none of them."""
    now, others = list(ranges), list[Amendment]()
    ends = [r.end for r in ranges]
    for own in amendments:
        n = bisect_left(ends, own.end)
        if n < len(now) and _begins_within(own, now[n]):
            counts = now[n].clean + own.clean, now[n].quarantined + own.quarantined
            now[n] = replace(now[n], clean=counts[0], quarantined=counts[1])
        else:
            others.append(own)
    return now, others


def _begins_within(own: Amendment, r: CommitRange) -> bool:
    return r.start is None or (own.start is not None and own.start >= r.start)


def joined(ranges: Iterable[CommitRange], amendments: Iterable[Amendment]) -> Iterator[Amendment]:
    """Add up the amendments of each range of one app; those of none stay as they are."""
    own: dict[Partition, list[CommitRange]] = defaultdict(list)
    for r in ranges:
        own[r.of].append(r)
    told: dict[Partition, list[Amendment]] = defaultdict(list)
    for amendment in amendments:
        told[amendment.of].append(amendment)
    for partition, some in told.items():
        before = own[partition]
        now, others = applied(before, some)
        for then, r in zip(before, now, strict=True):
            more = r.clean - then.clean, r.quarantined - then.quarantined
            if any(more):
                yield Amendment(
                    source=r.source,
                    partition=r.partition,
                    start=r.start,
                    end=r.end,
                    clean=more[0],
                    quarantined=more[1],
                )
        yield from others
