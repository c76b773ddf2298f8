"""config.yaml: the documented example loads, and what is wrong in it is named."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import structlog
import yaml
from hypothesis import given
from hypothesis import strategies as st

from core import kafka
from core.aws import keys
from core.config import (
    Config,
    DeltaSection,
    ParquetSection,
    StreamSection,
    Tls,
    TopicsSection,
)
from core.config_file import ConfigFile
from core.errors import ConfigError, StackDown
from pinpip.configfile import load, shown, warn_of_moved_lake
from tests.support.places import ROOT

EXAMPLE = ROOT / "config.yaml"
PIPELINE: dict[str, object] = {
    "source": {"topics": ["{id}.pin"]},
    "schema": "transforms.pin:SCHEMA",
    "transform": "transforms.pin:clean",
    "sinks": [{"delta": "pin"}],
}
PLAIN = PIPELINE | {"source": {"topics": ["plain"]}}
SMALL: dict[str, object] = {
    "id": "demo",
    "kafka": {"bootstrap.servers": "localhost:9092"},
    "pipelines": {"pin": PIPELINE},
}


def read(
    folder: Path, tree: Mapping[str, object], environment: Mapping[str, str] | None = None
) -> Config:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(dict(tree)), encoding="utf-8")
    return load(path, environment or {})


def refusal(
    folder: Path, tree: Mapping[str, object], environment: Mapping[str, str] | None = None
) -> str:
    with pytest.raises(ConfigError) as caught:
        read(folder, tree, environment)
    assert caught.value.hint
    return caught.value.message


def test_the_documented_example_loads() -> None:
    config = load(EXAMPLE, {})
    assert list(config.pipelines) == [
        "pin",
        "geo",
        "user",
        "streaming_pin",
        "streaming_geo",
        "streaming_user",
    ]
    pin = config.pipelines["pin"]
    assert pin.source == TopicsSection(topics=("demo.pin",))
    assert pin.sinks == (
        DeltaSection(delta="pin"),
        ParquetSection(parquet="s3://pinpip-demo/archive", stage="raw"),
    )
    assert config.pipelines["streaming_user"].source == StreamSection(stream="streaming-demo-user")


def test_the_example_shows_the_default_of_every_key_it_sets() -> None:
    config = load(EXAMPLE, {})
    defaults = Config.model_validate(SMALL | {"pipelines": {"pin": PLAIN}})
    assert config.gateway == defaults.gateway
    assert config.producer == defaults.producer
    assert config.batching == defaults.batching
    assert Path(config.lake.root) == EXAMPLE.parent / defaults.lake.root


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml cannot be read"):
        load(tmp_path / "absent.yaml", {})


@pytest.mark.parametrize("text", ["a: [1", "\tid: demo", "- a list", "", "just text"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        load(path, {})


@given(text=st.text(max_size=60) | st.binary(max_size=60))
def test_any_file_ends_in_a_configuration_or_in_one_clear_error(
    tmp_path_factory: pytest.TempPathFactory, text: str | bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
    with pytest.raises(ConfigError):
        load(path, {})


@pytest.mark.parametrize(
    ("section", "key", "meant"),
    [
        ("batching", "max_record", "max_records"),
        ("gateway", "stag", "stage"),
        ("producer", "retrys", "retries"),
        ("aws", "endpoint", "endpoint_url"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_valid_name(
    tmp_path: Path, section: str, key: str, meant: str
) -> None:
    message = refusal(tmp_path, SMALL | {section: {key: 1}})
    assert f"unknown key '{section}.{key}' (did you mean '{meant}'?)" in message


def test_an_unknown_section_is_refused_with_the_nearest_valid_name(tmp_path: Path) -> None:
    message = refusal(tmp_path, SMALL | {"piplines": {}})
    assert "unknown key 'piplines' (did you mean 'pipelines'?)" in message


def test_an_unknown_key_inside_a_pipeline_is_named_with_its_path(tmp_path: Path) -> None:
    pipeline = PIPELINE | {"source": {"topics": ["a"], "strat": "latest"}}
    message = refusal(tmp_path, SMALL | {"pipelines": {"pin": pipeline}})
    assert "unknown key 'pipelines.pin.source.strat' (did you mean 'start'?)" in message


def test_a_key_of_kafka_is_refused_where_kinesis_is_read(tmp_path: Path) -> None:
    pipeline = PIPELINE | {"source": {"stream": "a", "tombstones": "drop"}}
    message = refusal(tmp_path, SMALL | {"pipelines": {"pin": pipeline}})
    assert "unknown key 'pipelines.pin.source.tombstones' (a key of another section)" in message


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    message = refusal(tmp_path, SMALL | {"gateway": {"port": 99999}, "producer": {"batch": 501}})
    assert "gateway.port: " in message
    assert "producer.batch: " in message


def test_a_pipeline_has_exactly_one_delta_sink(tmp_path: Path) -> None:
    for sinks in ([{"parquet": "a"}], [{"delta": "a"}, {"delta": "b"}]):
        message = refusal(tmp_path, SMALL | {"pipelines": {"pin": PIPELINE | {"sinks": sinks}}})
        assert "exactly one delta sink" in message


def pair(one: Mapping[str, object], two: Mapping[str, object]) -> dict[str, object]:
    """Two pipelines that differ from the small one in these keys."""
    return {**SMALL, "pipelines": {"one": {**PIPELINE, **one}, "two": {**PIPELINE, **two}}}


CHAIN = {"parquet": "s3://b/archive/"}


@pytest.mark.parametrize(
    ("one", "two", "place"),
    [
        ({}, {"source": {"topics": ["other"]}}, "lake/pin"),
        ({}, {"sinks": [{"delta": "pin_quarantine"}]}, "lake/pin_quarantine"),
        (
            {"sinks": [{"delta": "a"}, CHAIN]},
            {"sinks": [{"delta": "b"}, {"parquet": "s3://b/archive", "stage": "clean"}]},
            "s3://b/archive/demo.pin",
        ),
    ],
)
def test_two_pipelines_that_would_write_the_same_place_are_refused(
    tmp_path: Path, one: Mapping[str, object], two: Mapping[str, object], place: str
) -> None:
    said = refusal(tmp_path, pair(one, two))
    assert "one and two" in said
    assert f"{place} twice" in said


def test_two_archives_of_one_pipeline_need_a_place_each(tmp_path: Path) -> None:
    sinks = {"sinks": [{"delta": "a"}, CHAIN, CHAIN | {"stage": "clean"}]}
    said = refusal(tmp_path, SMALL | {"pipelines": {"pin": PIPELINE | sinks}})
    assert "pin would write s3://b/archive/demo.pin twice" in said


def test_pipelines_of_different_topics_may_share_an_archive(tmp_path: Path) -> None:
    one = {"sinks": [{"delta": "a"}, CHAIN]}
    two = {"sinks": [{"delta": "b"}, CHAIN], "source": {"topics": ["other"]}}
    assert list(read(tmp_path, pair(one, two)).pipelines) == ["one", "two"]


def test_an_id_with_a_dot_is_refused(tmp_path: Path) -> None:
    assert "id: " in refusal(tmp_path, SMALL | {"id": "a.b"})


def test_any_librdkafka_property_is_handed_on_untouched(tmp_path: Path) -> None:
    own = {"bootstrap.servers": "b:9", "sasl.mechanism": "PLAIN", "socket.timeout.ms": 10}
    assert kafka.properties(read(tmp_path, SMALL | {"kafka": own})) == own


def test_a_reference_is_filled_from_the_environment(tmp_path: Path) -> None:
    tree = SMALL | {"lake": {"root": "s3://${BUCKET}/${PREFIX:-lake}"}}
    assert read(tmp_path, tree, {"BUCKET": "b"}).lake.root == "s3://b/lake"
    assert read(tmp_path, tree, {"BUCKET": "b", "PREFIX": "p"}).lake.root == "s3://b/p"


def test_a_reference_inside_a_list_is_filled(tmp_path: Path) -> None:
    tree = SMALL | {"pipelines": {"pin": PIPELINE | {"source": {"topics": ["a", "${TOPIC}"]}}}}
    source = read(tmp_path, tree, {"TOPIC": "t1"}).pipelines["pin"].source
    assert source == TopicsSection(topics=("a", "t1"))


def test_a_missing_variable_is_named_with_the_key_that_wants_it(tmp_path: Path) -> None:
    tree = SMALL | {"pipelines": {"pin": PIPELINE | {"source": {"topics": ["a", "${TOPIC}"]}}}}
    said = "pipelines.pin.source.topics[1] wants the environment variable TOPIC, which is not set"
    assert re.fullmatch(rf".*config\.yaml:\d+:\d+: {re.escape(said)}", refusal(tmp_path, tree))


def test_the_id_is_filled_in_everywhere(tmp_path: Path) -> None:
    config = read(tmp_path, SMALL | {"id": "abc", "lake": {"root": "s3://lake-{id}"}})
    assert config.pipelines["pin"].source == TopicsSection(topics=("abc.pin",))
    assert config.lake.uri("pin") == "s3://lake-abc/pin"


def test_the_environment_overrides_one_key(tmp_path: Path) -> None:
    tree = SMALL | {"batching": {"max_records": 7}}
    config = read(tmp_path, tree, {"PINPIP_BATCHING__MAX_WAIT": "5", "PINPIP_LAKE__ROOT": "/t"})
    assert config.batching.max_wait == 5.0
    assert config.batching.max_records == 7
    assert config.lake.root == "/t"


def test_an_override_of_kafka_names_the_property_with_underscores(tmp_path: Path) -> None:
    config = read(tmp_path, SMALL, {"PINPIP_KAFKA__BOOTSTRAP_SERVERS": "broker:1"})
    assert kafka.properties(config) == {"bootstrap.servers": "broker:1"}


def test_an_override_with_a_wrong_key_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, SMALL, {"PINPIP_BATCHING__MAX_WIAT": "5"})
    assert "unknown key 'batching.max_wiat' (did you mean 'max_wait'?)" in message


def test_other_variables_are_left_alone(tmp_path: Path) -> None:
    environment = {"PINPIP_API_KEY": "k", "PINPIP_TEST_KAFKA": "b:1", "HOME": "/root"}
    assert read(tmp_path, SMALL, environment) == read(tmp_path, SMALL)


def test_secrets_are_shown_to_nobody(tmp_path: Path) -> None:
    tree = SMALL | {
        "kafka": {"bootstrap.servers": "b:9", "sasl.password": "hush", "ssl.key.pem": "hush"},
        "aws": {"access_key_id": "hush", "secret_access_key": "hush"},
        "producer": {"api_key": "hush"},
    }
    config = read(tmp_path, tree)
    for text in (json.dumps(shown(config)), repr(config.aws), repr(config.producer)):
        assert "hush" not in text
    assert shown(config)["kafka"]["bootstrap.servers"] == "b:9"
    assert shown(config)["batching"]["max_records"] == 20_000


def test_what_is_shown_can_be_printed_as_json() -> None:
    tree = shown(load(EXAMPLE, {}))
    assert json.loads(json.dumps(tree))["pipelines"]["pin"]["schema"] == "transforms.pin:SCHEMA"


def stack(folder: Path, **more: object) -> None:
    """Leave the addresses of an embedded stack, as `pinpip local up` does."""
    (folder / ".pinpip").mkdir()
    running = {"kafka": "127.0.0.1:19", "aws": "http://127.0.0.1:20", "pid": os.getpid()}
    (folder / ".pinpip/local.json").write_text(json.dumps(running | more), encoding="utf-8")


LOCAL: dict[str, object] = {
    "kafka": {"bootstrap.servers": "local"},
    "aws": {"endpoint_url": "local"},
}


def test_local_is_the_embedded_stack_beside_the_file(tmp_path: Path) -> None:
    stack(tmp_path)
    config = read(tmp_path, SMALL | LOCAL)
    assert kafka.properties(config) == {"bootstrap.servers": "127.0.0.1:19"}
    assert config.aws.endpoint("s3") == "http://127.0.0.1:20"
    assert keys(config.aws).access_key == "local"


def test_a_configuration_is_read_without_the_stack_that_it_names(tmp_path: Path) -> None:
    config = read(tmp_path, SMALL | LOCAL)
    for ask in (lambda: kafka.properties(config), lambda: config.aws.endpoint("kinesis")):
        with pytest.raises(StackDown) as caught:
            ask()
        assert "pinpip local up" in caught.value.hint


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pid": "x"}', '{"pid": 4194305}'])
def test_a_stack_that_left_its_file_behind_is_not_running(tmp_path: Path, text: str) -> None:
    (tmp_path / ".pinpip").mkdir()
    (tmp_path / ".pinpip/local.json").write_text(text, encoding="utf-8")
    with pytest.raises(StackDown):
        kafka.properties(read(tmp_path, SMALL | LOCAL))


def test_only_what_says_local_is_asked_of_the_stack(tmp_path: Path) -> None:
    stack(tmp_path)
    services: dict[str, object] = {"endpoint_urls": {"s3": "https://s3.example.com"}}
    config = read(tmp_path, SMALL | {"aws": {"endpoint_url": "local", **services}})
    assert kafka.properties(config) == SMALL["kafka"]
    assert config.aws.endpoint("s3") == "https://s3.example.com"
    assert config.aws.endpoint("kinesis") == "http://127.0.0.1:20"


def test_streams_alone_need_no_section_kafka(tmp_path: Path) -> None:
    tree = {key: value for key, value in SMALL.items() if key != "kafka"}
    streams: dict[str, object] = {"pipelines": {"pin": PIPELINE | {"source": {"stream": "a"}}}}
    config = read(tmp_path, tree | streams)
    with pytest.raises(ConfigError, match="no section kafka"):
        kafka.properties(config)
    assert "kafka: is missing: pipeline pin reads topics" in refusal(tmp_path, tree)


# --- Relative paths


FILES: dict[str, object] = {
    "lake": {"root": "lake"},
    "kafka": {"bootstrap.servers": "b:9", "ssl.ca.location": "ca.pem"},
    "gateway": {"tls": {"certificate": "a.crt", "key": "~/a.key"}},
    "pipelines": {"pin": PLAIN | {"sinks": [{"delta": "pin"}, {"parquet": "archive"}]}},
}


@pytest.mark.parametrize("where", [".", "conf", "../beside", "/etc/pinpip"])
def test_paths_are_relative_to_the_folder_of_the_file(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    config = Config.model_validate({**SMALL, **FILES}, context=ConfigFile(Path(where, "c.yaml")))
    assert config.lake.uri("pin") == str(Path(where, "lake/pin"))
    assert [a.parquet for a in config.pipeline("pin").archives] == [str(Path(where, "archive"))]
    assert config.gateway.tls == Tls.model_construct(
        certificate=str(Path(where, "a.crt")), key="/home/me/a.key"
    )
    assert kafka.properties(config)["ssl.ca.location"] == str(Path.cwd() / where / "ca.pem")


def test_the_default_lake_is_beside_the_file(tmp_path: Path) -> None:
    assert read(tmp_path, SMALL).lake.root == str(tmp_path / ".pinpip/lake")


def test_a_lake_that_is_still_in_the_working_directory_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work/lake/pin/_delta_log").mkdir(parents=True)
    (tmp_path / "conf").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    config = read(Path("../conf"), SMALL | {"lake": {"root": "lake"}})
    with structlog.testing.capture_logs() as logs:
        warn_of_moved_lake(config)
        (tmp_path / "conf/lake").mkdir()
        warn_of_moved_lake(config)
    assert [line["found"] for line in logs] == [str(tmp_path / "work/lake")]


def test_an_override_is_relative_to_the_folder_of_the_file_too(tmp_path: Path) -> None:
    config = read(tmp_path, SMALL, {"PINPIP_LAKE__ROOT": "other"})
    assert config.lake.root == str(tmp_path / "other")


@pytest.mark.parametrize("path", ["s3://bucket/x", "/abs/x"])
def test_urls_and_absolute_paths_are_where_they_are(tmp_path: Path, path: str) -> None:
    assert read(tmp_path, SMALL | {"lake": {"root": path}}).lake.root == path


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    tree: dict[str, object] = {"lake": {"root": "~/lake"}}
    tree |= {"pipelines": {"pin": PIPELINE | {"sinks": [{"delta": "~/table"}]}}}
    config = read(tmp_path, SMALL | tree)
    assert config.lake.root == "/home/me/lake"
    assert config.lake.uri(config.pipelines["pin"].table) == "/home/me/table"


def test_the_home_of_nobody_is_refused(tmp_path: Path) -> None:
    assert "unknown user" in refusal(tmp_path, SMALL | {"lake": {"root": "~no-such-user/lake"}})


@pytest.mark.parametrize("value", ["probe", ""])
def test_what_librdkafka_looks_for_itself_is_no_path(tmp_path: Path, value: str) -> None:
    own = {"bootstrap.servers": "b:9", "ssl.ca.location": value}
    assert kafka.properties(read(tmp_path, SMALL | {"kafka": own})) == own


def test_a_gateways_key_stands_in_the_configuration_only_as_its_hash(tmp_path: Path) -> None:
    message = refusal(tmp_path, SMALL | {"gateway": {"api_keys": {"phone": "hush"}}})
    assert "gateway.api_keys.phone" in message
    assert "hush" not in message


def test_a_body_that_may_be_sent_must_fit_into_what_is_under_way(tmp_path: Path) -> None:
    tree = SMALL | {"gateway": {"max_body": "10MiB", "max_in_flight": "1MiB"}}
    assert "max_in_flight: `1MiB` must be at least max_body" in refusal(tmp_path, tree)


def test_an_unknown_pipeline_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="did you mean 'streaming_pin'"):
        load(EXAMPLE, {}).pipeline("steaming_pin")


def test_a_path_below_the_lake_may_be_absolute_or_a_url(tmp_path: Path) -> None:
    lake = read(tmp_path, SMALL | {"lake": {"root": "lake/"}}).lake
    assert lake.uri("pin") == str(tmp_path / "lake/pin")
    assert lake.uri("/data/pin") == "/data/pin"
    assert lake.uri("s3://b/pin") == "s3://b/pin"
