"""Measure Kinesis into a folder on moto's server.

moto is slow and shares the cores with pinpip: the figures show changes, not the speed of AWS.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from botocore.config import Config as BotoConfig

from benchmarks import commits, config, measure
from benchmarks.results import BenchmarkResult, result
from benchmarks.topic import pins
from core import aws
from core.config import Aws
from pinpip.cli.shared import progress_bar
from pinpip.local.embedded import embedded_aws

SHARDS = 4
MAX_PUT_RECORDS = 500
CONSUME_TIMEOUT_S = 300.0
_KEYS = {"access_key_id": "local", "secret_access_key": "local"}


def kinesis(folder: Path, *, records: int) -> BenchmarkResult:
    """Consume a stream of pins into a table on this disk."""
    with embedded_aws() as endpoint:
        client, section = _client("kinesis", endpoint)
        _put(client, records)
        source = {"stream": "pin", "start": "trim_horizon"}
        path = config.write(folder / "kinesis", "none.invalid:9092", source, aws=section)
        row = _consume(path, commits.local(folder / "kinesis" / "pin"), records)
    return result("kinesis", {"records": records, "shards": SHARDS}, [row])


def _client(service: str, endpoint: str) -> tuple[Any, dict[str, str]]:
    section = {"endpoint_url": endpoint, **_KEYS}
    return aws.client(Aws.model_validate(section), service, BotoConfig()), section


def _put(client: Any, records: int) -> None:
    client.create_stream(StreamName="pin", ShardCount=SHARDS)
    pool = pins()
    with progress_bar(quiet=False) as bar:
        for first in bar.track(
            range(0, records, MAX_PUT_RECORDS), description="filling the stream"
        ):
            numbers = range(first, min(first + MAX_PUT_RECORDS, records))
            entries = [{"Data": pool[n % len(pool)], "PartitionKey": f"key {n}"} for n in numbers]
            if client.put_records(StreamName="pin", Records=entries)["FailedRecordCount"]:
                raise SystemExit("the stream refused records")


def _consume(path: Path, read: commits.Read, records: int) -> dict[str, object]:
    """Consume every row; return the rate with the start, and from the first commit."""
    log, began = commits.CommitFollower(read), time.time()
    with measure.pinpip(path, "consume", "pin") as process:
        _await(lambda: log.advance() >= records, process, path.parent / "log")
        used = measure.usage(process.pid)
    first, last = log.first(), log.last()
    if first is None or last is None:
        raise SystemExit("nothing was committed")
    later = (records - first.rows) / (last.at - first.at) if last.at > first.at else None
    return {
        "records": records,
        "records/s with start": round(records / (last.at - began)),
        "records/s after first commit": None if later is None else round(later),
        "first row s": first.at - began,
        "CPU s/M": used.cpu / records * 1e6,
        "peak MB": used.peak,
        "commits": len(log.commits),
    }


def _await(done: Callable[[], bool], process: measure.Process, log: Path) -> None:
    deadline = time.monotonic() + CONSUME_TIMEOUT_S
    while not done():
        measure.refuse_dead([process], log)
        if time.monotonic() > deadline:
            raise SystemExit(f"not all rows were committed in {CONSUME_TIMEOUT_S:.0f} s: {log}")
        time.sleep(0.2)
