"""Measure how long a killed (-9) consumer takes to commit again, step by step.

Example: python -m benchmarks.recovery --kills 20
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.steps import STEPS
from pinpip.cli.tables import show
from pinpip.local.java import real_kafka

TOPIC, PARTITIONS, RATE = "demo.user", 4, 1000
COMMIT_TIMEOUT_S = 60.0
USER = b'{"ind": %d, "first_name": "No", "last_name": "One", "age": 30}'


@dataclass(frozen=True)
class RestartTimes:
    """One restart: seconds of its steps in order, and CPU seconds up to the commit.

    `killed` is from the kill to the commit, `spawned` from the spawn to the commit.
    """

    killed: float
    spawned: float
    cpu: float
    steps: dict[str, float]


@contextmanager
def load(bootstrap: str) -> Iterator[None]:
    """Produce RATE records per second while the block runs."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result()
    producer, ending = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5}), threading.Event()

    def send() -> None:
        number, began = 0, time.monotonic()
        while not ending.wait(0.02):
            due = int((time.monotonic() - began) * RATE)
            for number in range(number, due):  # noqa: B020  # continues at the last number
                producer.produce(TOPIC, USER % number, partition=number % PARTITIONS)
            number = due
            producer.poll(0)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()
        producer.flush()


def configuration(folder: Path, bootstrap: str, kafka: dict[str, object]) -> Path:
    """Write a config.yaml with one pipeline over the topic and default batching."""
    pipeline = {
        "source": {"topics": [TOPIC]},
        "schema": "transforms.user:SCHEMA",
        "transform": "transforms.user:clean",
        "sinks": [{"delta": "user"}],
    }
    tree = {
        "id": folder.name,
        "kafka": {"bootstrap.servers": bootstrap, **kafka},
        "lake": {"root": str(folder / "lake")},
        "pipelines": {"user": pipeline},
    }
    folder.mkdir()
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def version(folder: Path) -> int:
    """Return the newest version in the clean table's log; -1 without one."""
    log = folder / "lake" / "user" / "_delta_log"
    names = os.listdir(log) if log.is_dir() else []  # noqa: PTH208
    return max((int(name[:20]) for name in names if name[:20].isdigit()), default=-1)


def spawn(path: Path) -> "subprocess.Popen[bytes]":
    """Start a consumer that writes its steps beside its configuration."""
    command = [sys.executable, "-m", "benchmarks.steps", str(path)]
    return subprocess.Popen(command)


def await_commit(path: Path, after: int, process: "subprocess.Popen[bytes]") -> float:
    """Wait for a version newer than `after`; return the monotonic time."""
    deadline = time.monotonic() + COMMIT_TIMEOUT_S
    while version(path.parent) <= after:
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"no commit after version {after}; the consumer: {process.poll()}")
        time.sleep(0.002)
    return time.monotonic()


def cpu_seconds(pid: int) -> float:
    """Return the user and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def recoveries(path: Path, kills: int, rng: random.Random) -> Iterator[RestartTimes]:
    """Kill a consumer `kills` times at random moments; start another immediately."""
    process = spawn(path)
    try:
        await_commit(path, 1, process)
        for _ in range(kills):
            time.sleep(rng.uniform(0.5, 2.5))
            process.kill()
            process.wait()
            killed, before = time.monotonic(), version(path.parent)
            steps = path.parent / "steps"
            steps.unlink()
            spawned, process = time.monotonic(), spawn(path)
            committed = await_commit(path, before, process)
            cpu = cpu_seconds(process.pid)
            await_step(steps)
            marks = dict(json.loads(line) for line in steps.read_text().splitlines())
            found = lengths(spawned, marks)
            yield RestartTimes(committed - killed, committed - spawned, cpu, found)
    finally:
        process.terminate()
        process.wait(30)


def await_step(steps: Path) -> None:
    """Wait until the consumer has written its first commit step."""
    deadline = time.monotonic() + COMMIT_TIMEOUT_S
    while '"commit"' not in steps.read_text():
        if time.monotonic() > deadline:
            raise SystemExit("the consumer did not note its commit")
        time.sleep(0.002)


def lengths(began: float, marks: dict[str, float]) -> dict[str, float]:
    """Return the seconds of each step from their end times."""
    found = {}
    for step in STEPS:
        found[step], began = marks[step] - began, marks[step]
    return found


def summary(name: str, values: Sequence[float]) -> dict[str, object]:
    """Return a row: median, 95th percentile and maximum."""
    ordered = sorted(values)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
    figures = {"median": statistics.median(ordered), "p95": p95, "max": ordered[-1]}
    return {"seconds": name, **{k: f"{v:.2f}" for k, v in figures.items()}}


def report(title: str, found: Sequence[RestartTimes], *, as_json: bool) -> None:
    """Print the total and its steps."""
    rows = [
        summary("kill to first commit", [r.killed for r in found]),
        summary("spawn to first commit", [r.spawned for r in found]),
        summary("CPU up to it", [r.cpu for r in found]),
        *(summary(f"· {step}", [r.steps[step] for r in found]) for step in STEPS),
    ]
    show(f"{title}, {len(found)} kills", rows, as_json=as_json)


def main() -> None:
    """Measure static members, then dynamic ones, which wait for a session timeout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--dynamic-kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name, real_kafka(Path(name) / "kafka") as kafka:
        kinds: list[tuple[str, dict[str, object], int]] = [
            ("static", {"group.instance.id": "one"}, options.kills),
            ("dynamic", {}, options.dynamic_kills),
        ]
        with load(kafka.bootstrap):
            for kind, own, kills in [k for k in kinds if k[2]]:
                path = configuration(Path(name) / kind, kafka.bootstrap, own)
                found = list(recoveries(path, kills, rng))
                report(f"{kind} membership", found, as_json=options.json)
                subprocess.run(
                    [sys.executable, "-m", "pinpip", "-c", str(path), "verify"], check=True
                )


if __name__ == "__main__":
    main()
