"""What a consumer executes: the parts of its pipeline, and none of the tools beside it."""

import json
import subprocess
import sys

import pytest

from tests.support.processes import environment

# Compose a Kafka pipeline as `pinpip consume` does, then list the modules that this executed.
COMPOSING = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import pinpip.cli, pinpip.cli.consume, pinpip.metrics
from core.clock import SystemClock
from pinpip import configfile
from pinpip.pipelines import loop_of
config = configfile.load(Path(sys.argv[1]), {})
with ThreadPoolExecutor(1) as workers:
    loop_of(config, "user", SystemClock(), workers, print)
print(json.dumps(list(sys.modules)))
"""


CONFIG = """
id: demo
kafka: {bootstrap.servers: "127.0.0.1:1"}
lake: {root: lake}
pipelines:
  user:
    source: {topics: [user]}
    schema: transforms.user:SCHEMA
    transform: transforms.user:clean
    sinks: [{delta: user}, {parquet: archive}]
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return the modules that a consumer of a Kafka pipeline with an archive has imported."""
    folder = tmp_path_factory.mktemp("consumer")
    (folder / "config.yaml").write_text(CONFIG, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", COMPOSING, str(folder / "config.yaml")],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("package", ["chaos", "audit", "consumers.kinesis"])
def test_a_consumer_of_kafka_executes_no_file_of(package: str, loaded: set[str]) -> None:
    assert "consumers.kafka.source" in loaded
    assert sorted(n for n in loaded if f"{n}.".startswith(f"{package}.")) == []
