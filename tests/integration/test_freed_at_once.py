"""What a consumer has written is freed at once: Python looks for cycles rarely in it."""

import gc
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import polars as pl
import pytest

from core.batch import Batch, Records
from sinks.delta.prepared import Prepared, Upload
from tests.support.archives import change_pipeline
from tests.support.aws import TestAws
from tests.support.brokers import Broker
from tests.support.consuming import consuming
from tests.support.processes import Home, kafka_home, kinesis_home, payloads, put, until

BATCHES, EACH = 24, 50  # records of a batch
KEPT = (Batch, Records, Future, Prepared, Upload, pl.DataFrame)
pytestmark = pytest.mark.process


@contextmanager
def cycles(found: Counter[str]) -> Iterator[None]:
    """Count by type what nothing but Python's search for cycles can free after the block."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield
        gc.collect()
        found.update(t.__name__ for t in map(type, gc.garbage) if issubclass(t, KEPT))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def assert_few_cycles(home: Home, send: Callable[[list[bytes]], object]) -> None:
    """Assert that the number of cycles does not grow with that of the batches."""
    found: Counter[str] = Counter()
    with cycles(found), consuming(home) as ended:
        for number in range(1, BATCHES + 1):
            send(payloads(EACH))
            until(lambda n=number: ended() or home.rows() == n * EACH, "a batch")  # type: ignore[misc]
    assert all(number < BATCHES / 4 for number in found.values()), found


@pytest.mark.real_broker
@pytest.mark.parametrize("place", ["delta", "archive"])
def test_no_batch_of_a_topic_waits_for_the_search_for_cycles(
    broker: Broker, tmp_path: Path, place: str
) -> None:
    topic = broker.create_topic()
    home = kafka_home(tmp_path, broker, topic)
    sinks = {"archive": {"parquet": str(tmp_path / "archive"), "stage": "raw"}}
    change_pipeline(home, sinks=[{"delta": "user"}, *([sinks[place]] if place in sinks else [])])
    assert_few_cycles(home, partial(broker.produce, topic))


@pytest.mark.moto
def test_no_batch_of_a_stream_waits_for_the_search_for_cycles(aws: TestAws, tmp_path: Path) -> None:
    home = kinesis_home(tmp_path, aws, stream := aws.stream(1))
    assert_few_cycles(home, partial(put, aws, stream))
