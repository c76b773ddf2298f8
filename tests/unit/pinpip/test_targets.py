"""Where rows go: by pipeline, by topic, and by the fields of the emulator's types."""

from typing import Any

import pytest

from core.config import Config
from core.errors import ConfigError
from pinpip.targets import emulated, of_pipeline, of_topic

BOARDS = ("tests.support.boards:SCHEMA", "tests.support.boards:clean")
USERS = ("transforms.user:SCHEMA", "transforms.user:clean")


def config(**sources: Any) -> Config:
    """Return a pipeline per source, or per `(source, code)` where it is not that of boards."""
    pipelines = {}
    for name, given in sources.items():
        source, (schema, transform) = given if isinstance(given, tuple) else (given, BOARDS)
        own = {"source": source, "schema": schema, "transform": transform}
        pipelines[name] = own | {"sinks": [{"delta": name}]}
    kafka = {"bootstrap.servers": "none.invalid:9092"}
    return Config.model_validate({"id": "demo", "kafka": kafka, "pipelines": pipelines})


def test_a_pipeline_has_its_topic_or_its_stream() -> None:
    own = config(a={"topics": ["t"]}, b={"stream": "s"}, c={"topics": ["^x"]})
    assert (of_pipeline(own, "a").topic, of_pipeline(own, "a").stream) == ("t", None)
    assert (of_pipeline(own, "b").topic, of_pipeline(own, "b").stream) == (None, "s")
    assert of_pipeline(own, "c", "x1").topic == "x1"
    assert of_pipeline(own, "a").type.key == "board"
    with pytest.raises(ConfigError, match="reads a stream"):
        of_pipeline(own, "b", "t")


def test_a_topic_has_the_schema_of_the_pipeline_that_reads_it_also_by_a_pattern() -> None:
    own = config(a={"topics": ["t"]}, b=({"topics": ["^u"]}, USERS))
    found = [of_topic(own, topic) for topic in ("t", "u1", "none")]
    assert [each and (each.topic, each.type.key) for each in found] == [
        ("t", "board"),
        ("u1", "ind"),
        None,
    ]


def test_a_topic_of_pipelines_with_different_schemas_needs_one_of_them() -> None:
    own = config(a={"topics": ["t"]}, b=({"topics": ["^t"]}, USERS))
    with pytest.raises(ConfigError, match="pipelines a, b read the topic t") as raised:
        of_topic(own, "t")
    assert "--pipeline" in raised.value.hint


def test_rows_of_a_pipeline_get_a_key_that_its_where_takes() -> None:
    tests: dict[str, Any] = {"a": "x", "b": ["y", "z"], "c": {"prefix": "p-"}}
    own = config(**{n: {"topics": ["t"], "where": {"key": test}} for n, test in tests.items()})
    sent = {n: of_pipeline(own, n).type.key_of({"board": 7}) for n in tests}
    assert sent == {"a": "x", "b": "y", "c": "p-7"}
    assert of_pipeline(config(d={"topics": ["t"]}), "d").type.key_of({"board": 7}) == 7


def test_rows_are_not_sent_where_no_pipeline_would_take_them() -> None:
    own = config(a={"topics": ["t"], "where": {"header": {"type": "x"}}})
    with pytest.raises(ConfigError, match="header type is 'x', and produce sends no headers"):
        of_pipeline(own, "a")


def test_a_topic_of_pipelines_that_take_different_records_needs_one_of_them() -> None:
    both = config(a={"topics": ["t"], "where": {"key": "x"}}, b={"topics": ["t"]})
    with pytest.raises(ConfigError, match="a, b read the topic t, with different records"):
        of_topic(both, "t")
    found = of_topic(config(a={"topics": ["t"], "where": {"key": "x"}}), "t")
    assert found is not None
    assert found.type.key_of({"board": 7}) == "x"


def test_the_emulator_has_a_topic_and_a_stream_for_each_type() -> None:
    found = [(each.topic, each.stream) for each in emulated(config(a={"topics": ["t"]}))]
    assert found[0] == ("demo.pin", "streaming-demo-pin")
    assert len(found) == 3
