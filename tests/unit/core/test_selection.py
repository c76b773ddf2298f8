"""`where` in config.yaml: how it is spelled, what is refused, and where pipelines overlap."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from core.selection import Where
from tests.support.places import ROOT
from tests.unit.core.test_config import PIPELINE, SMALL, read, refusal

TEXTS = st.text(max_size=3)
TESTS = st.one_of(
    TEXTS,
    st.lists(TEXTS, min_size=1, max_size=3),
    st.builds(lambda text: {"equals": text}, TEXTS),
    st.builds(lambda texts: {"in": texts}, st.lists(TEXTS, min_size=1, max_size=3)),
    st.builds(lambda text: {"prefix": text}, st.text(min_size=1, max_size=3)),
)


def tree(**sources: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration whose pipelines have these sources."""
    pipelines = {
        name: PIPELINE | {"source": source, "sinks": [{"delta": name}]}
        for name, source in sources.items()
    }
    return SMALL | {"pipelines": pipelines}


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ({"key": "pin"}, "key is 'pin'"),
        ({"key": ["pin", "geo"]}, "key is 'pin' or 'geo'"),
        ({"key": {"in": ["pin", "geo"]}}, "key is 'pin' or 'geo'"),
        ({"key": {"equals": ""}}, "key is ''"),
        ({"header": {"type": {"prefix": "p"}}}, "header type begins with 'p'"),
    ],
)
def test_a_test_is_a_text_a_list_or_a_prefix(
    tmp_path: Path, where: dict[str, Any], said: str
) -> None:
    config = read(tmp_path, tree(pin={"topics": ["all"], "where": where}))
    assert str(config.pipelines["pin"].source.where) == said


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ({}, "give one of key, header"),
        ({"key": "a", "header": {"type": "b"}}, "give one of key, header"),
        ({"key": {"in": ["a"], "prefix": "b"}}, "give one of equals, in and prefix"),
        ({"key": {"is": "a"}}, "unknown key 'pipelines.pin.source.where.key.is'"),
        ({"kye": "a"}, "did you mean 'key'?"),
        ({"key": []}, "where.key"),
        ({"key": {"prefix": ""}}, "every text begins with an empty prefix"),
        ({"key": 7}, "where.key"),
        ({"header": {"a": "b", "c": "d"}}, "header: name one header"),
        ({"header": {}}, "header: name one header"),
        ({"partition_key": "a"}, "a topic's records have a key and headers, no partition_key"),
    ],
)
def test_what_tests_nothing_or_two_things_is_refused(
    tmp_path: Path, where: dict[str, Any], said: str
) -> None:
    assert said in refusal(tmp_path, tree(pin={"topics": ["all"], "where": where}))


def test_a_stream_has_no_key_and_no_headers(tmp_path: Path) -> None:
    said = refusal(tmp_path, tree(pin={"stream": "all", "where": {"key": "pin"}}))
    assert "a stream's records have a partition_key, no key or header" in said


def test_pipelines_of_one_topic_need_a_group_each(tmp_path: Path) -> None:
    own = {"topics": ["all"], "group": "g"}
    said = refusal(tmp_path, tree(pin=own, geo={"topics": ["^al."], "group": "g"}))
    assert "geo and pin would read one topic in the group g" in said
    read(tmp_path, tree(pin=own, geo={"topics": ["other"], "group": "g"}))
    apart = {name: {"topics": [f"^{name}"], "group": "g"} for name in ("pin", "geo")}
    read(tmp_path, tree(**apart))  # whether two patterns match one topic is not known


def test_pipelines_of_one_topic_need_an_archive_each(tmp_path: Path) -> None:
    one = tree(pin={"topics": ["all"]}, geo={"topics": ["^al."]})
    for pipeline in one["pipelines"].values():
        pipeline["sinks"] = [*pipeline["sinks"], {"parquet": "s3://b/archive"}]
    said = refusal(tmp_path, one)
    assert "give each archive a place of its own, for example s3://b/archive/geo" in said


@given(test=TESTS)
def test_the_canonical_form_is_the_same_test_and_reads_as_itself(test: Any) -> None:
    where = Where.model_validate({"key": test})
    again = Where.model_validate_json(where.canonical)
    assert again.canonical == where.canonical
    assert ({*again.texts}, again.prefix) == ({*where.texts}, where.prefix)


@given(one=TESTS, other=TESTS, text=st.text(max_size=4))
def test_an_overlap_is_a_text_that_both_take(one: Any, other: Any, text: str) -> None:
    first, second = (Where.model_validate({"key": test}) for test in (one, other))
    both = first.overlap(second)
    assert both is None or (first.takes(both) and second.takes(both))
    assert not (first.takes(text) and second.takes(text) and both is None)


def test_patterns_that_may_match_one_topic_are_neighbours(tmp_path: Path) -> None:
    config = read(tmp_path, tree(pin={"topics": ["^p", "x"]}, geo={"topics": ["^q"]}))
    assert list(config.neighbours("pin")) == ["geo"]
    config = read(tmp_path, tree(pin={"topics": ["p", "x"]}, geo={"topics": ["^q"]}))
    assert config.neighbours("pin") == {}


def test_tests_of_different_things_have_no_known_overlap() -> None:
    assert Where(key="pin").overlap(Where(header={"type": "pin"})) is None


def test_the_example_of_the_documentation_loads(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "record-types.md").read_text(encoding="utf-8")
    example = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])
    config = read(tmp_path, SMALL | example)
    pin, geo = (config.pipelines[name] for name in ("pin", "geo"))
    assert pin.shares(geo)
    assert [str(p.source.where) for p in (pin, geo)] == [
        "partition_key is 'pin'",
        "partition_key is 'geo'",
    ]
