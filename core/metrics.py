"""Every metric of pinpip, in one list; docs/metrics.md is generated from it.

Users write dashboards and alerts by these names: a name, its labels and its unit stay as they are.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One metric by Prometheus's conventions; `name` as it is exposed, with `_total` of a counter.

    `buckets`: upper bounds of a histogram, in the unit of its name.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()

    @property
    def arguments(self) -> tuple[str, str, tuple[str, ...]]:
        """The first arguments of prometheus_client's metrics."""
        return self.name, self.help, self.labels


_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_RECORDS = (1.0, 10.0, 100.0, 1_000.0, 5_000.0, 10_000.0, 20_000.0, 50_000.0, 100_000.0)
_PARTITION = ("pipeline", "source", "partition")

RECORDS = Metric(
    "pinpip_records_total",
    "counter",
    ("pipeline", "outcome"),
    "Records committed by every sink, by outcome: clean and quarantined are rows, filtered are "
    "none, expired are offsets that retention removed unread, as the operator accepted.",
)
QUARANTINED = Metric(
    "pinpip_quarantined_total",
    "counter",
    ("pipeline", "reason"),
    "Quarantined records committed by every sink, by reason.",
)
READ_BYTES = Metric(
    "pinpip_read_bytes_total",
    "counter",
    ("pipeline",),
    "Bytes of the records that were read, in memory: values, keys and coordinates.",
)
BATCHES = Metric(
    "pinpip_batches_total", "counter", ("pipeline",), "Batches committed by every sink."
)
BATCH_RECORDS = Metric(
    "pinpip_batch_records", "histogram", ("pipeline",), "Records of a batch.", _RECORDS
)
COMMIT_SECONDS = Metric(
    "pinpip_commit_seconds",
    "histogram",
    ("pipeline", "sink"),
    "Time of one batch in one sink, from the first call to the success, retries included.",
    _SECONDS,
)
POSITION = Metric(
    "pinpip_position",
    "gauge",
    _PARTITION,
    "Next offset, or last sequence number, that every sink has committed.",
)
LAG_RECORDS = Metric(
    "pinpip_lag_records",
    "gauge",
    _PARTITION,
    "Offsets between the committed position and the partition's end; absent on Kinesis, which "
    "does not tell it.",
)
LAG_SECONDS = Metric(
    "pinpip_lag_seconds",
    "gauge",
    _PARTITION,
    "Age of the moment up to which every record of the partition is in the table.",
)
QUERYABLE_UNTIL = Metric(
    "pinpip_queryable_until_timestamp_seconds",
    "gauge",
    ("pipeline",),
    "Every record that arrived at this process's partitions until then is in the table.",
)
LAST_COMMIT = Metric(
    "pinpip_last_commit_timestamp_seconds",
    "gauge",
    ("pipeline",),
    "When a batch was last committed by every sink.",
)
ASSIGNED = Metric(
    "pinpip_assigned_partitions",
    "gauge",
    ("pipeline",),
    "Partitions or shards that this process reads.",
)
BUFFERED_BYTES = Metric(
    "pinpip_buffered_bytes",
    "gauge",
    ("pipeline",),
    "Bytes of records that were read and are not committed yet.",
)
BUDGET_BYTES = Metric(
    "pinpip_budget_bytes",
    "gauge",
    ("pipeline",),
    "Its share of batching.memory: bytes that client queue, buffer and batches may take.",
)
RETRIES = Metric(
    "pinpip_retries_total",
    "counter",
    ("pipeline", "part", "kind"),
    "Calls on a source or sink that met a transient fault and are retried, by kind of fault.",
)
OUTAGE = Metric(
    "pinpip_outage_seconds",
    "gauge",
    ("pipeline", "part"),
    "For how long calls on a source or sink have had no success; 0: none is waiting.",
)
CONFLICTS = Metric(
    "pinpip_conflicts_total",
    "counter",
    ("pipeline",),
    "Commits that another writer of the same partitions was faster with.",
)
REBALANCES = Metric(
    "pinpip_rebalances_total",
    "counter",
    ("pipeline",),
    "Times that partitions or shards were assigned or revoked.",
)
TURN = Metric(
    "pinpip_last_turn_timestamp_seconds",
    "gauge",
    ("pipeline",),
    "When the loop last turned: it polls at least once a second, also during an outage.",
)
READY = Metric(
    "pinpip_ready",
    "gauge",
    ("pipeline",),
    "1 if /ready says that the pipeline is ready, else 0.",
)
TABLE_FILES = Metric(
    "pinpip_table_files",
    "gauge",
    ("pipeline", "table"),
    "Data files of the clean or quarantine table; looked at once a minute.",
)
SMALL_FILES = Metric(
    "pinpip_table_small_files",
    "gauge",
    ("pipeline", "table"),
    "Data files below 32 MiB of the clean or quarantine table: compaction would merge them.",
)
UPKEEP_TURNS = Metric(
    "pinpip_upkeep_turns_total",
    "counter",
    ("pipeline", "outcome"),
    "Turns of the upkeep beside this consumer (`maintain.every`), by outcome: done or failed.",
)
UPKEEP_FILES = Metric(
    "pinpip_upkeep_files_total",
    "counter",
    ("pipeline", "outcome"),
    "Data files that this upkeep merged into larger ones, and those that it removed for good.",
)
BUILD = Metric(
    "pinpip_build_info",
    "gauge",
    ("version", "python", "polars", "deltalake"),
    "1; the labels are the versions.",
)

CONSUMER = (
    RECORDS,
    QUARANTINED,
    READ_BYTES,
    BATCHES,
    BATCH_RECORDS,
    COMMIT_SECONDS,
    POSITION,
    LAG_RECORDS,
    LAG_SECONDS,
    QUERYABLE_UNTIL,
    LAST_COMMIT,
    ASSIGNED,
    BUFFERED_BYTES,
    BUDGET_BYTES,
    RETRIES,
    OUTAGE,
    CONFLICTS,
    REBALANCES,
    TURN,
    READY,
    TABLE_FILES,
    SMALL_FILES,
    UPKEEP_TURNS,
    UPKEEP_FILES,
    BUILD,
)

GATEWAY_REQUESTS = Metric(
    "pinpip_gateway_requests_total",
    "counter",
    ("route", "method", "status"),
    "Requests by route, method and status.",
)
GATEWAY_SECONDS = Metric(
    "pinpip_gateway_request_seconds",
    "histogram",
    ("route",),
    "From a request's head to the end of its response.",
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
GATEWAY_RECEIVED = Metric(
    "pinpip_gateway_received_bytes_total", "counter", (), "Bytes of request bodies."
)
GATEWAY_IN_FLIGHT = Metric(
    "pinpip_gateway_in_flight_bytes", "gauge", (), "Bytes of bodies of requests in progress."
)
GATEWAY_UNFINISHED = Metric(
    "pinpip_gateway_unfinished_bytes", "gauge", (), "Bytes of bodies that are still arriving."
)
GATEWAY_ANSWERS = Metric(
    "pinpip_gateway_answers_bytes",
    "gauge",
    (),
    "Bytes of the responses that are kept for repeated requests.",
)

GATEWAY = (
    GATEWAY_REQUESTS,
    GATEWAY_SECONDS,
    GATEWAY_RECEIVED,
    GATEWAY_IN_FLIGHT,
    GATEWAY_UNFINISHED,
    GATEWAY_ANSWERS,
)
