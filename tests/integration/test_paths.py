"""How many files one has to read to follow the work from its beginning to its end."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from audit.verify import verify
from core.batch import Partition, Position
from core.clock import Clock
from core.protocols import Sink, Source
from pinpip.pipelines import tables_of
from tests.support.brokers import Broker
from tests.support.consuming import consumed, consuming
from tests.support.executed import executed_files
from tests.support.processes import Home, kafka_home, payloads, until

MAX_FILES_OF_A_BATCH = 31  # two tell the observer, four carry what overlaps, three bound memory
MAX_FILES_OF_A_PROOF = 24  # four tell what replacements of rows amended
T = TypeVar("T")


class Watcher:
    """A FaultInjector that breaks nothing: it notes which `files` ran when a sink had written."""

    def __init__(self, files: set[str]) -> None:
        self._files = files
        self.written: dict[str, frozenset[str]] = {}
        self.acknowledged: dict[Partition, Position] = {}

    def records(self) -> int:
        """Return how many records are acknowledged."""
        return sum(position.number for position in self.acknowledged.values())

    def clock(self, clock: Clock) -> Clock:
        return clock

    def store(self, name: str, store: T) -> T:  # noqa: ARG002  # as the protocol has it
        return store

    def source(self, source: Source) -> Source:
        acknowledge = source.acknowledge

        def watched(positions: Mapping[Partition, Position]) -> None:
            acknowledge(positions)
            self.acknowledged |= positions

        source.acknowledge = watched  # type: ignore[method-assign]
        return source

    def sink(self, sink: Sink) -> Sink:
        commit = sink.commit

        def watched(prepared: Sequence[Any]) -> None:
            commit(prepared)
            self.written[sink.name] = frozenset(self._files)

        sink.commit = watched  # type: ignore[method-assign]
        return sink


@pytest.fixture
def home(broker: Broker, tmp_path: Path) -> Home:
    """Configure a pipeline whose topic has five records."""
    topic = broker.create_topic()
    broker.produce(topic, payloads(5))
    return kafka_home(tmp_path, broker, topic)


def test_a_batch_runs_through_few_files_from_the_poll_to_the_commit(
    home: Home, broker: Broker
) -> None:
    [topic] = home.config.pipeline("user").source.topics
    with executed_files() as files:
        watcher = Watcher(files)
        with consuming(home, faults=watcher):
            until(lambda: watcher.records() == 5, "the first batch")
            files.clear()
            broker.produce(topic, payloads(5, since=5))
            until(lambda: home.rows() == 10, "the second batch")
    ran = watcher.written["clean"]
    assert "sinks/delta/sink.py" in ran
    assert len(ran) <= MAX_FILES_OF_A_BATCH, "\n".join(sorted(ran))


def test_a_proof_reads_few_files_and_none_of_kinesis(home: Home) -> None:
    consumed(home, lambda: home.rows() == 5)
    tables = tables_of(home.config, "user")
    with executed_files() as files:
        report = verify(tables)
    assert report.findings == ()
    assert [name for name in files if "kinesis" in name] == []
    assert len(files) <= MAX_FILES_OF_A_PROOF, "\n".join(sorted(files))
