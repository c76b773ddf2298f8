"""Writing a log to a sink as the loop does, through faults."""

from core.batch import KAFKA, Batch
from core.errors import StalePosition, TransientError
from core.protocols import Sink
from tests.support.batches import RecordLog

LOG = RecordLog(KAFKA)
PARTITIONS = [LOG.partition(0), LOG.partition(1)]
STEP = 3  # records of each partition in one batch
Reactions = list[type[Exception]]


def records(count: int) -> Batch:
    """Return the first `count` records of both partitions."""
    return LOG.batch({0: (0, count), 1: (0, count)})


def deliver(sink: Sink, until: int, since: int | None = None) -> Reactions:
    """Bring both partitions up to `until`; what the sink said on the way.

    The batch since `since` is written again when that is transient; the positions are read when
    it is stale, and at once when `since` is not given.
    """
    told: Reactions = []
    while True:
        assert len(told) < 9, f"no end: {told}"
        try:
            sink.write(LOG.batch(_parts(sink, until, since)))
        except TransientError:
            told.append(TransientError)
        except StalePosition:
            told.append(StalePosition)
            since = None
        else:
            return told


def _parts(sink: Sink, until: int, since: int | None) -> dict[int, tuple[int, int]]:
    if since is not None:
        return {0: (since, until), 1: (since, until)}
    held = sink.positions(PARTITIONS)
    starts = [LOG.count(held[partition]) for partition in PARTITIONS]
    return {i: (start, until) for i, start in enumerate(starts) if start < until}
