"""A pattern of topics is consumed, shown and proven like the topics that it matches."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from pydantic import ValidationError

from core.config import TopicsSection
from core.topics import matches, named
from tests.support.brokers import Broker
from tests.support.processes import Home, kafka_home, payloads, stop, until

KNOWN = ["k1.pin", "k10.pin", "k2.geo", "other", "__consumer_offsets"]


@pytest.mark.parametrize(
    ("names", "topics"),
    [
        (["k1.pin"], ["k1.pin"]),
        (["absent"], ["absent"]),
        (["^k1"], ["k1.pin", "k10.pin"]),
        (["^k1", "k1.pin", "^k[0-9]+\\.geo$"], ["k1.pin", "k10.pin", "k2.geo"]),
        (["^.*"], ["k1.pin", "k10.pin", "k2.geo", "other"]),
        (["^none"], []),
    ],
)
def test_a_pattern_names_what_it_matches_but_for_kafkas_own(
    names: list[str], topics: list[str]
) -> None:
    assert named(names, KNOWN) == topics
    assert [t for t in KNOWN if any(matches(n, t) for n in names)] == [
        t for t in topics if t in KNOWN
    ]


@pytest.mark.parametrize("name", ["^k(", "^[[:alpha:]]+$", "^*"])
def test_a_pattern_that_cannot_be_read_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=r"POSIX class|not a regular expression"):
        TopicsSection(topics=(name,))


def create(broker: Broker, topic: str) -> None:
    """Create a topic of two partitions."""
    admin = AdminClient(broker.properties)
    admin.create_topics([NewTopic(topic, 2, 1)])[topic].result(30)


def shown(home: Home) -> dict[str, Any]:
    """Return what `pinpip status` prints for the pipeline."""
    [tree] = json.loads(home.run("status", "--json").stdout)
    return dict(tree)


@pytest.mark.real_broker
def test_topics_that_match_now_and_later_are_read_and_looked_at(
    broker: Broker, tmp_path: Path
) -> None:
    prefix = f"p{uuid4().hex[:10]}"
    one, two, other = f"{prefix}.a", f"{prefix}.b", f"x{prefix}.c"
    for topic in (one, other):
        create(broker, topic)
        broker.produce(topic, payloads(20))
    home = kafka_home(tmp_path, broker, prefix)
    tree = yaml.safe_load(home.config_path.read_text(encoding="utf-8"))
    tree["pipelines"]["user"]["source"]["topics"] = [f"^{prefix}\\..*"]
    home.config_path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    with home.running("consume") as process:
        until(lambda: home.rows() == 20, "the rows of the topic that was there")
        create(broker, two)
        broker.produce(two, payloads(10, since=100))
        until(lambda: home.rows() == 30, "the rows of the topic that came later")
        assert stop(process) == 0
    assert home.verify("--grace", "0")["findings"] == []
    assert {row["partition"].split("/")[0] for row in shown(home)["partitions"]} == {one, two}
    broker.produce(two, payloads(4, since=200))
    assert shown(home)["lag"] == 4
    assert [found["kind"] for found in home.verify("--grace", "0")["findings"]] == ["behind"] * 2
