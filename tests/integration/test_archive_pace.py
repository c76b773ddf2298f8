"""A consumer that holds a minute of its archive: stopped, killed, and verified meanwhile."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.archives import change_pipeline, kept
from tests.support.brokers import Broker
from tests.support.processes import (
    Home,
    Process,
    assert_holds_once,
    kafka_home,
    payloads,
    stop,
    until,
)

COUNT = 2_000
WITHIN = 10.0  # seconds after SIGTERM
pytestmark = [pytest.mark.process, pytest.mark.real_broker]


def home_of(folder: Path, broker: Broker, topic: str) -> Home:
    """Configure a pipeline with an archive, and nothing of its pace."""
    home = kafka_home(folder, broker, topic)
    change_pipeline(home, sinks=[{"delta": "user"}, {"parquet": str(folder / "archive")}])
    return home


def all_rows(home: Home, count: int) -> Callable[[], bool]:
    return lambda: home.rows() == count


def assert_archived(home: Home, count: int) -> None:
    """Assert that the archive has each record once, by its rows and by verify."""
    assert kept(home) == count
    tree = home.examined(0.0)
    assert (tree["findings"], tree["unknown"], tree["unarchived"]) == ([], [], 0)
    assert sum(chain["records"] for chain in tree["archives"]) == count


def test_what_is_held_is_counted_and_written_when_the_consumer_stops(
    broker: Broker, tmp_path: Path
) -> None:
    topic = broker.create_topic()
    broker.produce(topic, payloads(COUNT))
    home = home_of(tmp_path, broker, topic)
    with home.running("consume", "user") as process:
        until(all_rows(home, COUNT), "all rows")
        tree = home.examined(60.0)
        assert (tree["findings"], tree["unknown"], tree["unarchived"]) == ([], [], COUNT)
        said = home.run("verify", "user")
        assert said.returncode == 0, said.stdout + said.stderr
        assert f"{COUNT:,} of user not in the archive yet (written every 60 s)" in said.stdout
        assert kept(home) == 0
        assert stop(process, WITHIN) == 0
    assert_archived(home, COUNT)


def killed(process: Process) -> None:
    process.kill()
    process.wait()


def test_what_a_killed_consumer_held_is_read_again(broker: Broker, tmp_path: Path) -> None:
    topic = broker.create_topic()
    broker.produce(topic, payloads(COUNT))
    home = home_of(tmp_path, broker, topic)
    with home.running("consume", "user") as process:
        until(all_rows(home, COUNT), "all rows")
        killed(process)
    assert kept(home) == 0
    broker.produce(topic, payloads(COUNT, since=COUNT))
    done = home.run("consume", "user", "--until-end")
    assert done.returncode == 0, done.stderr
    assert_archived(home, 2 * COUNT)
    assert_holds_once(home, payloads(2 * COUNT))


def test_full_memory_is_written_within_ten_seconds_of_a_stop(
    broker: Broker, tmp_path: Path
) -> None:
    topic, count = broker.create_topic(), 48
    broker.produce(topic, [large(n) for n in range(count)])  # 45 MB, below the 64 MiB
    home = home_of(tmp_path, broker, topic)
    with home.running("consume", "user") as process:
        until(all_rows(home, count), "all rows")
        assert kept(home) == 0
        assert stop(process, WITHIN) == 0
    assert_archived(home, count)


def large(number: int) -> bytes:
    """Make a payload of almost a megabyte that does not compress to nothing."""
    text = random.Random(number).randbytes(450_000).hex().encode()
    return payloads(1, since=number + 1)[0].replace(b'"No"', b'"%s"' % text)
