"""Proof from the data: each record is in the clean table or its quarantine, exactly once.

Three witnesses must agree for every partition: the rows' own coordinates, the stored positions
(`txn` actions) and the ledger in the commits. Where the log has expired the ledger is silent, and
offsets must be dense instead; Kinesis's sequence numbers are never dense. A Parquet archive is a
fourth: its chains have no gap, and agree with the ledger.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pinpip.batch import Coordinates, Partition, Position
from pinpip.borders import Options
from sinks import archive, proof
from sinks.archive import Archive
from sinks.proof import Finding, Held
from sinks.snapshot import Snapshot

Watch = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Tables:
    """A pipeline's clean table and its quarantine, and the app id of its positions.

    `folder`: where the data files of this incarnation lie (see `sinks.rows`).
    """

    clean: str
    quarantine: str
    options: Options
    coordinates: Coordinates
    app: str
    folder: str = ""


@dataclass(frozen=True)
class Tally:
    """One partition in numbers.

    `first`: the first row's offset or `sequence.subsequence`. `read`: records that the ledger
    still knows of; `filtered`: those of them that the transform let go. `gaps`: offsets up to the
    position that gave no record (compaction, transaction markers, aborted records); a lower bound
    where the ledger does not say where the partition began, None where there is none, and on
    Kinesis.
    """

    partition: Partition
    first: int | str | None
    position: Position | None
    read: int
    clean: int
    quarantined: int
    filtered: int
    gaps: int | None


@dataclass(frozen=True)
class Report:
    """All differences, none when each record is there exactly once, the partitions and chains."""

    findings: tuple[Finding, ...]
    tallies: tuple[Tally, ...]
    chains: tuple[archive.Tally, ...] = ()


def snapshots(tables: Tables) -> tuple[Snapshot, Snapshot]:
    """The clean table as it is now, then its quarantine.

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
) -> Report:
    """As `verify`, on snapshots; `watch` is told what was done, and how much of how much.

    Memory: the keys of both tables, 8 bytes a row on Kafka, and four times those of the largest
    partition.
    """
    watch(clean.name, 0, 1)
    clean_keys, quarantine_keys = clean.keys(), quarantine.keys()
    known = sorted({*clean_keys, *quarantine_keys, *clean.ledgered(), *quarantine.ledgered()})
    findings, tallies, chains = [*clean.damaged, *quarantine.damaged], [], []
    for n, partition in enumerate(known):
        watch(str(partition), n, len(known))
        good = clean.held(partition, clean_keys.pop(partition, None))
        bad = quarantine.held(partition, quarantine_keys.pop(partition, None))
        findings += proof.check(good, bad)
        tallies.append(_tally(good, bad))
        for chained in archives:
            found, tally = archive.check(chained, good)
            findings += found
            chains.append(tally)
    watch("", len(known), len(known))
    findings += [*clean.lost, *quarantine.lost]
    return Report(tuple(dict.fromkeys(findings)), tuple(tallies), tuple(chains))


def _tally(clean: Held, quarantine: Held) -> Tally:
    read = sum(r.read for r in clean.ranges)
    kept = sum(r.clean + r.quarantined for r in clean.ranges)
    firsts = [held.keys[0] for held in (clean, quarantine) if held.keys.len()]
    return Tally(
        partition=clean.partition,
        first=min(firsts, default=None),
        position=clean.position,
        read=read,
        clean=clean.keys.len(),
        quarantined=quarantine.keys.len(),
        filtered=max(0, read - kept),
        gaps=_gaps(clean, min(firsts, default=None), read),
    )


def _gaps(clean: Held, first: int | None, read: int) -> int | None:
    """Offsets that the ledger's ranges cover, less the records that were read there."""
    if clean.coordinates.sub is not None or not clean.ranges:
        return None
    start, end = clean.ranges[0].start, clean.ranges[-1].end.number
    begin = start.number if start else min(end if first is None else first, end)
    return max(0, end - begin - read)
