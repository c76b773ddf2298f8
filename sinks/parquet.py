"""The Parquet sink: per partition a chain of objects, each named by where the last one ended.

The next object's name is thereby settled before it is written, and a store creates a name only
once: two writers that believe to own a partition meet on one name, and one of them loses.
"""

import io
import json
import uuid
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Literal, NotRequired, TypedDict

import polars as pl

from pinpip.batch import Batch, Coordinates, Partition, Position, Span
from pinpip.epochs import refuse_another
from pinpip.errors import PositionLost, StalePosition, TransientError
from sinks.store import Store

KEY = "pinpip"
_WRITERS = 8
_LAST_SUB = 10**10 - 1
_Stage = Literal["raw", "clean"]


class About(TypedDict):
    """What each object says of itself, in the store's metadata and in the Parquet footer.

    `start` and `end` are spelled as in names: an object's end is its successor's name. `epoch` is
    that of `end`, if the source told it.
    """

    start: str
    end: str
    records: int
    writer: str
    epoch: NotRequired[int | None]


class ParquetSink:
    """Exactly once into `<source>/partition=<id>/<source>+<id>+<start>.parquet` below the store.

    `stage` says which frame of a batch is kept: `raw` is an archive to replay from. A batch
    without rows is an empty object: it advances the position.
    """

    def __init__(self, store: Store, stage: _Stage, coordinates: Coordinates, name: str) -> None:
        self.name = name
        self.stage = stage
        self._store = store
        self._coordinates = coordinates
        self._writer = uuid.uuid4().hex
        self._own: dict[Partition, Position | None] = {}

    def positions(self, partitions: Collection[Partition]) -> dict[Partition, Position | None]:
        """Where each chain ends, from a listing; None: it has no object yet.

        Raises PositionLost when the last object does not say where it ends.
        """
        with ThreadPoolExecutor(_WRITERS) as pool:
            ends = list(pool.map(self._end, partitions))
        found = dict(zip(partitions, ends, strict=True))
        self._own |= found
        return found

    def write(self, batch: Batch) -> None:
        """One object per partition that the batch advances; each is durable by itself.

        Raises StalePosition when another writer holds the next name of a chain, or when the batch
        does not follow the own position; TransientError when the same call may be tried again.
        """
        due = {p: span for p, span in batch.spans.items() if self._advances(p, span)}
        rows = batch.raw if self.stage == "raw" else batch.clean
        with ThreadPoolExecutor(_WRITERS) as pool:
            tries = [pool.submit(self._append, rows, p, span) for p, span in due.items()]
        errors = [error for done in tries if (error := done.exception())]
        if errors:
            raise min(errors, key=lambda error: isinstance(error, TransientError))

    def close(self) -> None:
        """Nothing is ever put off."""

    def _advances(self, partition: Partition, span: Span) -> bool:
        if partition not in self._own:
            raise StalePosition(f"{self.name}: the position of {partition} was not read yet")
        own = self._own[partition]
        refuse_another(partition, own, span.end.epoch)
        if own is not None and span.end <= own:
            return False
        if span.start is not None and (own is None or span.start > own):
            raise StalePosition(
                f"{self.name}: {partition} is held up to {own}, the batch starts at {span.start}"
            )
        return True

    def _append(self, rows: pl.DataFrame, partition: Partition, span: Span) -> None:
        own = self._own[partition]
        epoch = own.epoch if own and own.epoch is not None else span.end.epoch
        new = rows.filter(self._coordinates.of(partition) & self._coordinates.unread(own))
        about = About(
            start=self._spelled(own),
            end=self._spelled(span.end),
            records=new.height,
            writer=self._writer,
            epoch=epoch,
        )
        key = _key(partition, about["start"])
        text = json.dumps(about)
        if not self._store.put_new(key, _encoded(new, text), {KEY: text}):
            self._claim(key, about)
        self._own[partition] = replace(span.end, epoch=epoch)

    def _claim(self, key: str, about: About) -> None:
        """The name is taken: by a lost try of our own, or by another writer."""
        if self._store.metadata(key) is None:
            raise TransientError(f"{self._store.uri}/{key} exists, and cannot be seen yet")
        found = self._about(key)
        if found["writer"] != about["writer"] or found["end"] != about["end"]:
            raise StalePosition(
                f"{self.name}: {self._store.uri}/{key} was written by another consumer"
            )

    def _end(self, partition: Partition) -> Position | None:
        key = self._last_key(partition)
        if key is None:
            return None
        about = self._about(key)
        return replace(_position(about["end"]), epoch=about.get("epoch"))

    def _last_key(self, partition: Partition) -> str | None:
        """The chain's last object, found in leaps: a chain of years has millions of them.

        A leap that lands beyond the end finds nothing, and the next one is half as long.
        """
        folder = _folder(partition)
        keys, more = self._store.page(folder, "")
        leap = _start(keys[-1]).number - _start(keys[0]).number if more else 0
        growth = 2
        while more and leap:
            beyond = Position(_start(keys[-1]).number + leap, _LAST_SUB)
            found, found_more = self._store.page(folder, _key(partition, self._spelled(beyond)))
            if found:
                keys, more, leap = found, found_more, leap * growth
            else:
                growth, leap = 1, leap // 2
        while more:
            keys, more = self._store.page(folder, keys[-1])
        return keys[-1] if keys else None

    def _about(self, key: str) -> About:
        """What the object says of itself; its footer serves where the store kept no metadata."""
        try:
            text = (self._store.metadata(key) or {}).get(KEY)
            footer = text or pl.read_parquet_metadata(io.BytesIO(self._store.read(key)))[KEY]
            about: About = json.loads(footer)
            _position(about["end"])
        except (pl.exceptions.PolarsError, KeyError, ValueError, TypeError) as error:
            raise PositionLost(
                f"{self._store.uri}/{key} does not say where it ends: {error}",
                "restore this object from a backup; if it is the last of its partition it may be "
                "moved away instead, then its records are read again",
            ) from error
        return about

    def _spelled(self, position: Position | None) -> str:
        """A position as names hold it, sorting as text; a fresh chain starts at zero."""
        at = position or Position(0)
        if self._coordinates.sub is None:
            return f"{at.number:020d}"
        return f"{at.number:064d}.{at.sub:010d}"


def _folder(partition: Partition) -> str:
    return f"{partition.source}/partition={partition.id}/"


def _key(partition: Partition, start: str) -> str:
    return f"{_folder(partition)}{partition.source}+{partition.id}+{start}.parquet"


def _start(key: str) -> Position:
    try:
        return _position(key.rpartition("+")[2].removesuffix(".parquet"))
    except ValueError as error:
        raise PositionLost(f"{key} is no object of the archive", "move it elsewhere") from error


def _position(text: str) -> Position:
    number, _, sub = text.partition(".")
    return Position(int(number), int(sub or 0))


def _encoded(rows: pl.DataFrame, about: str) -> bytes:
    body = io.BytesIO()
    rows.write_parquet(body, compression="zstd", compression_level=1, metadata={KEY: about})
    return body.getvalue()
