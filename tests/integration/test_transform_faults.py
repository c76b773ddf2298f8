"""A user's transform that fails, filters and reads whole floats, from a topic to the proof."""

from pathlib import Path

import polars as pl
import pytest
import yaml

from consumers.window import Window
from pinpip.cli import replay
from pinpip.verify.verdict import RereadPlan
from tests.support.brokers import Broker
from tests.support.consuming import consumed
from tests.support.processes import Home, assert_same_tables, kafka_home, until

COUNT = 60
CODE = """
import polars as pl
from transforms.schema import Schema

VERSION = "rooms 3"
FIELDS = {"ind": pl.Int64(), "floor": pl.String(), "beds": pl.Int64()}
SCHEMA = Schema("room", "ind", FIELDS)
OLD = Schema("room", "ind", FIELDS, whole_floats=False)


def clean(rows):
    return rows.with_columns(pl.col("floor").cast(pl.Int64)).filter(pl.col("floor") >= 0)


def greedy(rows):
    if rows.select(pl.len()).collect().item():
        raise MemoryError
    return rows
"""


def room(number: int) -> bytes:
    """Make a record; every tenth is negative, every twelfth no number, every seventh a float."""
    floor = "-1" if number % 10 == 0 else "roof" if number % 12 == 1 else "2"
    ind = f"{number}.0" if number % 7 == 0 else str(number)
    return f'{{"ind": {ind}, "floor": "{floor}", "beds": {number % 3}.0}}'.encode()


BAD = [n for n in range(COUNT) if n % 12 == 1 and n % 10]
GONE = [n for n in range(COUNT) if n % 10 == 0]
FLOATS = [n for n in range(COUNT) if n % 7 == 0]


def configure(home: Home, schema: str = "SCHEMA", transform: str = "clean", batch: int = 7) -> Home:
    tree = yaml.safe_load(home.config_path.read_text(encoding="utf-8"))
    own = {"schema": f"rooms.py:{schema}", "transform": f"rooms.py:{transform}"}
    tree["pipelines"]["user"] |= own
    tree["batching"]["max_records"] = batch
    home.config_path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return home


@pytest.fixture
def topic(broker: Broker) -> str:
    return broker.create_topic()


@pytest.fixture
def home(broker: Broker, topic: str, tmp_path: Path) -> Home:
    """Configure a pipeline whose code is a file beside config.yaml, and send it half the rooms."""
    (tmp_path / "rooms.py").write_text(CODE, encoding="utf-8")
    broker.produce(topic, [room(n) for n in range(COUNT // 2)])
    return configure(kafka_home(tmp_path, broker, topic))


def read(home: Home) -> int:
    """Return how many records the clean table accounts for."""
    return int(home.examined(None)["read"]) if home.files("user/_delta_log/*.json") else 0


def test_bad_values_are_quarantined_and_every_reading_agrees(
    home: Home, broker: Broker, topic: str
) -> None:
    consumed(home, lambda: read(home) == COUNT // 2)
    broker.produce(topic, [room(n) for n in range(COUNT // 2, COUNT)])
    consumed(configure(home, batch=1000), lambda: read(home) == COUNT)
    rejected = home.table("user_quarantine")
    assert set(rejected["_value"]) == {room(n) for n in BAD}
    assert set(rejected["reason"]) == {"transform_failed"}
    assert set(rejected["transform_version"]) == {"rooms 3"}
    assert home.table()["beds"].dtype == pl.Int64
    verdict = configure(home, batch=13).examined(0.0, RereadPlan())
    assert verdict["findings"] == verdict["unknown"] == []
    assert (verdict["quarantined"], verdict["filtered"]) == (len(BAD), len(GONE))
    assert verdict["clean"] == COUNT - len(BAD) - len(GONE)
    replay.run(home.config, "user", "again", Window(), as_json=True)
    assert_same_tables(home, "user", "again")
    changed = CODE.replace("rooms 3", "rooms 4").replace(">= 0)", ">= 0).with_columns(beds=9)")
    (home.folder / "rooms.py").write_text(changed, encoding="utf-8")
    found = home.examined(0.0, RereadPlan())["findings"]
    assert {finding["kind"] for finding in found} == {"different"}
    told = "transform_version is rooms 4, other commits have rooms 3"
    assert all(told in finding["detail"] for finding in found)


def test_a_lake_of_an_earlier_release_is_continued_and_proven(
    home: Home, broker: Broker, topic: str
) -> None:
    half = COUNT // 2
    consumed(configure(home, schema="OLD"), lambda: read(home) == half)
    old = {room(n) for n in FLOATS if n < half}
    bad_keys = home.table("user_quarantine").filter(pl.col("reason") == "bad_key")
    assert set(bad_keys["_value"]) == old
    assert home.table()["beds"].null_count() == home.table().height
    configure(home)
    assert home.examined(0.0, RereadPlan())["findings"] == []
    broker.produce(topic, [room(n) for n in range(half, COUNT)])
    consumed(home, lambda: read(home) == COUNT)
    bad_keys = home.table("user_quarantine").filter(pl.col("reason") == "bad_key")
    assert set(bad_keys["_value"]) == old
    verdict = home.examined(0.0, RereadPlan())
    assert verdict["findings"] == verdict["unknown"] == []
    assert verdict["reread"]["records"] == COUNT


def test_a_fault_that_no_record_causes_ends_the_process_in_one_error_line(home: Home) -> None:
    with configure(home, transform="greedy").running("consume", "user") as consumer:
        until(lambda: consumer.poll() is not None, "the end of the consumer")
    assert consumer.returncode == 1
    lines = (home.folder / "process.log").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("error:")] == [
        "error: transform rooms.py:greedy cannot be run: MemoryError (rooms.py, line 17)"
    ]
    assert not any("Traceback" in line for line in lines)
    assert home.rows() == 0
