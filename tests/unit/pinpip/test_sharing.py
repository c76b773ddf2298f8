"""What `config check` notes of pipelines that share a topic or stream."""

from typing import Any

import pytest

from core.config import Config
from pinpip.sharing import notes


def noted(**sources: dict[str, Any]) -> list[str]:
    """Return the notes on pipelines with these sources."""
    rest = {"schema": "transforms.geo:SCHEMA", "transform": "transforms.geo:clean"}
    pipelines = {n: rest | {"source": s, "sinks": [{"delta": n}]} for n, s in sources.items()}
    tree = {"id": "demo", "kafka": {"bootstrap.servers": "x:1"}, "pipelines": pipelines}
    return list(notes(Config.model_validate(tree)))


def topic(where: Any = None, name: str = "all") -> dict[str, Any]:
    return {"topics": [name]} | ({"where": where} if where else {})


def test_records_that_no_pipeline_takes_are_noted_once_for_a_source() -> None:
    [said] = noted(pin=topic({"key": "pin"}), geo=topic({"key": "geo"}), other=topic(name="more"))
    assert said.startswith("no pipeline takes the other records of topic all (read by pin, geo): ")


def test_a_pipeline_alone_is_noted_as_well() -> None:
    [said] = noted(pin={"stream": "s", "where": {"partition_key": "pin"}})
    assert said.startswith("no pipeline takes the other records of stream s (read by pin): ")


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ({"key": ["a", "b"]}, {"key": {"prefix": "b"}}, "records whose key is 'b'"),
        ({"key": "a"}, None, "the records whose key is 'a'"),
    ],
)
def test_records_that_two_pipelines_take_are_noted(one: Any, other: Any, said: str) -> None:
    assert (
        noted(pin=topic(one), geo=topic(other))[0] == f"pin and geo both take {said} of topic all"
    )


def test_nothing_is_noted_where_nothing_is_shared() -> None:
    assert noted(pin=topic(), geo=topic(name="other")) == []
