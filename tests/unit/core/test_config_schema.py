"""config.schema.json says what the models say."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pinpip.configfile import schema
from tests.support.places import ROOT

FILE = ROOT / "config.schema.json"
CONFIGURATIONS = [ROOT / "config.yaml", ROOT / "deploy/config/config.yaml"]


@pytest.fixture(scope="module")
def checker() -> Any:
    """Return what an editor checks a configuration with."""
    found = json.loads(FILE.read_text(encoding="utf-8"))
    jsonschema.Draft7Validator.check_schema(found)
    return jsonschema.Draft7Validator(found)


def example() -> dict[str, Any]:
    return dict(yaml.safe_load(CONFIGURATIONS[0].read_text(encoding="utf-8")))


def test_the_file_is_what_the_models_give() -> None:
    text = FILE.read_text(encoding="utf-8")
    assert text == schema.text(), "run: pinpip config schema > config.schema.json"


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.parent.name)
def test_a_configuration_names_the_schema_and_keeps_it(checker: Any, path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    first, _, _ = text.partition("\n")
    named = first.removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / named).resolve() == FILE
    assert list(checker.iter_errors(yaml.safe_load(text))) == []


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("gateway", {"prot": 1}),
        ("gateway", {"port": "http"}),
        ("gateway", {"port": 70000}),
        ("batching", {"max_bytes": "lots of it"}),
        ("id", "a.b"),
        ("kafka", {}),
        ("pipelines", {"pin": {"source": {"topics": []}}}),
    ],
)
def test_what_is_wrong_fails_the_schema(checker: Any, section: str, value: object) -> None:
    assert list(checker.iter_errors({**example(), section: value}))


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("gateway", None),
        ("gateway", {"port": "${PORT:-8082}", "max_body": "1 MB", "hosts": "a.b"}),
        ("kafka", {"bootstrap.servers": "b:9", "any.property": True}),
    ],
)
def test_what_may_stand_there_keeps_the_schema(checker: Any, section: str, value: object) -> None:
    assert list(checker.iter_errors({**example(), section: value})) == []
