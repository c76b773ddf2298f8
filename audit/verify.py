"""Verify that each record is in the clean table or its quarantine, exactly once.

Three sources must agree for every partition: the rows' coordinates, the stored positions (`txn`
actions) and the ledger in the commits. Where the log has expired there is no ledger, and offsets
must be dense instead; Kinesis's sequence numbers are never dense. A Parquet archive is a fourth
source: its chains must have no gap and agree with the ledger.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from audit import archive, identity, invariants, replaced
from audit.archive import Archive
from audit.identity import SinkEpoch
from audit.invariants import Finding, FindingKind, TablePartition, Unknown, firsts, text
from audit.snapshot import Snapshot
from core.batch import Partition, Position
from sinks.delta.target import Tables

Watch = Callable[[str, int, int], None]


@dataclass(frozen=True)
class PartitionSummary:
    """The counts of one partition.

    `first`: the first row's offset or `sequence.subsequence`. `read`: records up to the position:
    clean, quarantined, filtered (`left_out` of these by the pipeline's `where`, the others by the
    transform), or expired unread as the operator accepted; before the ledger begins, only rows and
    `left_out` are counted. `gaps`: offsets up to the position without a
    record (compaction, transaction markers, aborted records); a lower bound where the ledger does
    not cover the partition's beginning, None without a ledger and on Kinesis. `accepted_gaps`:
    stretches of a shard of which records may have expired unread.
    """

    partition: Partition
    first: int | str | None
    position: Position | None
    read: int
    clean: int
    quarantined: int
    filtered: int
    gaps: int | None
    expired: int = 0
    accepted_gaps: int = 0
    left_out: int = 0


@dataclass(frozen=True)
class Report:
    """The differences, the counts of partitions and chains, and what the data cannot prove.

    Each record is stored exactly once when there is neither a finding nor an unknown. `unsure`:
    partitions with rows that may belong to this incarnation or to another. `lives`: the epochs that
    the sinks store, to be compared with the source's.
    """

    findings: tuple[Finding, ...]
    tallies: tuple[PartitionSummary, ...]
    chains: tuple[archive.ChainSummary, ...] = ()
    unknown: tuple[Unknown, ...] = ()
    unsure: tuple[Partition, ...] = ()
    lives: tuple[SinkEpoch, ...] = ()


def snapshots(tables: Tables) -> tuple[Snapshot, Snapshot]:
    """Open the newest version of the clean table, then of its quarantine.

    Raises SinkError, which names the file, when one cannot be opened.
    """
    rest = (tables.options, tables.coordinates, tables.app, tables.folder)
    clean = Snapshot(tables.clean, "clean", *rest)
    return clean, Snapshot(tables.quarantine, "rejected", *rest)


def verify(tables: Tables, archives: Sequence[Archive] = ()) -> Report:
    """Compare rows, positions and ledger of every partition, and the chains of the archives."""
    return prove(*snapshots(tables), archives)


def prove(
    clean: Snapshot,
    quarantine: Snapshot,
    archives: Sequence[Archive] = (),
    watch: Watch = lambda _what, _done, _total: None,
    listed: Collection[Partition] = (),
) -> Report:
    """Verify open snapshots; `watch` gets the current item, and how many of how many are done.

    `listed`: the source's partitions. One without rows and ledger is checked when it has a position
    or an archive.
    Memory: the keys of both tables, 8 bytes a row on Kafka, and four times those of the largest
    partition.
    """
    read = _counting(watch, clean.height + quarantine.height)
    clean_keys, quarantine_keys = clean.keys(read), quarantine.keys(read)
    found = {*clean_keys, *quarantine_keys, *clean.ledgered(), *quarantine.ledgered()}
    found |= clean.gapped()
    ends = [clean.end, quarantine.end, *(a.end for a in archives)]
    found |= {*clean.unsure, *quarantine.unsure}
    known = sorted(found | {p for p in set(listed) - found if any(end(p) for end in ends)})
    findings, tallies, chains = [*clean.damaged, *quarantine.damaged], [], []
    unknown: list[Unknown] = []
    lives: list[SinkEpoch] = []
    for n, partition in enumerate(known):
        watch(str(partition), n, len(known))
        good = clean.held(partition, clean_keys.pop(partition, None))
        bad = quarantine.held(partition, quarantine_keys.pop(partition, None))
        unsure = {side.name: side.unsure.get(partition, 0) for side in (clean, quarantine)}
        checked = [*invariants.check(good, bad), *_sparse(good, bad)]
        findings += _certain(checked, unsure)
        unknown += [*_unproven(good, bad), *_ambiguous(partition, unsure)]
        tallies.append(_tally(good, bad))
        own: dict[str, Position | None] = {}
        for chained in archives:
            broken, tally = archive.check(chained, good, clean.commits())
            findings += broken
            chains.append(tally)
            own[chained.name] = tally.end
        findings += identity.conflicting(good, bad, own)
        lives += identity.sink_epochs(good, bad, own)
    watch("", len(known), len(known))
    unfinished, open_ = replaced.check(clean, quarantine)
    if unfinished or open_:
        findings = [f for f in findings if f.kind not in replaced.EFFECTS]
    findings += [*clean.lost, *quarantine.lost, *unfinished]
    unknown += open_
    once = tuple(dict.fromkeys(findings))
    doubtful = tuple(sorted({*clean.unsure, *quarantine.unsure}))
    return Report(once, tuple(tallies), tuple(chains), tuple(unknown), doubtful, tuple(lives))


def _counting(watch: Watch, total: int) -> Callable[[int], None]:
    """Return what tells `watch` how many rows of `total` were read, each time of some more."""
    done = 0

    def count(rows: int) -> None:
        nonlocal done
        done += rows
        watch("rows", done, total)

    count(0)
    return count


def _tally(clean: TablePartition, quarantine: TablePartition) -> PartitionSummary:
    read = sum(r.read for r in clean.ranges)
    kept = sum(r.clean + r.quarantined for r in clean.today)
    before = sum(held.read_before([clean.edge])[0] for held in (clean, quarantine))
    keys = [held.keys[0] for held in (clean, quarantine) if held.keys.len()]
    return PartitionSummary(
        partition=clean.partition,
        first=min(keys, default=None),
        position=clean.position,
        read=before + clean.left_out_before + read + clean.expired,
        clean=clean.keys.len(),
        quarantined=quarantine.keys.len(),
        filtered=clean.left_out_before + max(0, read - kept),
        gaps=_gaps(clean, min(keys, default=None), read),
        expired=clean.expired + invariants.lost_rejects(clean, quarantine),
        accepted_gaps=clean.accepted_gaps,
        left_out=clean.left_out_before + sum(r.left_out for r in clean.ranges),
    )


def _gaps(clean: TablePartition, first: int | None, read: int) -> int | None:
    """Count the offsets of the ledger's ranges without a record."""
    if clean.coordinates.sub is not None or not clean.ranges:
        return None
    start, end = clean.ranges[0].start, clean.ranges[-1].end.number
    begin = start.number if start else min(end if first is None else first, end)
    return max(0, end - begin - read - sum(r.expired for r in clean.ranges))


# Before the ledger begins, only the density of the offsets can be checked.


def _sparse(clean: TablePartition, quarantine: TablePartition) -> Iterator[Finding]:
    """Check that the rows before the ledger begins are dense."""
    edge, found = clean.edge, _together(clean, quarantine)
    if edge is None or (found.is_empty() and clean.begin is None):
        return
    if clean.coordinates.sub is None:
        first = _first(clean, found)
        missing = _missing_offsets(found, first, edge.number) - _expired_before(clean, quarantine)
        missing += clean.amended_before - clean.left_out_before
        what = f"{missing} offsets between {first} and {edge.number}" if missing > 0 else ""
    else:
        unseen = not (clean.ranges or clean.left_out) and clean.key(edge) > found[-1]
        what = f"the records from {found[-1]} to the position {text(edge)}" if unseen else ""
    if what:
        detail = f"{what} are in neither table, and no ledger entry explains them"
        yield Finding(FindingKind.GAP, clean.partition, detail)


def _unproven(clean: TablePartition, quarantine: TablePartition) -> Iterator[Unknown]:
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
    missing = _missing_offsets(found, _first(clean, before), edge.number) + clean.amended_before
    if missing - clean.left_out_before < expired:
        since = f"{expired} offsets expired before the log begins"
        yield Unknown(clean.partition, f"{since}: which ones, and whether others are missing")


def _first(clean: TablePartition, found: pl.Series) -> int:
    """Return the first offset that must have a row: the first start's or the first row's."""
    begins = [at.number for at in (clean.begin, clean.edge) if at is not None]
    return min([*begins, *map(int, found.head(1))])


def _expired_before(clean: TablePartition, quarantine: TablePartition) -> int:
    """Return how many expired offsets the ledger does not list; a sink that was behind has more."""
    return max(clean.expired_before, quarantine.expired_before)


def _certain(findings: Iterable[Finding], unsure: Mapping[str, int]) -> Iterator[Finding]:
    """Yield the findings that hold whether or not the `unsure` rows belong to this incarnation."""
    absent = {FindingKind.MISSING, FindingKind.GAP} if any(unsure.values()) else set()
    return (finding for finding in findings if finding.kind not in absent)


def _ambiguous(partition: Partition, unsure: Mapping[str, int]) -> Iterator[Unknown]:
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
