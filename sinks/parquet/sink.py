"""The Parquet sink: per partition a chain of objects, each named by where the last one ended.

The next object's name is thereby settled before it is written, and a store creates a name only
once: two writers that believe to own a partition meet on one name, and one of them loses.

Rows wait in memory for an object of worthwhile size. What waits when the process dies is read
again, since positions come from the objects only.
"""

import io
import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from math import inf

import polars as pl

from core.batch import Batch, Coordinates, Partition, Position, Positions, Span, reaches
from core.clock import Clock, SystemClock
from core.errors import SinkError, StalePosition, TransientError
from core.sinks import WithoutHistory
from core.slices import ENCODING, rows_of_slice
from core.topic_id import refuse_another
from core.topics import HIDDEN
from sinks.parquet import chain
from sinks.parquet.held import EACH_BATCH, Held, Pace, Part, Stage, Taken, take
from sinks.storage.protocol import Store

_WRITERS = 16  # as many as the client of S3 has connections
FRESH = timedelta(days=1)  # an older end of a chain is listed again before a put
_CLOCK = SystemClock()


class ParquetSink(WithoutHistory):
    """Exactly once into `<source>/partition=<id>/<source>+<id>+<start>.parquet` below the store.

    `stage` says which frame of a batch is kept: `raw` is an archive to replay from. `pace` says how
    long rows are held. Records without rows are an empty object when none with rows comes in time:
    it advances the position.
    """

    def __init__(
        self,
        store: Store,
        stage: Stage,
        coordinates: Coordinates,
        name: str,
        pace: Pace = EACH_BATCH,
        clock: Clock = _CLOCK,
    ) -> None:
        self.name = name
        self.stage = stage
        self._store = store
        self._coordinates = coordinates
        self._clock = clock
        self._writer = uuid.uuid4().hex
        self._own: dict[Partition, Position | None] = {}
        self._known: dict[Partition, datetime] = {}
        self._seen: dict[Partition, Position | None] = {}
        self._released: frozenset[Partition] = frozenset()
        self._gaps: dict[Partition, range] = {}
        self._held = Held(coordinates, pace)
        self._overdue_at = inf

    def positions(self, partitions: Collection[Partition]) -> dict[Partition, Position | None]:
        """Return where each chain ends, from a listing; None: it has no object yet.

        What is held of them is written first, so that it need not be read again: another owner
        only ever takes the name before. Raises PositionLost when the last object does not say where
        it ends, SinkError for a topic whose objects' names are too long for the store.
        """
        self._store.prove()
        for partition in partitions:
            self._refuse_name(partition)
        self._write_what_is_ours(partitions)
        self._held.drop(partitions)
        self._known |= dict.fromkeys(partitions, self._clock.now())
        with ThreadPoolExecutor(_WRITERS) as pool:
            ends = list(pool.map(self._end, partitions))
        found = dict(zip(partitions, ends, strict=True))
        self._own |= found
        self._seen |= found
        self._released = self._released.difference(found)
        return found

    def gaps(self, partitions: Collection[Partition]) -> Mapping[Partition, range]:
        """Return the gaps in the last objects; the next ones come when all sinks have them."""
        return {p: self._gaps[p] for p in partitions if self._gaps.get(p)}

    def prepare(self, batch: Batch) -> Taken:
        """Take the batch's rows beyond what was prepared before.

        Raises StalePosition when the batch does not follow that.
        """
        seen = dict(self._seen)  # a commit of another thread may take some away
        due = {p: seen[p] for p, span in batch.spans.items() if self._advances(p, span, seen)}
        taken = take(batch, self.stage, due)
        self._seen |= {p: part.end for p, part in taken.parts.items()}
        return taken

    def commit(self, prepared: Sequence[Taken]) -> None:
        """Hold these rows, and write one object per partition when it is time.

        Raises StalePosition when another writer holds the next name of a chain, or when rows do not
        follow those that are held; TransientError when the same call may be tried again.
        """
        now = self._clock.monotonic()
        for taken in prepared:
            self._hold(taken, now)
            if any(part.gap for part in taken.parts.values()):
                self._write(self._held.due(now))  # an object tells of one gap
        self._write(self._held.due(now))

    def write(self, batch: Batch) -> None:
        """Prepare and commit one batch. Raises as these."""
        self.commit([self.prepare(batch)])

    def release(self, partitions: Collection[Partition]) -> None:
        """Drop what is held of partitions that another member may write: it reads that again."""
        self._released |= frozenset(partitions)
        self._held.drop(partitions)
        self._overdue_at = self._held.overdue_at

    @property
    def is_overdue(self) -> bool:
        """Whether a row has waited as long as it may. Any thread may ask."""
        return self._clock.monotonic() >= self._overdue_at

    def settle(self) -> None:
        """Write all that is held. Raises as `commit`."""
        while self._held.partitions:
            self._write(self._held.partitions)

    def close(self) -> None:
        """Write all that is held, except for partitions that another writer has moved."""
        self._write_what_is_ours(self._held.partitions)

    def _write_what_is_ours(self, partitions: Collection[Partition]) -> None:
        """Write what is held of these partitions; what another writer has moved is dropped."""
        while due := self._held.partitions.intersection(partitions):
            with suppress(StalePosition):
                self._write(due)

    def _refuse_name(self, partition: Partition) -> None:
        if partition.source.startswith("."):
            raise SinkError(
                f"{self.name} cannot hold {partition.source}: {HIDDEN}",
                "read that topic in a pipeline without an archive",
            )
        key = chain.key_of(partition, chain.spelled(None, self._coordinates))
        size = len(key.rpartition("/")[2].encode())
        if size > self._store.longest_name:
            raise SinkError(
                f"{self.name} cannot hold {partition.source}: the names of its objects have {size} "
                f"bytes, the store takes {self._store.longest_name}",
                "archive it to a bucket (s3://…) instead of a folder, or give it a shorter name",
            )

    def _advances(self, partition: Partition, span: Span, ends: Positions) -> bool:
        if partition in self._released:
            return False
        if partition not in ends:
            raise StalePosition(f"{self.name}: the position of {partition} was not read yet")
        seen = ends[partition]
        refuse_another(partition, seen, span.end.epoch, self._coordinates)
        if seen is not None and span.end <= seen:
            return False
        if span.start is not None and (seen is None or span.start > seen):
            raise StalePosition(
                f"{self.name}: {partition} is held up to {seen}, the batch starts at {span.start}"
            )
        return True

    def _hold(self, taken: Taken, now: float) -> None:
        """Hold the parts that are not held yet: this may be a repeated call."""
        ends = {p: self._held.end(p) or self._own.get(p) for p in taken.parts}
        parts = {
            p: part
            for p, part in taken.parts.items()
            if p not in self._released and not reaches(ends[p], part.end)
        }
        for partition, part in parts.items():
            if partition not in self._own or part.start != ends[partition]:
                raise StalePosition(
                    f"{self.name}: {partition} is held up to {ends[partition]}, "
                    f"the next rows start at {part.start}"
                )
        if parts:
            self._held.add(taken.rows, parts, now)
            self._overdue_at = self._held.overdue_at

    def _write(self, partitions: Collection[Partition]) -> None:
        """Put one object for each of these partitions, and for those that were begun before."""
        self._held.seal(partitions)
        sealed, rows = dict(self._held.sealed), self._held.rows()
        if not sealed:
            return
        with ThreadPoolExecutor(_WRITERS) as pool:
            tries = {p: pool.submit(self._append, rows, p, part) for p, part in sealed.items()}
        errors = {p: done.exception() for p, done in tries.items()}
        self._held.written([p for p, error in errors.items() if error is None])
        fenced = [p for p, error in errors.items() if isinstance(error, StalePosition)]
        self._fence(fenced)
        self._overdue_at = self._held.overdue_at
        raised = [error for error in errors.values() if error]
        if raised:
            raise min(raised, key=lambda error: isinstance(error, TransientError))

    def _fence(self, partitions: Collection[Partition]) -> None:
        """Take no more of partitions that another writer has moved until `positions` is called."""
        self._held.drop(partitions)
        for partition in partitions:
            self._own.pop(partition, None)
            self._seen.pop(partition, None)

    def _refuse_removed(self, partition: Partition, start: Position | None) -> None:
        """Raise StalePosition if the next name was taken, and its object removed by retention.

        Within FRESH of a listing that cannot be: objects are kept for `core.pipeline.SHORTEST`.
        """
        now = self._clock.now()
        if now - self._known[partition] >= FRESH:
            end = self._end(partition)
            if end != start:
                raise StalePosition(
                    f"{self.name}: {partition} ends at {end}, the next rows start at {start}"
                )
            self._known[partition] = now

    def _append(self, rows: pl.DataFrame, partition: Partition, part: Part) -> None:
        self._refuse_removed(partition, part.start)
        about = chain.About(
            start=chain.spelled(part.start, self._coordinates),
            end=chain.spelled(part.end, self._coordinates),
            records=part.records,
            writer=self._writer,
            epoch=part.end.epoch,
        )
        if part.end.digits:
            about["digits"] = part.end.digits
        if part.gap:
            about["expired"], about["accepted"] = part.expired, (part.gap.start, part.gap.stop)
        key = chain.key_of(partition, about["start"])
        text = json.dumps(about)
        with ENCODING:
            body = _encoded(self._held.rows_of(rows, partition), text)
        if not self._store.put_new(key, body, {chain.KEY: text}):
            self._claim(key, about)
        self._own[partition] = part.end

    def _claim(self, key: str, about: chain.About) -> None:
        """Return if an earlier try of ours made the object; StalePosition if another writer did."""
        if self._store.metadata(key) is None:
            raise TransientError(f"{self._store.uri}/{key} exists, and cannot be seen yet")
        found = chain.about(self._store, key)
        if found["writer"] != about["writer"] or found["end"] != about["end"]:
            raise StalePosition(
                f"{self.name}: {self._store.uri}/{key} was written by another consumer"
            )

    def _end(self, partition: Partition) -> Position | None:
        page = partial(self._store.page, chain.folder(partition))
        key = chain.last_key(page, lambda n: chain.after(partition, n, self._coordinates))
        if key is None:
            return None
        about = chain.about(self._store, key)
        end = chain.position(about["end"])
        self._gaps[partition] = range(*about.get("accepted", (0, 0)))
        return replace(end, epoch=about.get("epoch"), digits=about.get("digits", 0))


def _encoded(rows: pl.DataFrame, about: str) -> bytes:
    body = io.BytesIO()
    rows.write_parquet(
        body,
        compression="zstd",
        compression_level=1,
        metadata={chain.KEY: about},
        row_group_size=rows_of_slice(rows),
    )
    return body.getvalue()
