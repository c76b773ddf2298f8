"""The metrics of a consumer as Prometheus reads them, made at each scrape from the states."""

import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from importlib.metadata import version

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from core import __version__, metrics
from core.clock import Clock
from monitor import health
from monitor.state import PipelineState
from monitor.totals import OUTCOMES, Buckets
from monitor.view import FilesView

Files = Callable[[], Mapping[str, Sequence[FilesView]]]
Row = tuple[tuple[str, ...], float]


def registry(
    states: Sequence[PipelineState], clock: Clock, files: Files = dict
) -> CollectorRegistry:
    """Return the registry of one process; `files`: the tables' files by pipeline."""
    made = CollectorRegistry()
    made.register(_States(states, clock, files))
    ProcessCollector(registry=made)
    return made


class _States(Collector):
    """Renders every metric of `core.metrics.CONSUMER`."""

    def __init__(self, states: Sequence[PipelineState], clock: Clock, files: Files) -> None:
        self._states, self._clock, self._files = states, clock, files

    def collect(self) -> Iterator[Metric]:
        """Yield the families in the order of the list."""
        for metric in metrics.CONSUMER:
            if metric.kind == "histogram":
                yield self._histogram(metric)
            else:
                yield _family(metric, self._rows(metric))

    def describe(self) -> Iterator[Metric]:
        """Yield nothing: the names need no check against others."""
        return iter(())

    def _rows(self, metric: metrics.Metric) -> Iterable[Row]:
        if metric is metrics.BUILD:
            return [((__version__, platform.python_version(), *_libraries()), 1)]
        if metric in {metrics.TABLE_FILES, metrics.SMALL_FILES}:
            return self._of_files(small=metric is metrics.SMALL_FILES)
        rows = _ROWS[metric.name]
        return [
            ((state.name, *labels), value)
            for state in self._states
            for labels, value in rows(state, self._clock)
        ]

    def _of_files(self, *, small: bool) -> Iterator[Row]:
        for pipeline, tables in self._files().items():
            for own in tables:
                yield (pipeline, own.table), own.small if small else own.files

    def _histogram(self, metric: metrics.Metric) -> Metric:
        made = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for state in self._states:
            for labels, own in _histograms(metric, state):
                made.add_metric([state.name, *labels], _cumulative(own), own.total)
        return made


def _histograms(metric: metrics.Metric, state: PipelineState) -> list[tuple[list[str], Buckets]]:
    if metric is metrics.BATCH_RECORDS:
        return [([], state.totals.batch_records)]
    return [([sink], own) for sink, own in list(state.totals.commit_seconds.items())]


def _cumulative(own: Buckets) -> list[tuple[str, float]]:
    sums, total = [], 0
    for bound, count in zip([*own.bounds, float("inf")], list(own.counts), strict=True):
        total += count
        sums.append(("+Inf" if bound == float("inf") else str(bound), float(total)))
    return sums


def _family(metric: metrics.Metric, rows: Iterable[Row]) -> Metric:
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    made: Metric = kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in rows:
        made.add_metric(labels, value)  # type: ignore[attr-defined]
    return made


@cache  # reading them takes as long as all other metrics
def _libraries() -> list[str]:
    return [version("polars"), version("deltalake")]


Rows = Callable[[PipelineState, Clock], Iterable[Row]]


def _one(value: Callable[[PipelineState], float | None]) -> Rows:
    """Return the rows of a metric with the pipeline's label alone; none while it is not known."""

    def rows(state: PipelineState, _: Clock) -> Iterable[Row]:
        known = value(state)
        return [] if known is None else [((), known)]

    return rows


def _time(value: Callable[[PipelineState], datetime | None]) -> Rows:
    """Return the rows of a time, in seconds since 1970; none while it is not known."""

    def seconds(state: PipelineState) -> float | None:
        known = value(state)
        return None if known is None else known.timestamp()

    return _one(seconds)


def _of_partitions(name: str) -> Rows:
    def rows(state: PipelineState, _: Clock) -> Iterable[Row]:
        for own in state.partitions():
            value = getattr(own, name)
            if value is not None:
                yield (own.source, own.id), float(value)

    return rows


def _by_outcome(counts: Counter[str]) -> Iterable[Row]:
    return [((outcome,), number) for outcome, number in list(counts.items())]


def _ready(state: PipelineState, clock: Clock) -> Iterable[Row]:
    return [((), float(health.unready(state.facts(), clock.now()) is None))]


_ROWS: Mapping[str, Rows] = {
    metrics.RECORDS.name: lambda s, _: [((o,), s.totals.outcomes[o]) for o in OUTCOMES],
    metrics.QUARANTINED.name: lambda s, _: [((r,), n) for r, n in list(s.rejects.counts.items())],
    metrics.READ_BYTES.name: _one(lambda s: s.totals.read_bytes),
    metrics.BATCHES.name: _one(lambda s: s.totals.batches),
    metrics.POSITION.name: _of_partitions("position"),
    metrics.LAG_RECORDS.name: _of_partitions("lag"),
    metrics.LAG_SECONDS.name: _of_partitions("lag_seconds"),
    metrics.QUERYABLE_UNTIL.name: _time(lambda s: s.queryable_until()),
    metrics.LAST_COMMIT.name: _time(lambda s: s.last_commit),
    metrics.ASSIGNED.name: _one(lambda s: s.assigned_partitions),
    metrics.BUFFERED_BYTES.name: _one(lambda s: s.held),
    metrics.BUDGET_BYTES.name: _one(lambda s: s.budget),
    metrics.RETRIES.name: lambda s, _: list(s.totals.retries.items()),
    metrics.OUTAGE.name: lambda s, _: [((p,), t) for p, t in s.outage_seconds().items()],
    metrics.CONFLICTS.name: _one(lambda s: s.totals.conflicts),
    metrics.REBALANCES.name: _one(lambda s: s.totals.rebalances),
    metrics.UPKEEP_TURNS.name: lambda s, _: _by_outcome(s.totals.upkeep_turns),
    metrics.UPKEEP_FILES.name: lambda s, _: _by_outcome(s.totals.upkeep_files),
    metrics.TURN.name: _time(lambda s: s.last_turn),
    metrics.READY.name: _ready,
}
