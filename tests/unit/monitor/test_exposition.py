"""The metrics as Prometheus reads them, and that the list of metrics is true."""

import re
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from core import metrics
from core.batch import KAFKA, Partition, Position
from core.errors import StalePosition
from core.observer import Horizon
from monitor.exposition import registry
from monitor.state import PipelineState
from monitor.view import FilesView
from tests.support.batches import RecordLog
from tests.support.clock import ManualClock
from tests.support.places import ROOT

LOG = RecordLog(KAFKA)
HOSTILE = 'a"b\\c\nd{e="f"} 1\n# HELP x'


def exposed(*states: PipelineState) -> str:
    """Return what a scrape of these pipelines gets."""
    clock = ManualClock()
    files = {"pin": [FilesView("clean", 12, 3, 1_000)]}
    return generate_latest(registry(states, clock, lambda: files)).decode()


def samples(text: str) -> list[Sample]:
    return [s for family in text_string_to_metric_families(text) for s in family.samples]


def value(text: str, name: str, **labels: str) -> float:
    (found,) = [s.value for s in samples(text) if s.name == name and s.labels == labels]
    return found


def busy(name: str = "pin", topic: str = "demo.pin") -> PipelineState:
    """Return the memory of a pipeline to which everything happened once."""
    clock = ManualClock()
    state = PipelineState(name, "", "", clock, 1_000)
    own = Partition(topic, "0")
    state.assigned([own])
    state.started({own: Position(0)})
    state.turned(77)
    state.reached({own: Horizon(Position(0), clock.now(), 0)})
    state.reached({own: Horizon(Position(36), clock.now(), 0)})
    batch = RecordLog(KAFKA, topic).batch({0: (0, 30)})
    state.committed("clean", 0.02)
    state.wrote(batch)
    state.overtaken(StalePosition("x"))
    state.outage("source").failed("", "x", "", "Down")
    state.totals.upkept(12, 0)
    state.totals.upkeep_turns["done"] += 1
    return state


@pytest.fixture(scope="module")
def text() -> str:
    return exposed(busy())


def test_every_metric_of_the_list_is_exposed_with_its_labels(text: str) -> None:
    found = {s.name: set(s.labels) - {"le"} for s in samples(text)}
    for metric in metrics.CONSUMER:
        names = [f"{metric.name}_count"] if metric.kind == "histogram" else [metric.name]
        for name in names:
            assert found.get(name) == set(metric.labels), name


def test_no_metric_is_exposed_that_the_list_lacks(text: str) -> None:
    known = {metric.name for metric in metrics.CONSUMER}
    own = {s.name for s in samples(text) if s.name.startswith("pinpip_")}
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in own - known} <= known


def test_no_time_of_creation_is_exposed(text: str) -> None:
    assert "_created" not in text


def test_records_are_counted_by_outcome(text: str) -> None:
    counted = {
        outcome: value(text, "pinpip_records_total", pipeline="pin", outcome=outcome)
        for outcome in ("clean", "quarantined", "filtered", "expired")
    }
    assert counted == {"clean": 20, "quarantined": 10, "filtered": 0, "expired": 0}


def test_lag_and_position_are_told_by_partition(text: str) -> None:
    labels = {"pipeline": "pin", "source": "demo.pin", "partition": "0"}
    assert value(text, "pinpip_position", **labels) == 30
    assert value(text, "pinpip_lag_records", **labels) == 6


def test_freshness_is_a_time(text: str) -> None:
    until = value(text, "pinpip_queryable_until_timestamp_seconds", pipeline="pin")
    assert until == datetime(2026, 1, 1, tzinfo=UTC).timestamp()


def test_a_histogram_counts_up_to_each_bound(text: str) -> None:
    buckets = {
        s.labels["le"]: s.value for s in samples(text) if s.name == "pinpip_commit_seconds_bucket"
    }
    assert (buckets["0.01"], buckets["0.025"], buckets["+Inf"]) == (0, 1, 1)
    assert value(text, "pinpip_commit_seconds_sum", pipeline="pin", sink="clean") == 0.02


def test_what_is_not_known_is_absent() -> None:
    fresh = exposed(PipelineState("pin", "", "", ManualClock(), 1_000))
    names = {s.name for s in samples(fresh)}
    assert "pinpip_queryable_until_timestamp_seconds" not in names
    assert "pinpip_last_commit_timestamp_seconds" not in names
    assert value(fresh, "pinpip_ready", pipeline="pin") == 0


def test_hostile_names_are_escaped() -> None:
    text = exposed(busy(name=HOSTILE, topic=HOSTILE))
    assert value(text, "pinpip_lag_records", pipeline=HOSTILE, source=HOSTILE, partition="0") == 6
    assert all(line.startswith(("#", "pinpip_", "process_")) for line in text.splitlines())


def test_the_page_of_metrics_is_written_from_the_list() -> None:
    command = [sys.executable, "docs/metrics.py"]
    written = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    stored = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    assert stored == written.stdout, "make metrics"


@pytest.mark.parametrize("metric", [*metrics.CONSUMER, *metrics.GATEWAY], ids=lambda m: m.name)
def test_a_metric_is_named_by_the_conventions(metric: metrics.Metric) -> None:
    assert (metric.kind == "counter") == metric.name.endswith("_total")
    assert (metric.kind == "histogram") == bool(metric.buckets)
    assert re.fullmatch(r"pinpip_[a-z_]+", metric.name)
    assert metric.help.endswith(".")
