"""Read one version of a pipeline's Delta table: its rows, its ledger and its positions."""

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from typing import Literal

import polars as pl
from deltalake import DeltaTable

from audit import invariants
from audit.invariants import Finding, FindingKind, TablePartition
from core.batch import Coordinates, Partition, Position, Stretch
from core.errors import PositionLost, SinkError
from core.paths import to_delta_rs
from core.protocols import Options
from sinks.delta import history, ledger, marks, origins, positions, scan, settled, table, txns
from sinks.delta.history import LedgerCommit
from sinks.delta.incarnation_reader import IncarnationReader
from sinks.delta.keys import dtype
from sinks.delta.ledger import Entry
from sinks.delta.positions import Lookup
from sinks.delta.settled import Told
from sinks.delta.txns import Application

_MAX_GROUP_ROWS = 500_000  # of files that are read together; a single file may have more
_MAX_GROUP_FILES = 2_000  # polars takes 10 KB per file, however small it is


class Snapshot:
    """The newest version of the table at `uri`; later commits are not seen.

    `app` names the positions, `folder` the data files of the incarnation to read. `lost` and
    `damaged` are the positions and ledger entries that could not be read. Raises SinkError when
    the table or a data file cannot be opened.
    """

    def __init__(
        self,
        uri: str,
        stage: Literal["clean", "rejected"],
        options: Options,
        coordinates: Coordinates,
        app: str,
        folder: str,
    ) -> None:
        self.name = uri
        self.stage = stage
        self._coordinates = coordinates
        self._app = app
        self._options = options
        self._opened = table.find_own(uri, options, coordinates)
        self._opened_with = options()
        self._lives: IncarnationReader | None = None
        if self._opened is not None:
            self._lives = IncarnationReader(self._opened, options, coordinates, app, folder)
        self.lost: list[Finding] = []
        self.damaged: list[Finding] = []

    @property
    def _table(self) -> DeltaTable | None:
        """The version that was opened first; opened again when the credentials have changed."""
        today = self._options()
        if self._opened is not None and today != self._opened_with:
            version = self._opened.version()
            with table.sorted_errors(self.name):
                self._opened = DeltaTable(to_delta_rs(self.name), version, storage_options=today)
            self._opened_with = today
        return self._opened

    @property
    def seen(self) -> tuple[str, int] | None:
        """The Delta table's own id and the version that is read; None: there is no table."""
        opened = self._opened
        return None if opened is None else (str(opened.metadata().id), opened.version())

    @property
    def height(self) -> int:
        """An upper bound of the number of rows, by the statistics of the files."""
        return int(self._files["num_records"].sum())

    def keys(self, read: Callable[[int], None] = lambda _: None) -> dict[Partition, pl.Series]:
        """Return the sorted keys of each partition's rows (see `invariants.keys`).

        Reads groups of files one after another: all at once would need four times the memory.
        `read` is told of the rows of each group.
        """
        c = self._coordinates
        parts: dict[Partition, list[pl.Series]] = defaultdict(list)
        for paths in self._groups():
            with self._readable():
                rows = invariants.keys(self._read(paths), c, [c.source, c.partition]).collect()
                found = rows.partition_by([c.source, c.partition], as_dict=True)
            read(rows.height)
            for (source, id_), frame in found.items():
                parts[Partition(str(source), str(id_))].append(frame["key"].rechunk())
        return {partition: pl.concat(parts.pop(partition)).sort() for partition in list(parts)}

    def held(self, partition: Partition, keys: pl.Series | None) -> TablePartition:
        """Return the table's content for `partition`, whose rows have `keys`."""
        none = pl.Series("key", [], dtype(self._coordinates))
        return TablePartition(
            table=self.name,
            partition=partition,
            coordinates=self._coordinates,
            keys=none if keys is None else keys,
            ranges=self._ledger.ranges.get(partition, []),
            amendments=self._ledger.amendments.get(partition, []),
            position=self.position(partition),
            expired=self.expired(partition),
            accepted_gaps=self.accepted_gaps(partition),
            origin=origins.origin(self._txns, self._app, partition, self._coordinates),
            begin=origins.begin(self._txns, self._app, partition, self._coordinates),
            left_out=positions.read_left_out(self._txns, self._app, partition)[0],
        )

    @property
    def committed_at(self) -> datetime | None:
        """The time of this incarnation's newest commit in the log."""
        return self._commits[0][0].at if self._commits else None

    @property
    def replaced(self) -> int:
        """How many replacements of rows the table has seen."""
        return marks.read(self._txns, self._app).number

    @property
    def tests(self) -> set[str | None]:
        """The tests of `where` in this incarnation's commits, as JSON; None takes all."""
        return {entry.where for _, entry in self._commits if entry.ranges}

    def ledgered(self) -> set[Partition]:
        """Return the partitions of the ledger."""
        return set(self._ledger.ranges)

    def partitions(self) -> set[Partition]:
        """Return the partitions of which it has a position or a commit."""
        return self.ledgered() | positions.partitions(self._applications, self._app)

    def commits(self, limit: int | None = None) -> list[tuple[LedgerCommit, Entry]]:
        """Return this incarnation's commits, newest first; reads at most `limit` of the table's."""
        return self._commits if limit is None else self._read_commits(limit)

    def _read_commits(self, limit: int | None) -> list[tuple[LedgerCommit, Entry]]:
        held = self._table
        found = history.commits(held, self._options, limit) if held else []
        entries = [(commit, self._decoded(commit)) for commit in found]
        return [(commit, e) for commit, e in entries if e is not None and e.app == self._app]

    def position(self, partition: Partition) -> Position | None:
        """Return the stored position; a damaged one gives None and a finding in `lost`."""
        if self._opened is None:
            return None
        try:
            with table.sorted_errors(self.name):
                return positions.read_with_epoch(
                    self._txns, self._app, partition, self._coordinates
                )
        except PositionLost as error:
            self.lost.append(
                Finding(FindingKind.POSITION, partition, f"{self.name}: {error.message}")
            )
            return None

    def expired(self, partition: Partition) -> int:
        """Return how many of the partition's offsets expired unread, as the operator accepted."""
        if self._opened is None:
            return 0
        with table.sorted_errors(self.name):
            return positions.read_expired(self._txns, self._app, partition)

    def accepted_gaps(self, partition: Partition) -> int:
        """Return how many stretches of a shard expired unread, as far as the operator accepted."""
        with table.sorted_errors(self.name):
            return positions.accepted_gaps(self._txns, self._app, partition)

    def gapped(self) -> set[Partition]:
        """Return the shards with accepted gaps: a shard may have neither rows nor a position."""
        with table.sorted_errors(self.name):
            return positions.gapped(self._applications, self._app)

    def tip(self, partition: Partition) -> int | None:
        """Return since when records of a shard may be unread, in milliseconds; None: unknown.

        For a shard that was never read to its end: since the pipeline began.
        """
        with table.sorted_errors(self.name):
            begun = origins.origin(self._txns, self._app, partition, self._coordinates)
            tip = positions.tip(self._txns, self._app, partition)
        return tip if tip is not None or begun is None else begun.number

    def begin(self, partition: Partition) -> None:
        """Return None: rows of a table do not expire."""

    def end(self, partition: Partition) -> Position | None:
        """Return the position up to which it stores the source's records."""
        return self.position(partition)

    def rows(self, stretches: Mapping[Partition, Stretch]) -> pl.DataFrame:
        """Return the rows of the stretches; skips data files without such rows."""
        return self.located(stretches, None)

    def located(self, stretches: Mapping[Partition, Stretch], file: str | None) -> pl.DataFrame:
        """Return the rows as `rows` does, with each row's data file in the column `file`."""
        paths = scan.touching(self._files, self._coordinates, stretches)
        with self._readable():
            found = self._read(paths, file)
            return found.filter(self._coordinates.within(stretches)).collect()

    def draw(self, rng: random.Random) -> tuple[Partition, Position] | None:
        """Return the position before a row drawn about uniformly by `rng`, None without rows."""
        c = self._coordinates
        left = dict(self._files.select("path", "num_records").iter_rows())
        while any(left.values()):
            [path] = rng.choices(list(left), list(left.values()))
            with self._readable():
                found = self._read([path]).select(c.identity).collect()
            if found.height:
                at = found.row(rng.randrange(found.height))
                sub = None if c.sub is None else at[3]
                return Partition(at[0], str(at[1])), c.before(at[2], sub)
            del left[path]
        return None

    @cached_property
    def unsure(self) -> dict[Partition, int]:
        """How many rows of each partition may belong to this incarnation or to another."""
        paths = self._files["path"].to_list()
        with self._readable():
            found = self._lives.unsure(paths) if self._lives else None
            return {} if found is None else self._coordinates.counts(found.collect())

    @cached_property
    def _applications(self) -> Mapping[str, Application]:
        held = self._table
        return txns.read(held, self._options) if held else {}

    @cached_property
    def _txns(self) -> Lookup:
        return txns.lookup(self._applications)

    @cached_property
    def _files(self) -> pl.DataFrame:
        if self._lives is None:
            return pl.DataFrame(schema={"path": pl.String, "num_records": pl.Int64})
        found = self._lives.files.sort("path")
        return found.with_columns(pl.col("num_records").fill_null(_MAX_GROUP_ROWS))

    def _groups(self) -> Iterator[list[str]]:
        """Yield the data files in groups that are read together."""
        group: list[str] = []
        held = 0
        for path, size in self._files.select("path", "num_records").iter_rows():
            if len(group) == _MAX_GROUP_FILES or (group and held + size > _MAX_GROUP_ROWS):
                yield group
                group, held = [], 0
            group.append(path)
            held += size
        if group:
            yield group

    def _read(self, paths: list[str], file: str | None = None) -> pl.LazyFrame:
        if self._lives is None:
            return pl.LazyFrame(schema=dict(self._coordinates.metadata))
        return self._lives.scan(paths, file)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pl.exceptions.PolarsError) as error:
            raise SinkError(
                f"rows of {self.name} cannot be read: {str(error)[:400]}",
                "a data file that is gone or damaged must be restored from a backup",
            ) from error

    @cached_property
    def _commits(self) -> list[tuple[LedgerCommit, Entry]]:
        return self._read_commits(None)

    @cached_property
    def _ledger(self) -> Told:
        """The ledger with the sums of expired commits."""
        if self._opened is None:
            return Told({}, {})
        with table.sorted_errors(self.name):
            sums = settled.before(self.name, self._options)
        return settled.told(sums, self._app, [(c.version, e) for c, e in reversed(self._commits)])

    def _decoded(self, commit: LedgerCommit) -> Entry | None:
        try:
            return ledger.decode(commit.text)
        except ValueError:
            detail = f"{self.name}: the ledger entry of version {commit.version} is damaged"
            self.damaged.append(Finding(FindingKind.LEDGER, None, detail))
            return None
