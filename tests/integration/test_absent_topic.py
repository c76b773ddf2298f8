"""A topic that is not there is never called up to date."""

import json
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from tests.support.brokers import Broker
from tests.support.commands import invoke
from tests.support.processes import Home, kafka_home, payloads, until


@pytest.mark.real_broker
@pytest.mark.process
def test_status_of_a_deleted_topic_does_not_know_the_lag(tmp_path: Path, broker: Broker) -> None:
    topic = broker.create_topic(partitions=1)
    broker.produce(topic, payloads(5))
    home = kafka_home(tmp_path, broker, topic)
    assert home.run("consume", "--until-end").returncode == 0
    admin = AdminClient(broker.properties)
    admin.delete_topics([topic])[topic].result(30)
    until(lambda: of(home)["lag"] is None, "the topic to be gone")
    told = of(home)
    assert told["clean"] + told["quarantined"] == 5
    assert "no such topic" in told["unknown"][topic]


def of(home: Home) -> dict[str, Any]:
    [tree] = json.loads(invoke(home, "status", "--json").stdout)
    return dict(tree)
