"""Rows from before the ledger begins: they must be dense, and prove no more than that."""

from collections.abc import Iterable, Iterator, Mapping

import polars as pl

from audit.invariants import Finding, Held, Kind, Unknown, firsts, text
from core.batch import Partition


def gaps(clean: Held, quarantine: Held) -> Iterator[Finding]:
    """Where no ledger entry explains them any more, the rows must be dense up to the edge."""
    edge, found = clean.edge, _together(clean, quarantine)
    if edge is None or (found.is_empty() and clean.begin is None):
        return
    if clean.coordinates.sub is None:
        first = _first(clean, found)
        missing = _missing_offsets(found, first, edge.number) - _expired_before(clean, quarantine)
        what = f"{missing} offsets between {first} and {edge.number}" if missing > 0 else ""
    else:
        unseen = not clean.ranges and clean.key(edge) > found[-1]
        what = f"the records from {found[-1]} to the position {text(edge)}" if unseen else ""
    if what:
        detail = f"{what} are in neither table, and no ledger entry explains them"
        yield Finding(Kind.GAP, clean.partition, detail)


def unknown(clean: Held, quarantine: Held) -> Iterator[Unknown]:
    """Report what rows, positions and ledger cannot prove: rows lost before the ledger begins.

    Kafka's offsets are dense there, from the offset on that was fixed at the first start, or else
    from the first row on. Kinesis's numbers never are.
    """
    edge = clean.edge
    if edge is None or (clean.coordinates.sub is None and edge.number == 0):
        return
    if clean.coordinates.sub is not None:
        since = f"the log before {text(edge)} expired"
        yield Unknown(clean.partition, f"{since}: whether rows from before it are missing")
        return
    found = _together(clean, quarantine)
    before = found.filter(found < edge.number)
    if clean.begin is not None:
        pass
    elif before.is_empty():
        since = f"the log before offset {edge.number} expired and no row is from before it"
        yield Unknown(clean.partition, f"{since}: whether rows are missing there")
    elif before[0] > 0:
        since = f"the log of the first commits expired and the first row is offset {before[0]}"
        yield Unknown(clean.partition, f"{since}: whether rows before it are missing")
    expired = _expired_before(clean, quarantine)
    if _missing_offsets(found, _first(clean, before), edge.number) < expired:
        since = f"{expired} offsets expired before the log begins"
        yield Unknown(clean.partition, f"{since}: which ones, and whether others are missing")


def _first(clean: Held, found: pl.Series) -> int:
    """Return the first offset whose row must exist: the first start's, or the first row's."""
    begins = [at.number for at in (clean.begin, clean.edge) if at is not None]
    return min([*begins, *map(int, found.head(1))])


def _expired_before(clean: Held, quarantine: Held) -> int:
    """Offsets that no ledger names and that expired: for a sink that was behind they are more."""
    return max(clean.expired_before, quarantine.expired_before)


def sure(findings: Iterable[Finding], unsure: Mapping[str, int]) -> Iterator[Finding]:
    """Keep the findings that hold even if `unsure` rows of each table are of this incarnation."""
    absent = {Kind.MISSING, Kind.GAP} if any(unsure.values()) else set()
    return (finding for finding in findings if finding.kind not in absent)


def whose(partition: Partition, unsure: Mapping[str, int]) -> Iterator[Unknown]:
    """Report the `unsure` rows of each table, which may be of this incarnation."""
    for table, count in unsure.items():
        if count:
            detail = (
                f"{table}: another engine merged the files of several incarnations before rows "
            )
            detail += f"named theirs: whose {count} rows are, and whether rows are missing"
            detail += " (--reread and --offset cannot tell)"
            yield Unknown(partition, detail)


def _together(clean: Held, quarantine: Held) -> pl.Series:
    """Each key of both tables once, sorted."""
    both = pl.concat([clean.keys, quarantine.keys]).sort()
    return both.filter(firsts(both))


def _missing_offsets(found: pl.Series, first: int, edge: int) -> int:
    return edge - first - found.filter(found.is_between(first, edge, closed="left")).len()
