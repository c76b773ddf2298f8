"""Write docs/metrics.md from the list in core/metrics.py: `make metrics`."""

from collections.abc import Iterator, Sequence

from core.metrics import CONSUMER, GATEWAY, Metric

HEAD = """\
# Metrics

This page is written from [core/metrics.py](../core/metrics.py) by `make metrics`. All names begin
with `pinpip_`; units are base units (seconds, bytes), times are seconds since 1970, counters end
with `_total` and start at 0 with the process. Names, labels and units stay as they are between
releases.
"""
CONSUMERS = """\
`pinpip consume --metrics-port 9108` serves them at `/metrics`, for the pipelines and partitions of
that process: sum or join them over the members of a group. The processes' own figures are beside
them (`process_cpu_seconds_total`, `process_resident_memory_bytes` and others).
A gauge that is not known is absent, never 0.
"""
GATEWAYS = "The gateway serves them at `/metrics` of its own port.\n"


def page() -> str:
    """Return the page."""
    parts = [HEAD, "## Consumers\n", CONSUMERS, *_table(CONSUMER)]
    return "\n".join([*parts, "## Gateway\n", GATEWAYS, *_table(GATEWAY)])


def _table(metrics: Sequence[Metric]) -> Iterator[str]:
    rows = "\n".join(_row(metric) for metric in metrics)
    yield f"| metric | kind | labels | meaning |\n| --- | --- | --- | --- |\n{rows}\n"


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    bounds = ", ".join(f"{bound:g}" for bound in metric.buckets)
    buckets = f" Buckets: {bounds}." if bounds else ""
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help}{buckets} |"


if __name__ == "__main__":
    print(page(), end="")
