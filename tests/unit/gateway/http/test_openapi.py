"""The gateway's document: that it is valid, served as it is, and says every route."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from openapi_schema_validator import OAS30Validator
from openapi_spec_validator import OpenAPIV30SpecValidator
from starlette.routing import Route

from core.config import Gateway
from core.web import hashed
from gateway.app import create_app
from gateway.http import openapi
from gateway.kafka.cluster import KafkaCluster
from gateway.kafka.producer import KafkaProducer
from gateway.server import kinesis_client
from tests.support.gateways import NOWHERE, running

DOCUMENT = openapi.document()
NO_KAFKA = {"bootstrap.servers": "127.0.0.1:9"}
IDEMPOTENT = {"produce", "produceToPartition", "putRecord", "putRecords"}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method and operation of everything that the document describes."""
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


OPERATIONS = {operation["operationId"]: operation for _, _, operation in operations()}


def inside(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object of a JSON tree."""
    if isinstance(tree, dict):
        yield tree
    for value in tree.values() if isinstance(tree, dict) else tree:
        if isinstance(value, dict | list):
            yield from inside(value)


def test_the_document_is_openapi_3_0() -> None:
    assert DOCUMENT["openapi"] == "3.0.1"
    assert [str(e) for e in OpenAPIV30SpecValidator(DOCUMENT).iter_errors()] == []


def test_the_document_is_served_whole_and_without_a_key() -> None:
    keyed = Gateway.model_validate({"api_keys": {"caller": hashed(b"k")}})
    with running(NO_KAFKA, settings=keyed) as url:
        answer = requests.get(f"{url}/test/openapi.json", timeout=10)

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == json.loads(json.dumps(DOCUMENT))
    assert "x-amazon-apigateway-integration" in answer.text


def test_the_document_has_the_routes_of_the_gateway_and_no_others() -> None:
    kafka = KafkaProducer(NO_KAFKA), KafkaCluster(NO_KAFKA)
    app = create_app(Gateway(stage=""), *kafka, kinesis_client(NOWHERE))
    served = {
        (route.path, method.lower())
        for route in app.routes
        if isinstance(route, Route)
        for method in route.methods or ()
        if method != "HEAD"
    }

    assert {(path, method) for path, method, _ in operations()} == served


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_example_is_what_its_schema_says(name: str) -> None:
    contents = [found["content"] for found in inside(OPERATIONS[name]) if "content" in found]
    media = [described for content in contents for described in content.values()]

    assert all("schema" in described for described in media)
    for described in media:
        if "example" in described:
            schema = described["schema"] | {"components": DOCUMENT["components"]}
            OAS30Validator(schema).validate(described["example"])


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_parameter_has_an_example_or_is_optional_and_the_example_fits(name: str) -> None:
    for parameter in OPERATIONS[name].get("parameters", []):
        assert parameter["description"]
        if parameter.get("required"):
            OAS30Validator(parameter["schema"]).validate(parameter["example"])


def test_only_storing_takes_an_idempotency_key() -> None:
    takers = {
        name
        for name, operation in OPERATIONS.items()
        if "Idempotency-Key" in {p["name"] for p in operation.get("parameters", [])}
    }

    assert takers == IDEMPOTENT


@pytest.mark.parametrize("status", ["429", "503"])
def test_who_shall_come_back_is_told_when(status: str) -> None:
    told = [operation["responses"].get(status) for operation in OPERATIONS.values()]

    assert all("Retry-After" in response["headers"] for response in told if response)
    assert any(told)


def test_every_schema_is_used() -> None:
    text = json.dumps(DOCUMENT)
    used = set(re.findall(r"#/components/schemas/(\w+)", text))

    assert used == set(DOCUMENT["components"]["schemas"])
