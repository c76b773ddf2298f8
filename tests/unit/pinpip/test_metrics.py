"""What a consumer counts, and that Prometheus can read it."""

from dataclasses import replace
from urllib.request import urlopen

import polars as pl

from core.batch import KAFKA
from pinpip.local.java import free_port
from pinpip.metrics import Metrics
from tests.support.batches import RecordLog

LOG = RecordLog(KAFKA)


def test_the_rows_of_every_batch_are_counted_by_pipeline_and_outcome() -> None:
    metrics = Metrics()
    metrics.count("pin", LOG.batch({0: (0, 30)}))
    metrics.count("pin", LOG.batch({0: (30, 36), 1: (0, 3)}))
    metrics.count("geo", LOG.batch({0: (0, 3)}))
    assert (metrics.total("pin", "clean"), metrics.total("pin", "quarantined")) == (26, 13)
    assert (metrics.total("geo", "clean"), metrics.total("geo", "quarantined")) == (2, 1)
    assert metrics.total("user", "clean") == 0


def test_records_that_became_no_row_are_counted_as_filtered() -> None:
    metrics = Metrics()
    full = LOG.batch({0: (0, 30)})
    metrics.count("pin", replace(full, clean=full.clean.head(15)))
    outcomes = ("clean", "quarantined", "filtered")
    assert [metrics.total("pin", outcome) for outcome in outcomes] == [15, 10, 5]


def test_a_transform_that_multiplies_rows_filters_none() -> None:
    metrics = Metrics()
    full = LOG.batch({0: (0, 30)})
    metrics.count("pin", replace(full, clean=pl.concat([full.clean, full.clean])))
    assert metrics.total("pin", "filtered") == 0


def test_the_position_is_that_of_the_last_batch() -> None:
    metrics = Metrics()
    metrics.count("pin", LOG.batch({0: (0, 30)}))
    metrics.count("pin", LOG.batch({0: (30, 36)}))
    labels = {"pipeline": "pin", "source": "demo.pin", "partition": "0"}
    assert metrics.registry.get_sample_value("pinpip_position", labels) == 36


def test_two_processes_in_one_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.count("pin", LOG.batch({0: (0, 3)}))
    assert other.total("pin", "clean") == 0


def test_metrics_are_served_on_loopback() -> None:
    metrics = Metrics()
    metrics.count("pin", LOG.batch({0: (0, 30)}))
    port = free_port()
    metrics.serve(port)
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    assert 'pinpip_records_total{outcome="clean",pipeline="pin"} 20.0' in text
    assert 'pinpip_batches_total{pipeline="pin"} 1.0' in text
