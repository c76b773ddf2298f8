"""Check the rows from before the ledger begins: only their density can be checked."""

from collections.abc import Iterable, Iterator, Mapping

import polars as pl

from audit.invariants import Finding, FindingKind, TablePartition, Unknown, firsts, text
from core.batch import Partition


def gaps(clean: TablePartition, quarantine: TablePartition) -> Iterator[Finding]:
    """Check that the rows before the ledger begins are dense."""
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
        yield Finding(FindingKind.GAP, clean.partition, detail)


def unknown(clean: TablePartition, quarantine: TablePartition) -> Iterator[Unknown]:
    """Report what cannot be proven: whether rows from before the ledger begins are missing.

    Kafka's offsets are dense there, from the offset that was stored at the first start, or else
    from the first row. Kinesis's sequence numbers are never dense.
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


def _first(clean: TablePartition, found: pl.Series) -> int:
    """Return the first offset that must have a row: the first start's or the first row's."""
    begins = [at.number for at in (clean.begin, clean.edge) if at is not None]
    return min([*begins, *map(int, found.head(1))])


def _expired_before(clean: TablePartition, quarantine: TablePartition) -> int:
    """Return how many expired offsets the ledger does not list; a sink that was behind has more."""
    return max(clean.expired_before, quarantine.expired_before)


def certain(findings: Iterable[Finding], unsure: Mapping[str, int]) -> Iterator[Finding]:
    """Yield the findings that hold whether or not the `unsure` rows belong to this incarnation."""
    absent = {FindingKind.MISSING, FindingKind.GAP} if any(unsure.values()) else set()
    return (finding for finding in findings if finding.kind not in absent)


def ambiguous(partition: Partition, unsure: Mapping[str, int]) -> Iterator[Unknown]:
    """Report the `unsure` rows of each table: they may belong to this incarnation."""
    for table, count in unsure.items():
        if count:
            detail = (
                f"{table}: another engine merged the files of several incarnations before rows "
            )
            detail += f"named theirs: whose {count} rows are, and whether rows are missing"
            detail += " (--reread and --offset cannot tell)"
            yield Unknown(partition, detail)


def _together(clean: TablePartition, quarantine: TablePartition) -> pl.Series:
    """Return each key of both tables once, sorted."""
    both = pl.concat([clean.keys, quarantine.keys]).sort()
    return both.filter(firsts(both))


def _missing_offsets(found: pl.Series, first: int, edge: int) -> int:
    return edge - first - found.filter(found.is_between(first, edge, closed="left")).len()
