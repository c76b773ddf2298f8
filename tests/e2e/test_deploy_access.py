"""The rights in the templates against the calls that the shipped configuration makes."""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl
import pytest
import requests
from cfnlint.data import AdditionalSpecs
from cfnlint.helpers import load_resource
from confluent_kafka import Producer
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from core.batch import Partition
from pinpip.local.java import free_port
from sinks.delta import data_file, incarnation, maintainer, table
from sinks.delta.log import name_of
from sinks.parquet import chain
from tests.support.aws import TestAws
from tests.support.brokers import Broker
from tests.support.places import ROOT
from tests.support.processes import environment, payloads, put, stop, until
from tests.support.recorded_aws import RecordedAws, recorded_aws
from tests.support.templates import NAMES, create, template

# Only asked for when a part of a long upload fails, and when a log is older than its retention.
NOT_PROVOKED = {"s3:AbortMultipartUpload", "s3:DeleteObject"}
# Kafka's own requests, as MSK's authorisation names them.
KAFKA_READ = {
    "kafka-cluster:Connect",
    "kafka-cluster:DescribeTopic",  # Metadata, ListOffsets
    "kafka-cluster:ReadData",  # Fetch
    "kafka-cluster:DescribeGroup",  # FindCoordinator, OffsetFetch
    "kafka-cluster:AlterGroup",  # JoinGroup, SyncGroup, Heartbeat, OffsetCommit
}
KAFKA_WRITE = {
    "kafka-cluster:Connect",
    "kafka-cluster:DescribeTopic",  # Metadata, ListOffsets
    "kafka-cluster:DescribeTopicDynamicConfiguration",  # DescribeConfigs
    "kafka-cluster:CreateTopic",  # Metadata that makes a topic
    "kafka-cluster:WriteData",  # Produce
    "kafka-cluster:WriteDataIdempotently",  # InitProducerId
}
UNBOUNDED = {"kinesis:ListStreams", "kafka:GetBootstrapBrokers"}

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse:UserWarning")


@pytest.fixture(scope="module")
def cloud() -> Iterator[RecordedAws]:
    with recorded_aws() as recorded:
        yield recorded


@pytest.fixture
def own_id() -> str:
    return uuid4().hex[:10]


@contextmanager
def pinpip(
    folder: Path, cloud: RecordedAws, settings: dict[str, str], *arguments: str
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command with the image's configuration in the environment of an ECS task."""
    config = ROOT / "deploy/config/config.yaml"
    own = {
        "PINPIP_AWS__ENDPOINT_URL": cloud.endpoint,
        "PINPIP_AWS__ACCESS_KEY_ID": "local",
        "PINPIP_AWS__SECRET_ACCESS_KEY": "local",
    }
    command = [sys.executable, "-m", "pinpip", "--config", str(config), *arguments]
    with subprocess.Popen(command, cwd=folder, env=environment() | own | settings) as process:
        try:
            yield process
        finally:
            process.kill()


def actions(name: str) -> set[str]:
    """Return the actions that the policy of access.yaml allows."""
    document = template("access.yaml")["Resources"][name]["Properties"]["PolicyDocument"]
    return {action for statement in document["Statement"] for action in listed(statement)}


def listed(statement: Mapping[str, Any]) -> list[str]:
    found = statement["Action"]
    return [found] if isinstance(found, str) else found


def statements(node: Any) -> Iterator[dict[str, Any]]:
    """Every statement of the tree that allows something of some resource."""
    if isinstance(node, dict):
        if node.get("Effect") == "Allow" and "Resource" in node:
            yield node
        for value in node.values():
            yield from statements(value)
    elif isinstance(node, list):
        for value in node:
            yield from statements(value)


def test_consumers_may_do_what_they_do_and_nothing_else(
    tmp_path: Path, aws: TestAws, cloud: RecordedAws, broker: Broker, own_id: str
) -> None:
    made = create(aws, f"storage-{own_id}", template("storage.yaml"), Id=own_id)
    lake = f"s3://{made['Bucket']}/lake"
    put(aws, f"streaming-{own_id}-user", payloads(100))
    producer = Producer(broker.properties)
    for value in payloads(100):
        producer.produce(f"{own_id}.user", value)
    producer.flush(30)
    cloud.actions.clear()
    settings = {"PINPIP_ID": own_id, "KAFKA_SERVERS": broker.bootstrap, "PINPIP_LAKE": lake}
    page = ("--metrics-port", str(free_port()))  # it looks at the tables' files
    with pinpip(tmp_path, cloud, settings, "consume", "user", "streaming_user", *page) as process:
        for name in ("user", "streaming_user"):
            until(partial(holds, aws, f"{lake}/{name}", 98), f"rows in {name}")
        assert stop(process) == 0
    table.checkpoint(f"{lake}/user", cloud.storage_options)
    assert actions("LakePolicy") | actions("KinesisReadPolicy") == cloud.actions | NOT_PROVOKED
    cloud.actions.clear()
    with pinpip(tmp_path, cloud, settings, "maintain", "user", "streaming_user") as process:
        assert process.wait(60) == 0
    assert cloud.actions >= {"s3:PutObject", "s3:DeleteObject"}
    assert cloud.actions <= actions("LakePolicy") | actions("UpkeepPolicy")
    cloud.actions.clear()
    readme = (ROOT / "deploy/README.md").read_text(encoding="utf-8")
    [told] = re.findall(r"`pinpip ui` needs ([^.]*)\.", readme)
    needed, port = set(re.findall(r"`((?:s3|kinesis):\w+)`", told)), free_port()
    with pinpip(tmp_path, cloud, settings, "ui", "--port", str(port)):
        until(lambda: shows(port, "user", "streaming_user"), "the page of all pipelines")
        until(lambda: needed <= cloud.actions, "every call that the page needs a right for")
    assert needed == cloud.actions


def shows(port: int, *names: str) -> bool:
    """Whether the page knows the rows of these pipelines' tables."""
    if not answers(f"http://127.0.0.1:{port}/live"):
        return False
    page = requests.get(f"http://127.0.0.1:{port}/page.json", timeout=30).json()
    known = {own["name"]: own["clean"] for own in page["pipelines"]}
    return all(known[name] for name in names)


def test_api_gateway_may_call_kinesis_as_the_gateways_routes_do(
    tmp_path: Path, cloud: RecordedAws, broker: Broker, own_id: str
) -> None:
    port = str(free_port())
    url, stream = f"http://127.0.0.1:{port}", f"streams/streaming-{own_id}-more"
    entry = {"data": {}, "partition-key": "k"}
    calls: list[tuple[str, str, dict[str, Any] | None]] = [
        ("POST", stream, {"ShardCount": 1}),
        ("GET", "streams", None),
        ("GET", stream, None),
        ("PUT", f"{stream}/record", {"Data": {}, "PartitionKey": "k"}),
        ("PUT", f"{stream}/records", {"records": [entry]}),
        ("DELETE", stream, None),
    ]
    cloud.actions.clear()
    settings = {"KAFKA_SERVERS": broker.bootstrap, "PINPIP_GATEWAY__PORT": port}
    with pinpip(tmp_path, cloud, settings, "gateway") as process:
        until(lambda: answers(f"{url}/health"), "the gateway")
        for method, path, body in calls:
            answer = requests.request(method, f"{url}/{path}", json=body, timeout=10)
            assert answer.ok, (method, path, answer.text)
        assert stop(process) == 0
    assert actions("KinesisWritePolicy") == cloud.actions


def holds(aws: TestAws, uri: str, rows: int) -> bool:
    """Whether the table is there and has so many rows, by its log."""
    try:
        return int(DeltaTable(uri, storage_options=aws.storage_options()).count()) == rows
    except TableNotFoundError:
        return False


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.ConnectionError:
        return False


@pytest.mark.parametrize(
    ("policy", "needed"), [("KafkaReadPolicy", KAFKA_READ), ("KafkaWritePolicy", KAFKA_WRITE)]
)
def test_the_rights_on_msk_are_those_of_kafkas_requests(policy: str, needed: set[str]) -> None:
    assert actions(policy) == needed


@pytest.mark.parametrize("role", ["KafkaConsumerRole", "KinesisConsumerRole"])
def test_a_consumer_may_delete_what_upkeep_deletes_and_no_object_of_an_archive(role: str) -> None:
    resources = template("access.yaml")["Resources"]
    named = [
        own["Ref"] for own in resources[role]["Properties"]["ManagedPolicyArns"] if "Ref" in own
    ]
    allowed = [
        pattern["Fn::Sub"].partition("${Bucket}/")[2]
        for statement in statements({name: resources[name] for name in named})
        if "s3:DeleteObject" in listed(statement)
        for pattern in resources_of(statement)
    ]

    def may_delete(key: str) -> bool:
        return any(fnmatchcase(f"lake/user/{key}", pattern) for pattern in allowed)

    rows = pl.DataFrame({"ind": [1]})
    for folder in ("", incarnation.folder_of("2")):
        file, _ = data_file.made(rows, [], folder, 0)
        assert may_delete(file.path)
    assert may_delete(maintainer.KEY)
    assert may_delete(name_of(7))
    assert not may_delete(chain.key_of(Partition("part-user", "0"), "0" * 20))
    assert not may_delete("part-00000-of-another-engine.snappy.parquet")


def resources_of(statement: Mapping[str, Any]) -> list[dict[str, str]]:
    found = statement["Resource"]
    return found if isinstance(found, list) else [found]


def test_every_right_names_its_resources_where_aws_lets_it() -> None:
    known = load_resource(AdditionalSpecs, "Policies.json")
    unbounded = set()
    for name in NAMES:
        for statement in statements(template(name)["Resources"]):
            for action in listed(statement):
                service, _, operation = action.partition(":")
                assert "*" not in action
                has_level = known[service]["Actions"][operation.lower()].get("Resources")
                if statement["Resource"] == "*":
                    assert not has_level, action
                    unbounded.add(action)
    assert unbounded == UNBOUNDED
