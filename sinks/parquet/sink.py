"""The Parquet sink: per partition a chain of objects, each named by where the last one ended.

The next object's name is thereby settled before it is written, and a store creates a name only
once: two writers that believe to own a partition meet on one name, and one of them loses.
"""

import io
import json
import uuid
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Literal

import polars as pl

from core.batch import Batch, Coordinates, Partition, Position, Span
from core.errors import SinkError, StalePosition, TransientError
from core.sinks import AtOnce, WithoutHistory
from core.slices import ENCODING, rows_of_slice
from core.topic_id import refuse_another
from core.topics import HIDDEN
from sinks.parquet import chain
from sinks.storage.protocol import Store

_WRITERS = 8
_Stage = Literal["raw", "clean"]


class ParquetSink(AtOnce, WithoutHistory):
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
        self._gaps: dict[Partition, range] = {}

    def positions(self, partitions: Collection[Partition]) -> dict[Partition, Position | None]:
        """Return where each chain ends, from a listing; None: it has no object yet.

        Raises PositionLost when the last object does not say where it ends, SinkError for a topic
        whose objects' names are too long for the store.
        """
        self._store.prove()
        for partition in partitions:
            self._refuse_name(partition)
        with ThreadPoolExecutor(_WRITERS) as pool:
            ends = list(pool.map(self._end, partitions))
        found = dict(zip(partitions, ends, strict=True))
        self._own |= found
        return found

    def gaps(self, partitions: Collection[Partition]) -> Mapping[Partition, range]:
        """Return the gaps in the last objects; the next ones come when all sinks have them."""
        return {p: self._gaps[p] for p in partitions if self._gaps.get(p)}

    def write(self, batch: Batch) -> None:
        """Create one object per partition that the batch advances; each is durable by itself.

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
        """Do nothing: no object is ever deferred."""

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

    def _advances(self, partition: Partition, span: Span) -> bool:
        if partition not in self._own:
            raise StalePosition(f"{self.name}: the position of {partition} was not read yet")
        own = self._own[partition]
        refuse_another(partition, own, span.end.epoch, self._coordinates)
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
        about = chain.About(
            start=chain.spelled(own, self._coordinates),
            end=chain.spelled(span.end, self._coordinates),
            records=new.height,
            writer=self._writer,
            epoch=epoch,
        )
        if span.end.digits:
            about["digits"] = span.end.digits
        if span.expired(own):
            gap = span.gap(own)
            about["expired"], about["accepted"] = span.expired(own), (gap.start, gap.stop)
        key = chain.key_of(partition, about["start"])
        text = json.dumps(about)
        if not self._store.put_new(key, _encoded(new, text), {chain.KEY: text}):
            self._claim(key, about)
        self._own[partition] = replace(span.end, epoch=epoch)

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
    with ENCODING:
        rows.write_parquet(
            body,
            compression="zstd",
            compression_level=1,
            metadata={chain.KEY: about},
            row_group_size=rows_of_slice(rows),
        )
    return body.getvalue()
