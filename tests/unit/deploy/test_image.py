"""The image and its configuration."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from core.config import Config
from pinpip import configfile
from pinpip.pipelines import process_of
from tests.support.places import ROOT

CONFIG = ROOT / "deploy/config/config.yaml"
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def shipped(**environment: str) -> Config:
    return configfile.load(CONFIG, {"KAFKA_SERVERS": "b:9092", **environment})


def instructions(name: str) -> list[str]:
    """Return the arguments of every instruction of this name, with continued lines joined."""
    joined = DOCKERFILE.replace("\\\n", " ")
    return re.findall(rf"^{name} (.*)$", joined, re.MULTILINE)


def test_the_shipped_configuration_has_the_examples_pipelines() -> None:
    example = configfile.load(ROOT / "config.yaml", {}).pipelines
    own = shipped().pipelines
    assert {n: (p.source, p.transform, p.schema_, p.table) for n, p in own.items()} == {
        n: (p.source, p.transform, p.schema_, p.table) for n, p in example.items()
    }
    for pipeline in own.values():
        process_of(pipeline, keep_values=True)


def test_the_environment_says_where_everything_is() -> None:
    config = shipped(
        PINPIP_ID="abc",
        PINPIP_LAKE="s3://b/lake",
        AWS_REGION="eu-west-1",
        PINPIP_KAFKA__SASL_MECHANISM="AWS_MSK_IAM",
    )
    assert config.kafka
    assert config.kafka.properties()["sasl.mechanism"] == "AWS_MSK_IAM"
    assert config.pipelines["pin"].places(config.lake)[0] == "s3://b/lake/pin"
    assert config.pipelines["pin"].places(config.lake)[2] == "s3://b/lake/archive/abc.pin"
    assert (config.aws.region, config.gateway.host) == ("eu-west-1", "0.0.0.0")  # noqa: S104
    assert config.aws.endpoint_url is None


def test_the_image_runs_pinpip_itself_as_another_user_than_root() -> None:
    assert [json.loads(e) for e in instructions("ENTRYPOINT")] == [["pinpip"]]
    assert [json.loads(e) for e in instructions("CMD")] == [["gateway"]]
    assert instructions("USER") == ["10001:10001"]
    assert "/health" in instructions("HEALTHCHECK")[0]
    assert instructions("EXPOSE") == ["8082 9108 8090"]


def test_everything_in_the_image_is_locked_by_its_hash() -> None:
    installs = [line for line in DOCKERFILE.splitlines() if "pip install" in line]
    assert all("--no-index" in line for line in installs)
    assert "--require-hashes" in next(
        line for line in DOCKERFILE.splitlines() if "download" in line
    )


def test_the_context_is_what_the_wheel_is_made_of_and_no_more() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = {line[1:] for line in lines if line.startswith("!")}
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    links = [path for name in wheel for path in (ROOT / name).rglob("*") if path.is_symlink()]
    linked = {str(path.resolve().relative_to(ROOT.resolve())) for path in links}
    needed = {*wheel, *linked, "pyproject.toml", "README.md", "LICENSE", "requirements.lock"}
    assert "*" in lines
    assert kept == needed | {"deploy/config/config.yaml"}
    assert not any(fnmatch(".git", pattern) for pattern in kept)


def test_hadolint_finds_nothing() -> None:
    beside = Path(sys.executable).parent  # where the environment has its programs
    hadolint = shutil.which("hadolint", path=f"{beside}{os.pathsep}{os.environ['PATH']}")
    if hadolint is None:
        pytest.skip("needs hadolint")
    done = subprocess.run(
        [hadolint, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("", 0)
