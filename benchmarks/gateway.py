"""Measure one gateway process under load; broker and load generator share the cores."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import requests
from confluent_kafka import Consumer, TopicPartition

from benchmarks import config, measure
from benchmarks.contest import BenchmarkSetup
from benchmarks.load import LoadSpec
from benchmarks.measure import Process
from benchmarks.results import BenchmarkResult, result
from benchmarks.topic import create

PARTITIONS = 4
KINDS = {"1 record": (1, 64, 1000), "500 records": (500, 8, 60)}
"""Records per request, connections, and the requests per second of the steady load."""
START_TIMEOUT_S = 20.0
WARM_UP_S = 5.0  # per kind, not counted: the broker compiles its code


def gateway(setup: BenchmarkSetup, *, seconds: float) -> BenchmarkResult:
    """Measure full speed and a steady load, without and with an Idempotency-Key."""
    rows = []
    with _serving(setup) as (process, port):
        for kind, (batch, connections, rate) in KINDS.items():
            load = LoadSpec(
                host="127.0.0.1",
                port=port,
                path="",
                batch=batch,
                connections=connections,
                seconds=seconds,
            )
            _row(setup, process, kind, load.model_copy(update={"seconds": WARM_UP_S}))
            for keys in (False, True):
                full = load.model_copy(update={"keys": keys})
                rows.append(_row(setup, process, kind, full))
                rows.append(_row(setup, process, kind, full.model_copy(update={"rate": rate})))
    return result("gateway", {"seconds": seconds, "partitions": PARTITIONS}, rows)


def _row(setup: BenchmarkSetup, process: Process, kind: str, load: LoadSpec) -> dict[str, Any]:
    """Run one load on a new topic; every response must be 200, and every record stored."""
    topic = f"load{time.monotonic_ns()}"
    create(setup.bootstrap, topic, PARTITIONS)
    pid = cast("int", setup.broker)
    before, broker = measure.usage(process.pid), measure.usage(pid)
    said = _send(load.model_copy(update={"path": f"/test/topics/{topic}"}))
    after, broker_after = measure.usage(process.pid), measure.usage(pid)
    records = said["requests"] * load.batch
    held = _stored_records(setup.bootstrap, topic)
    if set(said["statuses"]) != {"200"} or held != records:
        raise SystemExit(f"{said['statuses']}, {held} records of {records} on the topic")
    return {
        "requests of": kind,
        "keys": load.keys,
        "load": "steady" if load.rate else "full",
        "requests/s": said["requests"] / load.seconds,
        "records/s": records / load.seconds,
        **{f"{name} ms": 1000 * said[name] for name in ("p50", "p95", "p99", "max")},
        "CPU us/record": 1e6 * (after.cpu - before.cpu) / records,
        "CPU %": 100 * (after.cpu - before.cpu) / load.seconds,
        "broker CPU %": 100 * (broker_after.cpu - broker.cpu) / load.seconds,
        "load CPU %": 100 * said["cpu"] / load.seconds,
        "peak MB": after.peak,
    }


def _send(load: LoadSpec) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.load"]
    text = load.model_dump_json()
    done = subprocess.run(command, input=text, text=True, capture_output=True, check=True)
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def _stored_records(bootstrap: str, topic: str) -> int:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench", "log_level": 2})
    try:
        ends = [
            consumer.get_watermark_offsets(TopicPartition(topic, n), timeout=10)[1]
            for n in range(PARTITIONS)
        ]
    finally:
        consumer.close()
    return sum(ends)


@contextmanager
def _serving(setup: BenchmarkSetup) -> Iterator[tuple[Process, int]]:
    """Run `pinpip gateway` with its access log in a file."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    path = config.of_topic(
        setup.folder / "gateway",
        setup.bootstrap,
        "any",
        aws={"endpoint_url": "http://127.0.0.1:9"},
        gateway={"port": port},
    )
    with measure.pinpip(path, "gateway") as process:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _is_ready(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the gateway did not start: {path.parent / 'log'}")
            time.sleep(0.05)
        yield process, port


def _is_ready(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/ready", timeout=10).ok
    except requests.ConnectionError:
        return False
