"""What a consumer counts, by pipeline; the names are the contract with dashboards."""

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from core.batch import Batch
from core.clock import Clock
from core.retry import Outage


class Metrics:
    """Counters of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.records = Counter(
            "pinpip_records",
            "Records that every sink is past: clean and quarantined are rows, filtered are none, "
            "expired are offsets that retention took unread, as the operator accepted.",
            ["pipeline", "outcome"],
            registry=self.registry,
        )
        self.batches = Counter(
            "pinpip_batches", "Batches durable in every sink.", ["pipeline"], registry=self.registry
        )
        self.position = Gauge(
            "pinpip_position",
            "Next offset, or last sequence number, that the sinks hold.",
            ["pipeline", "source", "partition"],
            registry=self.registry,
        )
        self._outages: list[tuple[str, Outage]] = []
        self.retries = Counter(
            "pinpip_retries",
            "Calls of a source or sink that met a transient fault and are tried again.",
            ["pipeline", "part"],
            registry=self.registry,
        )
        self.outage = Gauge(
            "pinpip_outage_seconds",
            "How long calls on a source or sink have had no good answer; 0: none is under way.",
            ["pipeline", "part"],
            registry=self.registry,
        )

    def watch(self, pipeline: str, clock: Clock, part: str) -> Outage:
        """Return what records the transient faults of a part of the pipeline."""
        made = Outage(part, clock, self.retries.labels(pipeline, part).inc)
        self._outages.append((pipeline, made))
        self.outage.labels(pipeline, part).set_function(made.seconds)
        return made

    def waiting(self) -> list[str]:
        """Return the parts that await a response, and since when they had no good one."""
        found = [(f"{pipeline}, {own.part}", own.seconds()) for pipeline, own in self._outages]
        return [f"{part} ({seconds:.0f} s)" for part, seconds in found if seconds]

    def count(self, pipeline: str, batch: Batch) -> None:
        """Count a batch that every sink has."""
        clean, quarantined = batch.clean.height, batch.rejected.height
        left_out = 0 if batch.left_out is None else batch.left_out.height
        filtered = max(0, batch.raw.height + left_out - clean - quarantined)
        self.records.labels(pipeline, "clean").inc(clean)
        self.records.labels(pipeline, "quarantined").inc(quarantined)
        self.records.labels(pipeline, "filtered").inc(filtered)
        expired = sum(span.expired(span.start) for span in batch.spans.values())
        self.records.labels(pipeline, "expired").inc(expired)
        self.batches.labels(pipeline).inc()
        for partition, span in batch.spans.items():
            self.position.labels(pipeline, *partition).set(span.end.number)

    def total(self, pipeline: str, outcome: str) -> int:
        """Return the number of the pipeline's records with this outcome."""
        labels = {"pipeline": pipeline, "outcome": outcome}
        return int(self.registry.get_sample_value("pinpip_records_total", labels) or 0)

    def serve(self, port: int) -> None:
        """Answer /metrics on `port` of loopback, in a thread that ends with the process."""
        start_http_server(port, addr="127.0.0.1", registry=self.registry)
