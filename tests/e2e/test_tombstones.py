"""Records without a value: in quarantine, or dropped and counted; the archive keeps them."""

import json
from pathlib import Path

import polars as pl
import pytest

from audit.verify import verify
from pinpip.pipelines import tables_of
from tests.support.brokers import Broker
from tests.support.commands import change
from tests.support.processes import Home, kafka_home, payload, stop, until

VALUES = [None if n % 4 == 0 else payload(n) for n in range(1, 41)]  # no bad payload among them
DEAD = VALUES.count(None)
ALIVE = len(VALUES) - DEAD


def consumed(folder: Path, broker: Broker, tombstones: str | None) -> tuple[Home, str]:
    """Consume all of VALUES; return the home and the consumer's last log line."""
    topic = broker.create_topic()
    broker.produce(topic, VALUES)
    home = kafka_home(folder, broker, topic)
    if tombstones is not None:
        change(home, "pipelines/user/source/tombstones", tombstones)
    sinks = [{"delta": "user"}, {"parquet": str(folder / "archive"), "flush": {"seconds": 0}}]
    change(home, "pipelines/user/sinks", sinks)
    with home.running("consume", "user") as consumer:
        until(lambda: archived(home).height == len(VALUES), "the archive to hold every record")
        assert stop(consumer) == 0
    return home, (folder / "process.log").read_text(encoding="utf-8").splitlines()[-1]


def archived(home: Home) -> pl.DataFrame:
    """Read the records of the archive."""
    files = list((home.folder / "archive").rglob("*.parquet"))
    return pl.concat(map(pl.read_parquet, files)) if files else pl.DataFrame()


@pytest.mark.parametrize("configured", ["quarantine", None])
def test_tombstones_are_quarantined_unless_said_otherwise(
    broker: Broker, tmp_path: Path, configured: str | None
) -> None:
    home, said = consumed(tmp_path, broker, configured)
    assert said == f"user: {ALIVE} clean, {DEAD} quarantined"
    rejected = home.table("user_quarantine")
    assert rejected["reason"].to_list() == ["tombstone"] * DEAD
    assert rejected["_value"].null_count() == DEAD
    assert home.verify("--grace", "0")["findings"] == []


def test_dropped_tombstones_are_counted_and_archived_and_verify_knows_of_them(
    broker: Broker, tmp_path: Path
) -> None:
    home, said = consumed(tmp_path, broker, "drop")
    assert said == f"user: {ALIVE} clean, 0 quarantined, {DEAD} filtered"
    assert archived(home)["_value"].null_count() == DEAD
    verdict = home.verify("--grace", "0")
    assert verdict["findings"] == []
    assert (verdict["read"], verdict["clean"], verdict["quarantined"]) == (len(VALUES), ALIVE, 0)
    positions = [t.position for t in verify(tables_of(home.config, "user")).tallies]
    assert sum(p.number for p in positions if p) == len(VALUES)


def test_a_batch_of_dropped_tombstones_alone_moves_the_position(
    broker: Broker, tmp_path: Path
) -> None:
    topic = broker.create_topic()
    broker.produce(topic, [None] * 8)
    home = kafka_home(tmp_path, broker, topic)
    change(home, "pipelines/user/source/tombstones", "drop")
    with home.running("consume", "user") as consumer:
        until(lambda: home.lag() == 0, "the positions behind the tombstones")
        assert stop(consumer) == 0
    [tree] = json.loads(home.run("status", "--json").stdout)
    assert (tree["clean"], tree["quarantined"], tree["lag"]) == (0, 0, 0)


def test_config_check_says_that_tombstones_are_dropped(broker: Broker, tmp_path: Path) -> None:
    home = kafka_home(tmp_path, broker, "demo.user")
    checked = home.run("config", "check").stdout
    assert "demo.user" in checked
    assert "tombstones" not in checked
    change(home, "pipelines/user/source/tombstones", "drop")
    assert "less tombstones" in home.run("config", "check").stdout
