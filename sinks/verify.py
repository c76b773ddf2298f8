"""Proof from the data: each record is in the clean table or its quarantine, exactly once.

Three witnesses must agree for every partition: the rows' own coordinates, the stored positions
(`txn` actions) and the ledger in the commits. Where the log has expired the ledger is silent, and
offsets must be dense instead; Kinesis's sequence numbers are never dense.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl
from deltalake import DeltaTable

from pinpip.batch import Coordinates, Partition, Position
from pinpip.errors import PositionLost
from sinks import ledger, proof, rows, table, transactions
from sinks.ledger import Entry, Range
from sinks.proof import Finding, Held, Kind


@dataclass(frozen=True)
class Tables:
    """A pipeline's clean table and its quarantine, and the app id of its positions."""

    clean: str
    quarantine: str
    options: dict[str, str]
    coordinates: Coordinates
    app: str
    folder: str = ""


@dataclass(frozen=True)
class Tally:
    """One partition in numbers.

    `read`: records that the ledger still knows of. `end`: the source's, when it was handed in.
    `lag`: offsets from the position to the end, an upper bound as offsets have gaps; None where
    it cannot be told: without an end, or on Kinesis.
    """

    partition: Partition
    read: int
    clean: int
    quarantined: int
    position: Position | None
    end: Position | None
    lag: int | None

    @property
    def behind(self) -> bool:
        """Whether the source holds more than the tables."""
        return self.end is not None and (self.position is None or self.position < self.end)


@dataclass(frozen=True)
class Report:
    """All differences, none when each record is there exactly once, and the partitions."""

    findings: tuple[Finding, ...]
    tallies: tuple[Tally, ...]


def verify(tables: Tables, ends: Mapping[Partition, Position] | None = None) -> Report:
    """Compare rows, positions and ledger of every partition; `ends` are the source's, if known.

    Reads one snapshot of each table, the clean one first. Raises SinkError when a table cannot
    be opened: its message names the file.
    """
    sides = [_Side(tables, uri) for uri in (tables.clean, tables.quarantine)]
    known = set[Partition](ends or {}).union(*(side.partitions() for side in sides))
    findings = [f for side in sides for f in side.damaged]
    tallies = []
    for partition in sorted(known):
        clean, quarantine = (side.held(partition) for side in sides)
        findings += proof.check(clean, quarantine)
        tallies.append(_tally(clean, quarantine, (ends or {}).get(partition)))
    findings += [f for side in sides for f in side.lost]
    return Report(tuple(dict.fromkeys(findings)), tuple(tallies))


def _tally(clean: Held, quarantine: Held, end: Position | None) -> Tally:
    return Tally(
        partition=clean.partition,
        read=sum(r.read for r in clean.ranges),
        clean=clean.keys.len(),
        quarantined=quarantine.keys.len(),
        position=clean.position,
        end=end,
        lag=_lag(clean, end),
    )


def _lag(clean: Held, end: Position | None) -> int | None:
    if end is None or clean.coordinates.sub is not None:
        return None
    return max(0, end.number - (clean.position.number if clean.position else 0))


class _Side:
    """One of the two tables, opened once. `lost` and `damaged` are what could not be read."""

    def __init__(self, tables: Tables, uri: str) -> None:
        self._tables = tables
        self._uri = uri
        self._table = table.find_own(uri, tables.options, tables.coordinates)
        self.lost: list[Finding] = []
        self.damaged: list[Finding] = []
        self._ranges = self._read_ledger(self._table) if self._table else {}

    def partitions(self) -> set[Partition]:
        """Those with rows or ledger entries."""
        coordinates = self._tables.coordinates
        names = self._rows().select(coordinates.source, coordinates.partition).unique().collect()
        return {Partition(s, str(p)) for s, p in names.iter_rows()} | set(self._ranges)

    def held(self, partition: Partition) -> Held:
        """All that the table says of `partition`."""
        coordinates = self._tables.coordinates
        own = self._rows().filter(coordinates.of(partition))
        return Held(
            table=self._uri,
            partition=partition,
            coordinates=coordinates,
            keys=proof.keys(own, coordinates).collect().to_series(),
            ranges=self._ranges.get(partition, []),
            position=self._position(partition),
        )

    def _rows(self) -> pl.LazyFrame:
        if self._table is None:
            return pl.LazyFrame(schema=dict(self._tables.coordinates.metadata))
        return rows.scan(self._table, self._tables.options, self._tables.folder)

    def _position(self, partition: Partition) -> Position | None:
        if self._table is None:
            return None
        lookup = self._table.transaction_version
        try:
            return transactions.read(lookup, self._tables.app, partition, self._tables.coordinates)
        except PositionLost as error:
            self.lost.append(Finding(Kind.POSITION, partition, f"{self._uri}: {error.message}"))
            return None

    def _read_ledger(self, found: DeltaTable) -> dict[Partition, list[Range]]:
        ranges: dict[Partition, list[Range]] = defaultdict(list)
        for version, text in sorted(ledger.texts(found)):
            entry = self._decoded(version, text)
            if entry is not None and entry.app == self._tables.app:
                for r in entry.ranges:
                    ranges[r.of].append(r)
        return dict(ranges)

    def _decoded(self, version: int, text: str) -> Entry | None:
        try:
            return ledger.decode(text)
        except ValueError:
            detail = f"{self._uri}: the ledger entry of version {version} is damaged"
            self.damaged.append(Finding(Kind.LEDGER, None, detail))
            return None
