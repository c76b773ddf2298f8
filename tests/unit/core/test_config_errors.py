"""config.yaml as people write it: taken, or refused with line, column and our own words."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from core.config import Config
from core.errors import ConfigError
from pinpip.configfile import load
from tests.support.places import ROOT

START = """\
id: demo
kafka: {bootstrap.servers: "b:9"}
"""
PIN = """\
pipelines:
  pin:
    source: {topics: [demo.pin]}
    schema: transforms.pin:SCHEMA
    transform: transforms.pin:clean
    sinks: [{delta: pin}]
"""
LIBRARY = re.compile(
    r"Value error|Input should|Field required|valid (string|integer|number)|pydantic"
)


def read(folder: Path, text: str, environment: Mapping[str, str] | None = None) -> Config:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, environment or {})


def refusal(folder: Path, text: str, environment: Mapping[str, str] | None = None) -> ConfigError:
    """Return the error; its message begins behind the folder."""
    with pytest.raises(ConfigError) as caught:
        read(folder, text, environment)
    error = caught.value
    assert not LIBRARY.search(error.message)
    assert error.hint
    error.message = error.message.replace(f"{folder}/", "")
    return error


def of_pin(source: str) -> str:
    return START + PIN.replace("{topics: [demo.pin]}", source)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            PIN + "  geo: {}\n  pin: {}\n",
            "10:3: the key `pin` stands in line 4 and again in line 10",
        ),
        (PIN + "gateway: {port: 1,\n port: 2}\n", "10:2: the key `port` stands in line 9"),
        ("id: other\n" + PIN, "3:1: the key `id` stands in line 1 and again in line 3"),
    ],
)
def test_a_key_given_twice_is_refused_with_both_lines(tmp_path: Path, text: str, said: str) -> None:
    assert refusal(tmp_path, START + text).message.startswith(f"config.yaml:{said}")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ('{topics: "a b"}', "5:22: pipelines.pin.source.topics: `a b` is no name of a topic"),
        ('{topics: [""]}', "5:23: pipelines.pin.source.topics[0]: is empty"),
        ("{topics: []}", "5:14: pipelines.pin.source.topics: is empty"),
        ("{topics: [..]}", "5:23: pipelines.pin.source.topics[0]: `..` is no name of a topic"),
        ("{topics: [a, b, a]}", "5:29: pipelines.pin.source.topics[2]: `a` names a twice"),
        ("{topics: [on]}", "5:23: pipelines.pin.source.topics[0]: `on` is read as a boolean"),
        ("{topics: 12}", "5:22: pipelines.pin.source.topics: `12` must be a list"),
        ("{topics: [12]}", "5:23: pipelines.pin.source.topics[0]: `12` is read as a number: quote"),
        ("{topics: [0123]}", "5:23: `0123` is read as the number 83"),
        ("{topics: [12:30]}", "5:23: `12:30` is read as the number 750"),
        ("{topics: [2026-01-02]}", "5:23: `2026-01-02` is read as a date"),
        ("{on: a}", "5:14: the key `on` is read as a boolean"),
        ('{stream: "a b"}', "5:22: pipelines.pin.source.stream: `a b` is no name of a stream"),
        ('{stream: ""}', "5:22: pipelines.pin.source.stream: is empty"),
        ("{topics: a, start: erliest}", "5:32: pipelines.pin.source.start: `erliest` is none of"),
        ("{topics: a, strat: latest}", "5:25: unknown key 'pipelines.pin.source.strat'"),
        ("demo.pin", "5:13: pipelines.pin.source: `demo.pin` must be a mapping of keys"),
        ("", "5:12: pipelines.pin.source: has no value"),
    ],
)
def test_a_source_that_nobody_can_read_is_refused_where_it_stands(
    tmp_path: Path, source: str, said: str
) -> None:
    message = refusal(tmp_path, of_pin(source)).message
    assert message.startswith(f"config.yaml:{said}")


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("gateway: {port: on}", "10:17: gateway.port: `on` is read as a boolean"),
        ("gateway: {port: 70000}", "gateway.port: `70000` must be at most 65535"),
        ("gateway: {max_body: 1e5}", "gateway.max_body: `1e5` is no size"),
        ("gateway: {max_body: 5 apples}", "gateway.max_body: `5 apples` is no size"),
        ("gateway: {request_timeout: 1s}", "`1s` has a unit: write a number of seconds"),
        ("gateway: {request_timeout: .inf}", "`.inf` is no finite number"),
        ("gateway: {hosts: ['a b']}", "gateway.hosts[0]: `a b` is neither a host name"),
        ("batching: {max_records: 1e5}", "`1e5` is no whole number: write 100000"),
        ("batching: {max_records: 1.5}", "`1.5` is no whole number"),
        ("batching: [1]", "batching: must be a mapping of keys"),
        ("batching: {max_wait: }", "batching.max_wait: has no value"),
        ("lake: {root: ''}", "lake.root: is empty"),
        ("lake: {root: 's3://a b/x'}", "lake.root: 's3://a b/x' is neither a folder nor"),
        ("lake: {root: 'gs://a/x'}", "lake.root: 'gs://a/x' is neither a folder nor"),
        ("aws: {access_key_id: 12}", "aws.access_key_id: is read as a number: quote it"),
        ("aws: {session_token: hush}", "aws.session_token: needs access_key_id"),
        ("a b: 1", "10:1: unknown key 'a b'"),
    ],
)
def test_a_value_that_no_section_takes_is_refused_by_name(
    tmp_path: Path, section: str, said: str
) -> None:
    message = refusal(tmp_path, START + PIN + "\n" + section + "\n").message
    assert message.startswith("config.yaml:10:")
    assert said in message
    assert "hush" not in message


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("id: demo\n\tkafka: x", "2:1"),
        ("id: [demo", "1:10"),
        ("id: demo\nkafka: !own x", "2:8"),
        ("id: demo\nlake: &a {root: *a}", "2:11"),
        ("id: demo\n- x", "2:1"),
        ("id: demo\nkafka: \x00", "2:8"),
    ],
)
def test_what_is_not_yaml_is_named_with_line_and_column(
    tmp_path: Path, text: str, place: str
) -> None:
    assert refusal(tmp_path, text).message.startswith(f"config.yaml:{place}: ")


def test_what_must_be_given_is_missed_where_it_belongs(tmp_path: Path) -> None:
    message = refusal(tmp_path, "id: demo\npipelines:\n  pin: {source: {stream: a}}\n").message
    assert "config.yaml:3:3: pipelines.pin.schema: is missing" in message


def test_a_clash_of_two_pipelines_is_named_at_the_second(tmp_path: Path) -> None:
    second = PIN.partition("\n")[2].replace("  pin:", "  two:")
    message = refusal(tmp_path, START + PIN + second).message
    assert message.startswith("config.yaml:9:3: pipelines.two: pin and two would write")


# --- Taken


@pytest.mark.parametrize("topics", ["demo.pin", "[demo.pin]", "[ 'demo.pin' ]"])
def test_one_topic_needs_no_brackets(tmp_path: Path, topics: str) -> None:
    config = read(tmp_path, of_pin(f"{{topics: {topics}}}"))
    assert config.pipelines["pin"].source.topics == ("demo.pin",)


def test_one_sink_and_one_host_need_no_brackets(tmp_path: Path) -> None:
    text = PIN.replace("[{delta: pin}]", "{delta: pin}") + "gateway: {hosts: a.b}\n"
    config = read(tmp_path, START + text)
    assert config.pipelines["pin"].table == "pin"
    assert config.gateway.hosts == ("a.b",)


@pytest.mark.parametrize(
    ("size", "value"), [("256MB", 256_000_000), ("1 MiB", 2**20), ("1000", 1000)]
)
def test_sizes_may_have_units(tmp_path: Path, size: str, value: int) -> None:
    text = START + PIN + f"batching: {{max_bytes: {size}}}\n"
    assert read(tmp_path, text).batching.max_bytes == value


def test_sections_whose_keys_are_all_comments_are_empty(tmp_path: Path) -> None:
    empty = "".join(
        f"{name}:\n" for name in ("aws", "lake", "gateway", "monitor", "producer", "batching")
    )
    assert read(tmp_path, START + PIN + empty) == read(tmp_path, START + PIN)


def test_anchors_and_merges_may_be_used(tmp_path: Path) -> None:
    two = "  two:\n    <<: *pin\n    source: {topics: other}\n    sinks: {delta: two}\n"
    config = read(tmp_path, START + PIN.replace("pin:\n", "pin: &pin\n") + two)
    assert config.pipelines["two"].transform == "transforms.pin:clean"


# --- The environment


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("GATEWAY__PORT", "70000", "gateway.port: must be at most 65535"),
        ("GATEWAY__PORT", "[", ":1:2: not YAML: "),
        ("GATEWAY__STAGE", "0123", ":1:1: `0123` is read as the number 83"),
        ("GATEWAY__STAG", "1", "unknown key 'gateway.stag' (did you mean 'stage'?)"),
        ("PRODUCER__API_KEY", "12345", "producer.api_key: is read as a number: quote it"),
        ("KAFKA__BOOTSTRAP_SERVERS", "", "kafka.bootstrap.servers: has no value"),
    ],
)
def test_an_override_is_refused_by_the_name_of_its_variable(
    tmp_path: Path, name: str, value: str, said: str
) -> None:
    message = refusal(tmp_path, START + PIN, {f"PINPIP_{name}": value}).message
    assert message.startswith(f"PINPIP_{name}:")
    assert said in message
    assert "12345" not in message


def test_a_value_from_the_environment_is_named_by_its_variable_and_not_shown(
    tmp_path: Path,
) -> None:
    text = START + PIN + "gateway: {port: '${PORT}'}\n"
    message = refusal(tmp_path, text, {"PORT": "hush"}).message
    assert message == "config.yaml:9:17: gateway.port: is no number (the value of ${PORT})"


# --- Whatever stands there


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.dates()
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)


def paths(node: Any, keys: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place of the documented example."""
    items = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    return [keys, *(path for key, item in items for path in paths(item, (*keys, key)))]


EXAMPLE = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
PLACES = [keys for keys in paths(EXAMPLE) if keys and "streaming" not in str(keys)]


def loaded(path: Path) -> str:
    """Load a configuration; return what is wrong with it."""
    try:
        load(path, {})
    except ConfigError as error:
        return error.message
    return ""


@given(keys=st.sampled_from(PLACES), value=VALUES)
def test_whatever_stands_anywhere_is_taken_or_refused_in_our_words(
    tmp_path_factory: pytest.TempPathFactory, keys: tuple[str | int, ...], value: object
) -> None:
    tree = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    node = tree
    for key in keys[:-1]:
        node = node[key]
    node[keys[-1]] = value
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    said = loaded(path)
    assert not LIBRARY.search(said), said
    for line in said.split("; /") if said else ():
        assert re.search(r"any\.yaml:\d+:\d+: ", line), said
