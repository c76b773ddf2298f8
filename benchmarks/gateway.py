"""The gateway under load: one process of it, a real broker and the load on the same cores."""

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
from benchmarks.contest import Stage
from benchmarks.load import Load
from benchmarks.measure import Process
from benchmarks.results import Result, result
from benchmarks.topic import create

PARTITIONS = 4
KINDS = {"1 record": (1, 32), "500 records": (500, 8)}  # records in a request, connections
STARTS_WITHIN = 20.0


def gateway(stage: Stage, *, seconds: float) -> Result:
    """Full speed, then half of it; with and without an Idempotency-Key for each request."""
    rows = []
    with _serving(stage) as (process, port):
        for kind, (batch, connections) in KINDS.items():
            for keys in (False, True):
                load = Load(
                    host="127.0.0.1",
                    port=port,
                    path="",
                    batch=batch,
                    connections=connections,
                    seconds=seconds,
                    keys=keys,
                )
                full = _row(stage, process, kind, load)
                half = load.model_copy(update={"rate": full["requests/s"] / 2})
                rows += [full, _row(stage, process, kind, half)]
    return result("gateway", {"seconds": seconds, "partitions": PARTITIONS}, rows)


def _row(stage: Stage, process: Process, kind: str, load: Load) -> dict[str, Any]:
    """One load on a topic of its own; refuses answers other than 200 and records that lack."""
    topic = f"load{time.monotonic_ns()}"
    create(stage.bootstrap, topic, PARTITIONS)
    pid = cast("int", stage.broker)
    before, broker = measure.usage(process.pid), measure.usage(pid)
    said = _send(load.model_copy(update={"path": f"/test/topics/{topic}"}))
    after, broker_after = measure.usage(process.pid), measure.usage(pid)
    records = said["requests"] * load.batch
    held = _held(stage.bootstrap, topic)
    if set(said["statuses"]) != {"200"} or held != records:
        raise SystemExit(f"{said['statuses']}, {held} records of {records} on the topic")
    return {
        "requests of": kind,
        "keys": load.keys,
        "load": "half" if load.rate else "full",
        "requests/s": said["requests"] / load.seconds,
        "records/s": records / load.seconds,
        **{f"{name} ms": 1000 * said[name] for name in ("p50", "p95", "p99", "max")},
        "CPU us/record": 1e6 * (after.cpu - before.cpu) / records,
        "CPU %": 100 * (after.cpu - before.cpu) / load.seconds,
        "broker CPU %": 100 * (broker_after.cpu - broker.cpu) / load.seconds,
        "load CPU %": 100 * said["cpu"] / load.seconds,
        "peak MB": after.peak,
    }


def _send(load: Load) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.load"]
    text = load.model_dump_json()
    done = subprocess.run(command, input=text, text=True, capture_output=True, check=True)
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def _held(bootstrap: str, topic: str) -> int:
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
def _serving(stage: Stage) -> Iterator[tuple[Process, int]]:
    """`pinpip gateway` as anyone starts it, its access log in a file."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    path = config.of_topic(
        stage.folder / "gateway",
        stage.bootstrap,
        "any",
        aws={"endpoint_url": "http://127.0.0.1:9"},
        gateway={"port": port},
    )
    with measure.pinpip(path, "gateway") as process:
        deadline = time.monotonic() + STARTS_WITHIN
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the gateway did not start: {path.parent / 'log'}")
            time.sleep(0.05)
        yield process, port


def _answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/ready", timeout=10).ok
    except requests.ConnectionError:
        return False
