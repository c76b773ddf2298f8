"""Which places a configuration may name, and what of them is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from core import paths
from core.config import Config, Lake

BELOW = "pin"


def config(root: str = "lake", delta: str = BELOW, **pipeline: Any) -> Config:
    """Return a configuration of one pipeline."""
    own = {
        "source": {"topics": ["demo.pin"]},
        "schema": "transforms.pin:SCHEMA",
        "transform": "transforms.pin:clean",
        "sinks": [{"delta": delta}],
    }
    tree = {
        "id": "demo",
        "kafka": {"bootstrap.servers": "b:1"},
        "lake": {"root": root},
        "pipelines": {"pin": own | pipeline},
    }
    return Config.model_validate(json.loads(json.dumps(tree)))


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("", "is empty"),
        ("s3:/bucket/x", "is neither a folder nor a bucket"),
        ("S3://bucket/x", "is neither a folder nor a bucket"),
        ("s3://", "is neither a folder nor a bucket"),
        ("file:///tmp/x", "is neither a folder nor a bucket"),
        ("gs://bucket/x", "is neither a folder nor a bucket"),
        ("per%20cent", "delta-rs decodes %20"),
        ("s3://bucket/a%20b", "delta-rs decodes %20"),
        ("a\\b", "backslash"),
        ("tab\there", "U\\+0009 is not printable"),
        ("s3://bucket/line\nend", "U\\+000A is not printable"),
        ("s3://bucket/a//b", "'' is no name of a prefix"),
        ("s3://bucket//b", "'' is no name of a prefix"),
        ("s3://bucket/a/../b", "'..' is no name of a prefix"),
        ("s3://bucket/./b", "'.' is no name of a prefix"),
        ("n" * 256, "has 256 bytes, a file system takes 255"),
        ("s3://bucket/" + "n" * 901, "more than 900 bytes"),
    ],
)
@pytest.mark.parametrize("key", ["root", "delta", "parquet"])
def test_a_place_that_a_library_misreads_is_no_configuration(
    place: str, said: str, key: str
) -> None:
    sinks: dict[str, Any] = {"sinks": [{"delta": BELOW}, {"parquet": place}]}
    with pytest.raises(ValueError, match=said):
        config(**(sinks if key == "parquet" else {key: place}))


@pytest.mark.parametrize(
    ("root", "delta", "said"),
    [
        ("s3://bucket/lake", "a/../b", "'..' is no name of a prefix"),
        ("s3://bucket/lake", "a//b", "'' is no name of a prefix"),
        ("s3://bucket/lake/", "./b", "'.' is no name of a prefix"),
        ("lake", "n" * 250, "has 261 bytes"),  # of its quarantine
        ("s3://bucket/" + "n" * 880, "m" * 30, "more than 900 bytes"),
        ("lake", "../pin", "leaves lake.root"),
        ("lake", "a/../../pin", "leaves lake.root"),
        ("lake", "..", "leaves lake.root"),
    ],
)
def test_a_table_that_its_root_cannot_hold_is_no_configuration(
    root: str, delta: str, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        config(root, delta)


@pytest.mark.parametrize("delta", ["pin/", "./pin", "a/../pin", "/else/where", "s3://other/pin"])
def test_a_table_that_earlier_versions_took_is_still_one(delta: str) -> None:
    assert config(delta=delta).pipeline("pin").table == delta


@pytest.mark.parametrize("root", ["../lake", "lake/", "/x", "s3://bucket", "s3://bucket/", "a:b/c"])
def test_a_root_is_any_folder_or_bucket(root: str) -> None:
    assert config(root).lake.root == root.removesuffix("/" if "://" not in root else "")


def test_a_topic_that_readers_of_parquet_skip_is_not_archived() -> None:
    hidden: dict[str, Any] = {"source": {"topics": [".pin"]}}
    assert config(**hidden).pipeline("pin").reads == (".pin",)
    with pytest.raises(ValueError, match="cannot be archived in archive: readers of Parquet"):
        config(**hidden, sinks=[{"delta": "pin"}, {"parquet": "archive"}])


@pytest.mark.parametrize("sinks", [[{"delta": "pin"}], [{"delta": "/x/pin"}, {"parquet": "raw"}]])
def test_a_relative_place_below_a_folder_that_delta_rs_misreads_is_no_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sinks: list[dict[str, str]]
) -> None:
    (tmp_path / "per%20cent").mkdir()
    monkeypatch.chdir(tmp_path / "per%20cent")
    with pytest.raises(ValueError, match="delta-rs decodes %20"):
        config(sinks=sinks)


def test_the_quarantine_of_one_table_is_no_table_of_another_pipeline() -> None:
    tree = config(delta="pin/").model_dump(by_alias=True)
    tree["pipelines"]["other"] = tree["pipelines"]["pin"] | {
        "source": {"topics": ["other"]},
        "sinks": [{"delta": "pin/_quarantine"}],
    }
    with pytest.raises(ValueError, match="pin and other would write"):
        Config.model_validate(tree)


@pytest.mark.parametrize(
    "path", ["", ".", "..", "../etc", "a/../b", "a//b", "/etc", "./a", "s3://bucket/a"]
)
def test_only_a_plain_name_is_below_a_folder(path: str) -> None:
    assert not paths.is_below(path)
    assert paths.is_below("a/b c/..d")


def test_a_bucket_is_told_as_a_url_and_read_back() -> None:
    uri = Lake(root="s3://bucket/ü b").uri("a#b?c+d")
    assert paths.to_delta_rs(uri) == "s3://bucket/%C3%BC%20b/a%23b%3Fc%2Bd"
    assert paths.of_delta_rs(paths.to_delta_rs(uri) + "/") == uri
