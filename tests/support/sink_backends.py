"""Delta tables and Parquet chains behind the sink contract."""

from dataclasses import dataclass
from typing import Literal

import polars as pl

from core.batch import Batch, Coordinates
from core.clock import SystemClock
from core.protocols import Options, Sink
from sinks.delta.sink import DeltaSink
from sinks.parquet.sink import ParquetSink
from sinks.storage.protocol import Store
from tests.support.batches import delta_target


@dataclass
class ParquetBackend:
    """Chains of objects in an empty place."""

    store: Store
    stage: Literal["raw", "clean"]
    coordinates: Coordinates

    def sink(self) -> Sink:
        """Make a new sink."""
        return ParquetSink(self.store, self.stage, self.coordinates, "archive")

    def kept(self, batch: Batch) -> pl.DataFrame:
        """Return the frame of the stage."""
        return batch.raw if self.stage == "raw" else batch.clean

    def rows(self) -> pl.DataFrame:
        """All objects."""
        return pl.concat([pl.read_parquet(self.store.read(key)) for key in self.store.list("")])


@dataclass
class DeltaBackend:
    """An empty table: the clean one, or the quarantine, which defers empty commits."""

    store: Store
    options: Options
    stage: Literal["clean", "rejected"]
    coordinates: Coordinates

    def sink(self) -> Sink:
        """Make a new sink."""
        where = delta_target(self.store.uri, self.options, self.coordinates, self.stage)
        return DeltaSink("pin", where, self.store, SystemClock())

    def kept(self, batch: Batch) -> pl.DataFrame:
        """Return the frame of the stage."""
        return batch.clean if self.stage == "clean" else batch.rejected

    def rows(self) -> pl.DataFrame:
        """Read the whole table."""
        return pl.read_delta(self.store.uri, storage_options=self.options())
