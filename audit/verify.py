"""Proof from the data: each record is in the clean table or its quarantine, exactly once.

Three witnesses must agree for every partition: the rows' own coordinates, the stored positions
(`txn` actions) and the ledger in the commits. Where the log has expired the ledger is silent, and
offsets must be dense instead; Kinesis's sequence numbers are never dense. A Parquet archive is a
fourth: its chains have no gap, and agree with the ledger.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from audit import archive, density, identity, invariants
from audit.archive import Archive
from audit.identity import Told
from audit.invariants import Finding, Held, Unknown
from audit.snapshot import Snapshot
from core.batch import Partition, Position
from sinks.delta.target import Tables

Watch = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Tally:
    """One partition in numbers.

    `first`: the first row's offset or `sequence.subsequence`. `read`: records up to the position,
    which are clean, quarantined, filtered by the transform, or expired unread as the operator
    accepted; where the ledger no longer reaches, only the rows are counted. `gaps`: offsets up to
    the position that gave no record (compaction, transaction markers, aborted records); a lower
    bound where the ledger does not say where the partition began, None where there is none, and
    on Kinesis. `accepted_gaps`: stretches of a shard of which records may have expired unread.
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
    """All differences, the partitions and chains, and what the data cannot prove.

    Each record is there exactly once when there is neither a difference nor an unknown. `unsure`:
    partitions with rows that may be of this incarnation or of another. `lives`: the epochs that the
    sinks keep, to be compared with the source's.
    """

    findings: tuple[Finding, ...]
    tallies: tuple[Tally, ...]
    chains: tuple[archive.Tally, ...] = ()
    unknown: tuple[Unknown, ...] = ()
    unsure: tuple[Partition, ...] = ()
    lives: tuple[Told, ...] = ()


def snapshots(tables: Tables) -> tuple[Snapshot, Snapshot]:
    """Open the clean table as it is now, then its quarantine.

    Raises SinkError when one cannot be opened: its message names the file.
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
    """As `verify`, on snapshots; `watch` is told what was done, and how much of how much.

    `listed`: the source's partitions: one whose rows and ledger are gone is known by its position
    or by an archive.
    Memory: the keys of both tables, 8 bytes a row on Kafka, and four times those of the largest
    partition.
    """
    watch(clean.name, 0, 1)
    clean_keys, quarantine_keys = clean.keys(), quarantine.keys()
    told = {*clean_keys, *quarantine_keys, *clean.ledgered(), *quarantine.ledgered()}
    told |= clean.gapped()
    ends = [clean.end, quarantine.end, *(a.end for a in archives)]
    told |= {*clean.unsure, *quarantine.unsure}
    known = sorted(told | {p for p in set(listed) - told if any(end(p) for end in ends)})
    findings, tallies, chains = [*clean.damaged, *quarantine.damaged], [], []
    unknown: list[Unknown] = []
    lives: list[Told] = []
    for n, partition in enumerate(known):
        watch(str(partition), n, len(known))
        good = clean.held(partition, clean_keys.pop(partition, None))
        bad = quarantine.held(partition, quarantine_keys.pop(partition, None))
        unsure = {side.name: side.unsure.get(partition, 0) for side in (clean, quarantine)}
        found = [*invariants.check(good, bad), *density.gaps(good, bad)]
        findings += density.sure(found, unsure)
        unknown += [*density.unknown(good, bad), *density.whose(partition, unsure)]
        tallies.append(_tally(good, bad))
        own: dict[str, Position | None] = {}
        for chained in archives:
            broken, tally = archive.check(chained, good)
            findings += broken
            chains.append(tally)
            own[chained.name] = tally.end
        findings += identity.apart(good, bad, own)
        lives += identity.told(good, bad, own)
    watch("", len(known), len(known))
    findings += [*clean.lost, *quarantine.lost]
    once = tuple(dict.fromkeys(findings))
    doubtful = tuple(sorted({*clean.unsure, *quarantine.unsure}))
    return Report(once, tuple(tallies), tuple(chains), tuple(unknown), doubtful, tuple(lives))


def _tally(clean: Held, quarantine: Held) -> Tally:
    read = sum(r.read for r in clean.ranges)
    kept = sum(r.clean + r.quarantined for r in clean.ranges)
    before = sum(held.read_before([clean.edge])[0] for held in (clean, quarantine))
    firsts = [held.keys[0] for held in (clean, quarantine) if held.keys.len()]
    return Tally(
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


def _gaps(clean: Held, first: int | None, read: int) -> int | None:
    """Offsets that the ledger's ranges cover, less the records that were there."""
    if clean.coordinates.sub is not None or not clean.ranges:
        return None
    start, end = clean.ranges[0].start, clean.ranges[-1].end.number
    begin = start.number if start else min(end if first is None else first, end)
    return max(0, end - begin - read - sum(r.expired for r in clean.ranges))
