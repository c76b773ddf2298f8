"""A lake of emulated records with dirt, repeated keys and ties, written by the product's own sinks.

Its rows are a function of the arguments, their times too. A key's pin, geo and user come in up to
four versions: the first two share a timestamp and take different routes, so do the next two, which
are later. Every fiftieth key is sent once more, last and with an old time.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import yaml

from core.batch import (
    HEADERS,
    HEADERS_DTYPE,
    KAFKA,
    VALUE,
    Coordinates,
    Partition,
    Position,
    Positions,
    Records,
    Span,
)
from core.config import Config
from pinpip import configfile
from pinpip.connectors import coordinates_of
from pinpip.pipelines import process_of, sinks_of
from producers.emulator import event
from producers.malformed import MalformedRecords
from tests.support.batches import FIRST_SEQUENCE
from tests.support.clock import ManualClock
from tests.support.places import ROOT

KEYS = 1_300
COMMITS = 12  # of each table
BAD = 0.03  # share of bad payloads beside the good ones
PARTITIONS = 3
STEP = timedelta(milliseconds=400)  # from one key's records to the next one's
_START = datetime(2026, 1, 1, tzinfo=UTC)

Row = tuple[str, datetime, bytes]  # key, time, payload


@dataclass(frozen=True)
class _Sent:
    """One version of a key, on one route."""

    key: int
    version: int
    at: datetime
    streaming: bool

    def payloads(self, record: str, spoiler: MalformedRecords, number: int) -> Iterator[bytes]:
        row = event(self.version, self.key).rows[record]
        yield json.dumps(row).encode()
        for bad in spoiler.beside(number, record, row, text_only=self.streaming):
            yield bad if isinstance(bad, bytes) else json.dumps(bad).encode()


def fill(folder: Path, keys: int = KEYS, first: int = 0) -> Config:
    """Write config.yaml and add the records of `keys` keys from `first` on to the lake beside it.

    Raw and clean archives of the Kafka pipelines are beside it too.
    """
    config = _config(folder)
    sent = list(_sent(range(first, first + keys)))
    for name in config.pipelines:
        _consume(config, name, [each for each in sent if each.streaming == ("streaming" in name)])
    return config


def _config(folder: Path) -> Config:
    tree = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    tree["lake"] = {"root": "lake"}
    for name, pipeline in tree["pipelines"].items():
        archives = [{"parquet": stage, "stage": stage} for stage in ("raw", "clean")]
        pipeline["sinks"] = [{"delta": name}, *([] if "streaming" in name else archives)]
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return configfile.load(path, {})


def _sent(keys: Sequence[int]) -> Iterator[_Sent]:
    """Yield the versions of the keys in the order of their arrival."""
    first = _START + keys[0] * 2 * STEP
    later = [key for key in keys if key % 3 == 0]
    rounds = [(key, version) for version, some in ((1, keys), (3, later)) for key in some]
    for number, (key, version) in enumerate(rounds):
        at = first + number * STEP
        yield _Sent(key, version, at, streaming=key % 2 == 0)
        yield _Sent(key, version + 1, at, streaming=key % 2 == 1)
    for key in keys:
        if key % 50 == 0:
            yield _Sent(key, 5, _START - timedelta(days=1), streaming=key % 4 == 0)


def _consume(config: Config, name: str, sent: Sequence[_Sent]) -> None:
    """Hand the pipeline's records to its sinks in COMMITS batches, each 2 s after its last one."""
    pipeline, clock = config.pipeline(name), ManualClock()
    process = process_of(pipeline, keep_values=True)
    sinks = sinks_of(config, name, process, clock)
    log = _Log(pipeline.reads[0], coordinates_of(pipeline), name.rpartition("_")[2])
    for sink in reversed(sinks):
        held = sink.positions(log.partitions)
    size = -(-len(sent) // COMMITS)
    for begin in range(0, len(sent), size):
        some = sent[begin : begin + size]
        records = log.records(some, begin, held)
        held = {p: span.end for p, span in records.spans.items()}
        clock.advance((max(each.at for each in some) - clock.now()).total_seconds() + 2)
        batch = process(records)
        for sink in sinks:
            sink.write(batch)
    for sink in sinks:
        sink.close()


@dataclass(frozen=True)
class _Log:
    """A topic or stream of one record type, of which a key always has the same partition."""

    source: str
    coordinates: Coordinates
    record: str

    @property
    def partitions(self) -> list[Partition]:
        kafka = self.coordinates is KAFKA
        names = [f"{n}" if kafka else f"shardId-{n:012d}" for n in range(PARTITIONS)]
        return [Partition(self.source, name) for name in names]

    def records(self, sent: Sequence[_Sent], number: int, held: Positions) -> Records:
        """Return the records that follow `held`; `number`: how many events came before."""
        spoiler = MalformedRecords(BAD, seed=1)
        rows: dict[Partition, list[Row]] = {partition: [] for partition in self.partitions}
        for n, each in enumerate(sent, number):
            partition = self.partitions[each.key // 3 % PARTITIONS]
            for value in each.payloads(self.record, spoiler, n):
                rows[partition].append((str(each.key), each.at, value))
        frames = [self._frame(p, own, held[p]) for p, own in rows.items()]
        spans = {p: self._span(held[p], len(own)) for p, own in rows.items()}
        return Records(pl.concat(frames), spans, self.coordinates)

    def _first(self, held: Position | None) -> int:
        """Return the number of the record that a reader at `held` reads next."""
        if held is None:
            return 0 if self.coordinates is KAFKA else FIRST_SEQUENCE
        return held.number if self.coordinates is KAFKA else held.number + 1

    def _span(self, held: Position | None, count: int) -> Span:
        last = self._first(held) + count - 1
        end = self.coordinates.after(last, None if self.coordinates.sub is None else 0)
        return Span(held, end, count)

    def _frame(
        self, partition: Partition, rows: Sequence[Row], held: Position | None
    ) -> pl.DataFrame:
        c, first = self.coordinates, self._first(held)
        numbers = [c.column_value(Position(first + n)) for n in range(len(rows))]
        columns = {
            c.source: [partition.source] * len(rows),
            c.partition: [int(partition.id) if c is KAFKA else partition.id] * len(rows),
            c.number: numbers,
            **({} if c.sub is None else {c.sub: [0] * len(rows)}),
            c.key: [row[0] for row in rows],
            "_timestamp": [row[1] for row in rows],
            VALUE: [row[2] for row in rows],
            HEADERS: [None] * len(rows),
        }
        schema = {**c.metadata, VALUE: pl.Binary(), HEADERS: HEADERS_DTYPE}
        return pl.DataFrame(columns, schema=schema)
