"""What a command executes: the parts of its pipeline, and none of the tools beside it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.aws import TestAws
from tests.support.brokers import Broker
from tests.support.processes import (
    Home,
    environment,
    kafka_home,
    kinesis_home,
    payloads,
    put,
    until,
)

# Compose a pipeline as `pinpip consume` does.
COMPOSING = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import pinpip.cli, pinpip.cli.consume, pinpip.observed, monitor.exposition
from core.clock import SystemClock
from pinpip import configfile
from pinpip.pipelines import loop_of
config = configfile.load(Path(sys.argv[1]), {})
with ThreadPoolExecutor(1) as workers:
    loop_of(config, "user", SystemClock(), workers)
"""

# Compare the tables with their source, content included.
VERIFYING = """
import json, sys
from pathlib import Path
import pinpip.cli, pinpip.cli.verify
from pinpip import configfile
from pinpip.verify.examine import examine
from pinpip.verify.verdict import RereadPlan
config = configfile.load(Path(sys.argv[1]), {})
verdict = examine(config, "user", 60.0, RereadPlan())
assert not verdict.findings and not verdict.unknown, verdict
"""

CONFIG = """
id: demo
kafka: {{bootstrap.servers: "127.0.0.1:1"}}
aws: {{region: eu-west-1, access_key_id: local, secret_access_key: local}}
lake: {{root: lake}}
pipelines:
  user:
    source: {source}
    schema: transforms.user:SCHEMA
    transform: transforms.user:clean
    sinks: [{{delta: user}}, {{parquet: archive}}]
"""
RECORDS = 10
TOPIC, STREAM = "{topics: [user]}", "{stream: user}"


def executed(script: str, config: Path) -> set[str]:
    """Return the modules that `script` has imported in its own interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", f"{script}print(json.dumps(list(sys.modules)))", str(config)],
        capture_output=True,
        text=True,
        check=False,
        cwd=config.parent,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def of(package: str, loaded: set[str]) -> list[str]:
    """Return those of the modules that belong to the package."""
    return sorted(n for n in loaded if f"{n}.".startswith(f"{package}."))


def composed(folder: Path, source: str) -> set[str]:
    """Return the modules that a consumer of `source`, with an archive, has imported."""
    (folder / "config.yaml").write_text(CONFIG.format(source=source), encoding="utf-8")
    return executed(COMPOSING, folder / "config.yaml")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return the modules that a consumer of a Kafka pipeline has imported."""
    return composed(tmp_path_factory.mktemp("kafka"), TOPIC)


@pytest.fixture(scope="module")
def loaded_for_a_stream(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return the modules that a consumer of a Kinesis pipeline has imported."""
    return composed(tmp_path_factory.mktemp("kinesis"), STREAM)


@pytest.mark.parametrize("package", ["chaos", "audit", "consumers.kinesis", "boto3"])
def test_a_consumer_of_kafka_executes_no_file_of(package: str, loaded: set[str]) -> None:
    assert "consumers.kafka.source" in loaded
    assert of(package, loaded) == []


@pytest.mark.parametrize("package", ["chaos", "audit", "consumers.kafka", "confluent_kafka"])
def test_a_consumer_of_kinesis_executes_no_file_of(
    package: str, loaded_for_a_stream: set[str]
) -> None:
    assert "consumers.kinesis.source" in loaded_for_a_stream
    assert of(package, loaded_for_a_stream) == []


def verified(home: Home) -> set[str]:
    """Return the modules that verify, with the source read again, has imported."""
    with home.running("consume", "user"):
        until(lambda: home.rows() == RECORDS, "all rows")
    return executed(VERIFYING, home.config_path)


def test_verify_of_kafka_executes_no_file_of_kinesis(mock_broker: Broker, tmp_path: Path) -> None:
    topic = mock_broker.create_topic()
    mock_broker.produce(topic, payloads(RECORDS))
    loaded = verified(kafka_home(tmp_path, mock_broker, topic))
    assert {"consumers.kafka.watermarks", "consumers.kafka.replay", "audit.reread"} <= loaded
    assert of("consumers.kinesis", loaded) == []


def test_verify_of_kinesis_executes_no_file_of_kafka(aws: TestAws, tmp_path: Path) -> None:
    stream = aws.stream()
    put(aws, stream, payloads(RECORDS))
    loaded = verified(kinesis_home(tmp_path, aws, stream))
    assert {"consumers.kinesis.ends", "consumers.kinesis.source", "audit.reread"} <= loaded
    assert of("consumers.kafka", loaded) == []
