"""The CloudFormation templates: linted, and what moto can make of them made and looked at."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from core.config import Config, StreamSection
from pinpip import configfile
from tests.support.aws import TestAws
from tests.support.places import ROOT
from tests.support.templates import (
    ACCOUNT,
    FOLDER,
    NAMES,
    create,
    loops,
    rendered_document,
    template,
)

METHODS = {"get", "put", "post", "delete", "head", "patch", "options"}

# What moto knows no resource for is left out, and named in a warning.
pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse:UserWarning")


@pytest.fixture
def own_id() -> str:
    return uuid4().hex[:10]


@pytest.fixture(scope="module")
def shipped() -> Config:
    """Load the configuration in the image."""
    environment = {"PINPIP_ID": "demo", "KAFKA_SERVERS": "b:9098", "PINPIP_LAKE": "s3://b/lake"}
    return configfile.load(ROOT / "deploy/config/config.yaml", environment)


def commands(tree: Any) -> Iterator[Any]:
    """Return the command of every container, at any depth."""
    if isinstance(tree, dict):
        if "Command" in tree:
            yield tree["Command"]
        for value in tree.values():
            yield from commands(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from commands(value)


@pytest.mark.process
def test_the_linter_finds_nothing() -> None:
    lint = str(Path(sys.executable).with_name("cfn-lint"))
    files = [str(FOLDER / name) for name in NAMES]
    done = subprocess.run([lint, *files], capture_output=True, text=True, check=False)
    assert done.stdout + done.stderr == ""
    assert done.returncode == 0


def test_the_main_template_nests_all_others() -> None:
    nested = [
        r["Properties"].get("TemplateURL") for r in template("main.yaml")["Resources"].values()
    ]
    assert sorted(filter(None, nested)) == [name for name in NAMES if name != "main.yaml"]


@pytest.mark.parametrize("script", ["deploy.sh", "render.sh"])
def test_the_scripts_are_executable_and_their_syntax_is_right(script: str) -> None:
    path = FOLDER / script
    assert path.stat().st_mode & 0o111
    subprocess.run(["/bin/sh", "-n", str(path)], check=True)


def test_the_streams_are_those_that_the_shipped_pipelines_read(
    aws: TestAws, shipped: Config, own_id: str
) -> None:
    create(aws, f"storage-{own_id}", template("storage.yaml"), Id=own_id, Shards="2")
    kinesis = aws.client("kinesis")
    read = [
        p.source.stream for p in shipped.pipelines.values() if isinstance(p.source, StreamSection)
    ]
    for name in read:
        own = name.replace("demo", own_id)
        shards = kinesis.describe_stream(StreamName=own)["StreamDescription"]["Shards"]
        assert len(shards) == 2
    assert len(read) == 3


def test_the_bucket_is_encrypted_closed_and_keeps_no_versions(aws: TestAws, own_id: str) -> None:
    tree = template("storage.yaml")
    bucket = create(aws, f"storage-{own_id}", tree, Id=own_id)["Bucket"]
    rules = aws.client("s3").get_bucket_encryption(Bucket=bucket)
    [rule] = rules["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    # moto takes no more than that of the template.
    properties = tree["Resources"]["Lake"]["Properties"]
    assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
    assert "VersioningConfiguration" not in properties
    [cleaning] = properties["LifecycleConfiguration"]["Rules"]
    assert cleaning["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    assert tree["Resources"]["Lake"]["DeletionPolicy"] == "Retain"


def test_the_table_of_leases_has_the_key_of_the_kinesis_client_library(
    aws: TestAws, own_id: str
) -> None:
    name = create(aws, f"storage-{own_id}", template("storage.yaml"), Id=own_id)["Leases"]
    table = aws.client("dynamodb").describe_table(TableName=name)["Table"]
    assert table["KeySchema"] == [{"AttributeName": "leaseKey", "KeyType": "HASH"}]
    assert table["AttributeDefinitions"] == [{"AttributeName": "leaseKey", "AttributeType": "S"}]
    assert table["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"


def test_there_is_a_service_for_each_shipped_pipeline(shipped: Config) -> None:
    run = [
        re.sub(r"\$\{\w+\}", value, text["Fn::Sub"])
        for _, values, body in loops("consumers.yaml")
        for command in commands(body)
        for value in values
        for verb, text, *_ in [command]
        if verb == "consume"
    ]
    assert sorted(run) == sorted(shipped.pipelines)


def test_a_stream_is_never_read_by_two_tasks() -> None:
    body = template("consumers.yaml")["Resources"]["Fn::ForEach::Kinesis"][2]
    service = body["streaming${Record}Service"]["Properties"]
    assert service["DesiredCount"] == 1
    assert service["DeploymentConfiguration"] == {"MinimumHealthyPercent": 0, "MaximumPercent": 100}
    assert not any("ScalableTarget" in resource["Type"] for resource in body.values())


def test_the_document_names_the_region_the_account_and_the_role_of_the_stack() -> None:
    text = rendered_document("abc", "111122223333").decode()
    role = template("access.yaml")["Resources"]["ApiRole"]["Properties"]["RoleName"]
    assert role == {"Fn::Sub": "pinpip-${Id}-api-kinesis"}
    assert "arn:aws:iam::111122223333:role/pinpip-abc-api-kinesis" in text
    assert "arn:aws:apigateway:eu-west-1:kinesis:action/PutRecords" in text
    assert "us-east-1" not in text
    assert f"::{ACCOUNT}:" not in text


def test_the_stage_gives_the_variables_that_the_document_asks_for() -> None:
    asked = set(re.findall(r"stageVariables\.(\w+)", rendered_document("abc").decode()))
    given = template("api.yaml")["Resources"]["LiveStage"]["Properties"]["Variables"]
    assert asked == set(given)


def test_api_gateway_takes_every_route_of_the_document(aws: TestAws, own_id: str) -> None:
    tree = template("api.yaml")
    del tree["Resources"]["Deployment"]  # moto reads no document from S3: it comes below
    given = dict.fromkeys(tree["Parameters"], "1") | {"Id": own_id}
    api = create(aws, f"api-{own_id}", tree, **given)["Api"]
    document = yaml.load(rendered_document(own_id), Loader=yaml.CSafeLoader)
    client = aws.client("apigateway")
    client.put_rest_api(restApiId=api, mode="overwrite", body=json.dumps(document).encode())
    resources = client.get_resources(restApiId=api, limit=500)["items"]
    made = {
        (resource["path"], method): settings.get("methodIntegration", {}).get("uri")
        for resource in resources
        for method, settings in resource.get("resourceMethods", {}).items()
    }
    assert made == {
        (path, method.upper()): operation["x-amazon-apigateway-integration"].get("uri")
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in METHODS
    }
