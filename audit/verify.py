"""Verify that each record is in the clean table or its quarantine, exactly once.

Three sources must agree for every partition: the rows' coordinates, the stored positions (`txn`
actions) and the ledger in the commits. Where the log has expired there is no ledger, and offsets
must be dense instead; Kinesis's sequence numbers are never dense. A Parquet archive is a fourth
source: its chains must have no gap and agree with the ledger.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from audit import archive, density, identity, invariants
from audit.archive import Archive
from audit.identity import SinkEpoch
from audit.invariants import Finding, TablePartition, Unknown
from audit.snapshot import Snapshot
from core.batch import Partition, Position
from sinks.delta.target import Tables

Watch = Callable[[str, int, int], None]


@dataclass(frozen=True)
class PartitionSummary:
    """The counts of one partition.

    `first`: the first row's offset or `sequence.subsequence`. `read`: records up to the position:
    clean, quarantined, filtered by the transform, or expired unread as the operator accepted;
    before the ledger begins, only rows are counted. `gaps`: offsets up to the position without a
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
    watch(clean.name, 0, 1)
    clean_keys, quarantine_keys = clean.keys(), quarantine.keys()
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
        checked = [*invariants.check(good, bad), *density.gaps(good, bad)]
        findings += density.certain(checked, unsure)
        unknown += [*density.unknown(good, bad), *density.ambiguous(partition, unsure)]
        tallies.append(_tally(good, bad))
        own: dict[str, Position | None] = {}
        for chained in archives:
            broken, tally = archive.check(chained, good)
            findings += broken
            chains.append(tally)
            own[chained.name] = tally.end
        findings += identity.conflicting(good, bad, own)
        lives += identity.sink_epochs(good, bad, own)
    watch("", len(known), len(known))
    findings += [*clean.lost, *quarantine.lost]
    once = tuple(dict.fromkeys(findings))
    doubtful = tuple(sorted({*clean.unsure, *quarantine.unsure}))
    return Report(once, tuple(tallies), tuple(chains), tuple(unknown), doubtful, tuple(lives))


def _tally(clean: TablePartition, quarantine: TablePartition) -> PartitionSummary:
    read = sum(r.read for r in clean.ranges)
    kept = sum(r.clean + r.quarantined for r in clean.ranges)
    before = sum(held.read_before([clean.edge])[0] for held in (clean, quarantine))
    firsts = [held.keys[0] for held in (clean, quarantine) if held.keys.len()]
    return PartitionSummary(
        partition=clean.partition,
        first=min(firsts, default=None),
        position=clean.position,
        read=before + read + clean.expired,
        clean=clean.keys.len(),
        quarantined=quarantine.keys.len(),
        filtered=max(0, read - kept),
        gaps=_gaps(clean, min(firsts, default=None), read),
        expired=clean.expired + invariants.lost_rejects(clean, quarantine),
        accepted_gaps=clean.accepted_gaps,
    )


def _gaps(clean: TablePartition, first: int | None, read: int) -> int | None:
    """Count the offsets of the ledger's ranges without a record."""
    if clean.coordinates.sub is not None or not clean.ranges:
        return None
    start, end = clean.ranges[0].start, clean.ranges[-1].end.number
    begin = start.number if start else min(end if first is None else first, end)
    return max(0, end - begin - read - sum(r.expired for r in clean.ranges))
