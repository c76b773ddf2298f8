"""Pins that already are on a real Kafka topic go into Delta: records a second and peak memory.

Example: python -m benchmarks --records 1000000
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import yaml
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError
from rich.progress import track

from pinpip.local.java import real_kafka
from producers import emulator

TOPIC, PARTITIONS = "demo.pin", 4
POOL = 50_000  # distinct pins; the topic repeats them


def fill(bootstrap: str, records: int) -> None:
    """Create the topic and put `records` emulated pins on it."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result()
    tuned = {"compression.type": "lz4", "linger.ms": 50, "batch.size": 500_000}
    producer = Producer({"bootstrap.servers": bootstrap, **tuned})
    pins = [json.dumps(e.rows["pin"]).encode() for e in islice(emulator.events(1), POOL)]
    for n in track(range(records), "filling the topic", disable=not sys.stderr.isatty()):
        while True:
            try:
                producer.produce(TOPIC, pins[n % POOL], partition=n % PARTITIONS)
                break
            except BufferError:
                producer.poll(0.05)
    producer.flush()


def configuration(folder: Path, bootstrap: str) -> Path:
    """A config.yaml with one pipeline: pins from Kafka into Delta on the local disk."""
    pin = {
        "source": {"topics": [TOPIC]},
        "schema": "transforms.pin:SCHEMA",
        "transform": "transforms.pin:clean",
        "sinks": [{"delta": "pin"}],
    }
    tree = {
        "id": "demo",
        "kafka": {"bootstrap.servers": bootstrap},
        "lake": {"root": str(folder / "lake")},
        "pipelines": {"pin": pin},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def held(folder: Path) -> int:
    """Rows in the clean table."""
    try:
        return int(DeltaTable(str(folder / "lake" / "pin")).count())
    except TableNotFoundError:
        return 0


def consume(folder: Path, bootstrap: str, records: int) -> dict[str, float]:
    """Run the consumer on the whole topic; seconds to the first commit and to the last."""
    command = [sys.executable, "-m", "pinpip", "--config", str(configuration(folder, bootstrap))]
    began = time.monotonic()
    process = subprocess.Popen([*command, "consume", "pin"])
    first, first_rows = 0.0, 0
    while (rows := held(folder)) < records:
        if process.poll() is not None:
            raise SystemExit(f"the consumer ended with code {process.returncode} at {rows} rows")
        if rows and not first:
            first, first_rows = time.monotonic() - began, rows
        time.sleep(0.2)  # opening the table costs the same cores
    took = time.monotonic() - began
    status = Path(f"/proc/{process.pid}/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    return {
        "seconds": took,
        "first_commit": first or took,
        "records_per_s": records / took,
        "records_per_s_after_first_commit": (records - first_rows) / (took - first),
        "peak_mb": peak / 1024,
    }


def main() -> None:
    """Fill, consume, print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    records = parser.parse_args().records
    with tempfile.TemporaryDirectory() as name, real_kafka(Path(name) / "kafka") as kafka:
        fill(kafka.bootstrap, records)
        found = consume(Path(name), kafka.bootstrap, records)
    figures = {name: round(value, 2) for name, value in found.items()}
    print(json.dumps({"records": records, "cores": os.cpu_count(), **figures}))


if __name__ == "__main__":
    main()
