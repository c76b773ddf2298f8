"""What a record costs, in multiples of polars reading its JSON: a ratio holds on any machine.

CPU time, both sides in turn, the least of some rounds: what else runs cannot make it less.
"""

import gc
import json
import sys
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from typing import Any

import polars as pl
import pytest

from consumers.engine.limits import Limits
from consumers.engine.loop import THREADS, Loop
from core.batch import KAFKA, VALUE, Batch, Partition, Position, Positions, Records, Span
from core.observer import Horizon
from core.origins import Start
from core.protocols import Listener
from core.sinks import AtOnce, WithoutHistory
from core.topic_id import Known
from pinpip.runtime import tuned_interpreter
from producers import emulator
from sinks.delta import data_file
from tests.support.clock import ManualClock
from transforms import pin
from transforms.process import decode, processor

ROWS = 12_500
ROUNDS = 7
POLLS = 40
P0 = Partition("pin", "0")
PAYLOADS = [json.dumps(e.rows["pin"]).encode() for e in islice(emulator.events(1), ROWS)]
Work = Callable[[], object]


def read() -> Records:
    """All payloads as a source would hand them over."""
    columns: dict[str, Any] = dict.fromkeys(KAFKA.metadata)
    columns |= {"_topic": "pin", "_partition": 0, "_offset": range(ROWS), VALUE: PAYLOADS}
    frame = pl.DataFrame(columns, {**KAFKA.metadata, VALUE: pl.Binary()})
    return Records(frame, {P0: Span(None, Position(ROWS), ROWS)}, KAFKA)


RECORDS = read()
process = processor(pin.SCHEMA, pin.clean, KAFKA, keep_values=False)
BATCH = process(RECORDS)
BOUNDED = data_file.bounded(BATCH.clean.schema, KAFKA)


def read_json() -> pl.DataFrame:
    """Read one record with polars: the unit of every measure."""
    return pl.read_ndjson(b"\n".join(PAYLOADS), schema=dict(pin.SCHEMA.fields))


def times_json(work: Work) -> float:
    """How many times as much as `read_json` it takes."""
    spent = [(cpu(work), cpu(read_json)) for _ in range(ROUNDS)]
    return min(own for own, _ in spent) / min(measure for _, measure in spent)


def cpu(work: Work) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


@pytest.mark.slow
@pytest.mark.parametrize(
    ("work", "most"),
    [
        pytest.param(lambda: decode(RECORDS.frame, pin.SCHEMA, KAFKA), 2.6, id="decode"),
        pytest.param(lambda: process(RECORDS), 4.0, id="decode and transform"),
        pytest.param(lambda: data_file.encode(BATCH.clean), 1.2, id="encode"),
        pytest.param(lambda: data_file.statistics(BATCH.clean, BOUNDED), 0.1, id="statistics"),
    ],
)
def test_no_step_costs_more_than_so_many_times_the_reading_of_the_json(
    work: Work, most: float
) -> None:
    assert times_json(work) < most


def test_the_loop_itself_costs_next_to_nothing() -> None:
    assert times_json(stream) / POLLS < 0.05


def made(records: Records) -> Batch:
    """Return the batch that was made before."""
    return replace(BATCH, spans=records.spans)


def stream() -> None:
    """Run `POLLS` polls through a loop whose source, process and sink do nothing."""
    source = Idle()
    limits = Limits(2 * ROWS, 1 << 40, 3600.0, 1.0, 1)
    with ThreadPoolExecutor(THREADS) as workers:
        Loop(source, made, [Nowhere()], limits, ManualClock(), workers).run()
    assert source.acknowledged == {P0: Position(POLLS * ROWS)}


class Idle:
    """A source that has its records ready."""

    coordinates = KAFKA

    def __init__(self) -> None:
        self.acknowledged: dict[Partition, Position] = {}
        self._polls = 0

    @property
    def exhausted(self) -> bool:
        return self._polls == POLLS

    def open(self, listener: Listener) -> None:
        listener.assigned([P0])

    def poll(self, timeout: float) -> Records:
        del timeout
        start, self._polls = Position(self._polls * ROWS), self._polls + 1
        span = Span(start, Position(self._polls * ROWS), ROWS)
        return Records(RECORDS.frame, {P0: span}, KAFKA)

    def starts(self, sources: Collection[str]) -> dict[str, Start]:
        del sources
        return {}

    def bind(self, known: Mapping[Partition, Known]) -> None:
        """There is one life only."""

    def seek(self, positions: Positions) -> None:
        """Everything comes from its start."""

    def pause(self) -> None:
        """Nothing is fetched."""

    def resume(self) -> None:
        """Nothing is fetched."""

    def acknowledge(self, positions: Mapping[Partition, Position]) -> None:
        self.acknowledged |= positions

    def horizons(self) -> dict[Partition, Horizon]:
        return {}

    def close(self) -> None:
        """Nothing is open."""


class Nowhere(AtOnce, WithoutHistory):
    """A sink that keeps nothing."""

    name = "nowhere"

    def positions(self, partitions: Collection[Partition]) -> dict[Partition, Position | None]:
        return dict.fromkeys(partitions)

    def write(self, batch: Batch) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing is open."""


def test_the_interpreter_is_left_as_it_was_found() -> None:
    def settings() -> tuple[object, ...]:
        return gc.get_threshold(), gc.get_freeze_count(), sys.getswitchinterval()

    before = settings()
    with tuned_interpreter():
        assert not set(before) & set(settings())
    assert settings() == before
