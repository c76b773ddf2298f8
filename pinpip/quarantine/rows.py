"""The rows of a pipeline's quarantine, chosen by reason, time, partition and offset.

Nothing here holds more than a group of data files: a quarantine may have millions of rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import polars as pl

from consumers.window import TIME, Window
from core.batch import Coordinates, Partition, Position, Stretch
from core.config import Config
from core.errors import ConfigError
from core.topics import is_pattern
from pinpip.pipelines import tables_of
from sinks.delta.incarnation_reader import IncarnationReader
from sinks.delta.scan import Ends, touching
from sinks.delta.table import find_own, sorted_errors
from sinks.delta.target import Tables

READ_AHEAD = 64 * 2**20  # bytes of data files that are read together
REASON, DETAIL, FILE = "reason", "detail", "__file"
_MAX_PARTITIONS = 2**31
VERSIONS = ("transform_version", "pinpip_version")


@dataclass(frozen=True)
class Choice:
    """Which rows: with one of `reasons` (none: any), in `window`, of `partition` (None: any)."""

    reasons: tuple[str, ...] = ()
    window: Window = field(default_factory=Window)
    partition: Partition | None = None


@dataclass(frozen=True)
class Quarantine:
    """One version of a quarantine; only the rows of the pipeline's incarnation are read."""

    tables: Tables
    version: int
    reader: IncarnationReader

    @property
    def coordinates(self) -> Coordinates:
        """How its records are named."""
        return self.tables.coordinates

    def groups(self, choice: Choice) -> list[list[str]]:
        """Return the paths of the files that may have such rows, in groups to be read together."""
        files, where = self.reader.files, choice.partition
        if where is not None:
            paths = touching(files, self.coordinates, {where: _ends(choice.window)})
            files = files.filter(pl.col("path").is_in(paths))
        group = pl.col("size_bytes").cum_sum() // READ_AHEAD
        return files.group_by(group, maintain_order=True).agg("path")["path"].to_list()

    def scan(self, paths: Sequence[str], choice: Choice) -> pl.LazyFrame:
        """Scan the chosen rows of some files; the column FILE has the URI of each row's file."""
        found = self.reader.scan(paths, FILE).filter(_wanted(choice, self.coordinates))
        absent = [name for name in VERSIONS if name not in self.reader.reader.schema]
        return found.with_columns(pl.lit(None, pl.String).alias(name) for name in absent)

    def batches(self, choice: Choice) -> Iterator[pl.DataFrame]:
        """Yield the chosen rows whole, in the order of the table's files."""
        for paths in self.groups(choice):
            with sorted_errors(self.tables.quarantine):
                rows = self.scan(paths, choice)
                yield from rows.collect_batches(maintain_order=True)

    def one(self, partition: Partition, record: Stretch) -> pl.DataFrame:
        """Return the row of one record, or none."""
        within = self.coordinates.within({partition: record})
        paths = touching(self.reader.files, self.coordinates, {partition: record})
        with sorted_errors(self.tables.quarantine):
            return self.scan(paths, Choice()).filter(within).collect()

    def unsure(self) -> int:
        """Count the rows that may be of this incarnation or of another: these are not read."""
        with sorted_errors(self.tables.quarantine):
            found = self.reader.unsure(self.reader.files["path"].to_list())
            return 0 if found is None else int(found.select(pl.len()).collect().item())


def opened(config: Config, name: str) -> Quarantine | None:
    """Open the newest version of the quarantine of the pipeline `name`; None: there is none."""
    tables = tables_of(config, name)
    table = find_own(tables.quarantine, tables.options, tables.coordinates)
    if table is None:
        return None
    rest = (tables.options, tables.coordinates, tables.app, tables.folder)
    return Quarantine(tables, table.version(), IncarnationReader(table, *rest))


def choice_of(
    config: Config,
    name: str,
    reasons: Sequence[str] = (),
    window: Window | None = None,
    partition: str | None = None,
) -> Choice:
    """Return the choice that these words make; `partition`: `2`, `topic/2` or a shard's name.

    Raises ConfigError for offsets of a stream, and for a partition that names no topic of several.
    """
    coordinates, window = tables_of(config, name).coordinates, window or Window()
    if coordinates.sub is not None and (window.first is not None or window.last is not None):
        raise ConfigError(
            f"{name} reads a stream, whose records have no offsets",
            "choose by --partition, --from-time and --until-time",
        )
    where = None if partition is None else partition_of(config, name, partition)
    return Choice(tuple(reasons), window, where)


def partition_of(config: Config, name: str, text: str) -> Partition:
    """Return the partition that `text` names. Raises ConfigError where it cannot name one."""
    source, _, id_ = text.rpartition("/")
    pipeline = config.pipeline(name)
    kafka = tables_of(config, name).coordinates.sub is None
    if not id_ or (kafka and not (id_.isdecimal() and int(id_) < _MAX_PARTITIONS)):
        raise ConfigError(f"{text!r} is no partition", "write its number, or TOPIC/NUMBER")
    if not source and (len(pipeline.reads) > 1 or is_pattern(pipeline.reads[0])):
        raise ConfigError(f"{name} reads several topics", f"write TOPIC/{id_}")
    return Partition(source or pipeline.reads[0], id_)


def _ends(window: Window) -> Ends:
    ends = (window.first, window.last)
    first, last = (None if n is None else Position(n) for n in ends)
    return first, last


def _wanted(choice: Choice, c: Coordinates) -> pl.Expr:
    window, number, time = choice.window, pl.col(c.number), pl.col(TIME)
    tests = [pl.lit(value=True)]
    tests += [pl.col(REASON).is_in(choice.reasons)] if choice.reasons else []
    tests += [c.of(choice.partition)] if choice.partition is not None else []
    tests += [number >= window.first] if window.first is not None else []
    tests += [number < window.last] if window.last is not None else []
    tests += [time >= window.since] if window.since is not None else []
    tests += [time < window.until] if window.until is not None else []
    return pl.all_horizontal(tests)
