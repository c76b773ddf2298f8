"""Measure verify over many small commits: `python -m benchmarks.verify [COMMITS]`.

The real sinks first write the tables to this disk: four partitions, 125 records of each per
commit, one in a hundred bad. That takes several minutes for 10,000 commits.
"""

import resource
import sys
import tempfile
import time
from contextlib import ExitStack, closing

from audit.archive import Archive
from audit.verify import prove, snapshots
from benchmarks.small import PARTITIONS, batch, delta_sinks, partitions
from core.batch import KAFKA
from core.config import Aws
from core.protocols import Sink
from sinks.delta.target import Tables
from sinks.parquet.sink import ParquetSink
from sinks.storage.store import open_store

APP = "pinpip/user/1"


def main() -> None:
    """Write the tables, verify them, and print the figures."""
    commits = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        tables = Tables(f"{folder}/user", f"{folder}/user_quarantine", dict, KAFKA, APP)
        archive = Archive(open_store(f"{folder}/archive", Aws()), "raw", KAFKA)
        began = time.monotonic()
        fill(tables, archive, commits)
        print(f"{commits:,} commits made in {time.monotonic() - began:.0f} s")
        measure(tables, [], "tables")
        measure(tables, [archive], f"tables and {PARTITIONS * commits:,} archive objects")


def measure(tables: Tables, archives: list[Archive], what: str) -> None:
    """Time one verify of correct tables."""
    began, busy = time.monotonic(), time.process_time()
    report = prove(*snapshots(tables), archives)
    took, busy = time.monotonic() - began, time.process_time() - busy
    held = sum(tally.clean + tally.quarantined for tally in report.tallies)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    if report.findings:
        raise SystemExit(f"{len(report.findings)} differences: {report.findings[0]}")
    print(f"{what}: {held:,} rows in {took:.1f} s ({busy:.1f} s of CPU), peak memory {peak:,} MB")


def fill(tables: Tables, archive: Archive, commits: int) -> None:
    """Write `commits` batches as a consumer does."""
    sinks: list[Sink] = [
        *delta_sinks(tables),
        ParquetSink(archive.store, "raw", KAFKA, "archive"),
    ]
    with ExitStack() as stack:
        for sink in sinks:
            stack.enter_context(closing(sink))
            sink.positions(partitions())
        for made in map(batch, range(commits)):
            for sink in sinks:
                sink.write(made)


if __name__ == "__main__":
    main()
