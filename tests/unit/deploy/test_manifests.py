"""Kubernetes manifests and systemd units: valid, hardened, and patient when they stop."""

import json
import shutil
import subprocess
from configparser import RawConfigParser
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.config import Config, TopicsSection
from gateway.server import DRAIN_TIMEOUT_S
from pinpip import configfile
from tests.support.places import ROOT
from tests.support.templates import loops, template

KUBERNETES = ROOT / "deploy/kubernetes"
SYSTEMD = ROOT / "deploy/systemd"
FLUSH_SECONDS = 10  # what a consumer takes at most to end
UNITS = ["pinpip-gateway.service", "pinpip-consumer@.service"]


@pytest.fixture(scope="module")
def manifests() -> list[dict[str, Any]]:
    """Return what `kubectl apply -k deploy/kubernetes` applies."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("needs kubectl")
    command = [kubectl, "kustomize", str(KUBERNETES)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="module")
def shipped() -> Config:
    """Load the configuration in the ConfigMap."""
    environment = {"PINPIP_ID": "demo", "KAFKA_SERVERS": "b:9092", "PINPIP_LAKE": "s3://b/lake"}
    return configfile.load(ROOT / "deploy/config/config.yaml", environment)


def deployments(manifests: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Each Deployment's specification by its name."""
    return {m["metadata"]["name"]: m["spec"] for m in manifests if m["kind"] == "Deployment"}


def environment_of(deployment: dict[str, Any]) -> dict[str, str]:
    """Resolve the container's own variables as Kubernetes does, for the id `demo`."""
    resolved = {"PINPIP_ID": "demo"}
    for variable in deployment["template"]["spec"]["containers"][0]["env"]:
        value = variable["value"]
        for name, text in resolved.items():
            value = value.replace(f"$({name})", text)
        resolved[variable["name"]] = value
    return resolved


def test_the_manifests_fit_the_schemas_of_kubernetes(manifests: list[dict[str, Any]]) -> None:
    if find_spec("kubernetes_validate") is None:
        pytest.skip("needs kubernetes-validate")
    validator = import_module("kubernetes_validate")
    for manifest in manifests:
        if manifest["kind"] != "ScaledObject":  # KEDA's, not Kubernetes's own
            validator.validate(manifest, "1.34", strict=True)


def test_each_shipped_pipeline_has_a_deployment(
    manifests: list[dict[str, Any]], shipped: Config
) -> None:
    consumers = [d for name, d in deployments(manifests).items() if name != "gateway"]
    assert sorted(environment_of(d)["PIPELINE"] for d in consumers) == sorted(shipped.pipelines)


def test_the_scalers_watch_the_groups_and_topics_of_the_kafka_pipelines(
    manifests: list[dict[str, Any]], shipped: Config
) -> None:
    found = deployments(manifests)
    scaled = {}
    for scaler in [m["spec"] for m in manifests if m["kind"] == "ScaledObject"]:
        own = environment_of(found[scaler["scaleTargetRef"]["name"]])
        metadata = scaler["triggers"][0]["metadata"]
        group, topic = (own[metadata[f"{key}FromEnv"]] for key in ("consumerGroup", "topic"))
        scaled[own["PIPELINE"]] = (group, (topic,))
    assert scaled == {
        name: (shipped.group(name), pipeline.source.topics)
        for name, pipeline in shipped.pipelines.items()
        if isinstance(pipeline.source, TopicsSection)
    }


def test_a_stream_never_has_two_readers(manifests: list[dict[str, Any]]) -> None:
    readers = {
        n: d for n, d in deployments(manifests).items() if n.startswith("consumer-streaming")
    }
    assert len(readers) == 3
    for deployment in readers.values():
        assert deployment["replicas"] == 1
        assert deployment["strategy"] == {"type": "Recreate"}


def test_no_pod_is_root_or_writes_to_its_image(manifests: list[dict[str, Any]]) -> None:
    for deployment in deployments(manifests).values():
        pod = deployment["template"]["spec"]
        [container] = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]


def test_whatever_stops_a_daemon_waits_until_it_has_drained(
    manifests: list[dict[str, Any]],
) -> None:
    gateway = deployments(manifests)["gateway"]
    waits = int(environment_of(gateway)["PINPIP_GATEWAY__DRAIN_WAIT"])
    assert gateway["template"]["spec"]["terminationGracePeriodSeconds"] > waits + DRAIN_TIMEOUT_S
    for name, deployment in deployments(manifests).items():
        if name != "gateway":
            patience = deployment["template"]["spec"]["terminationGracePeriodSeconds"]
            assert patience > FLUSH_SECONDS


def test_the_other_ways_to_run_wait_as_long() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yaml").read_text(encoding="utf-8"))[
        "services"
    ]
    gateway, consumer = (read_unit(SYSTEMD / name) for name in UNITS)
    task = template("services.yaml")["Resources"]["GatewayTask"]["Properties"]
    tasks = [body[next(iter(body))]["Properties"] for _, _, body in loops("consumers.yaml")]
    stops = {
        DRAIN_TIMEOUT_S: [
            int(services["gateway"]["stop_grace_period"].removesuffix("s")),
            int(gateway["Service"]["TimeoutStopSec"]),
            task["ContainerDefinitions"][0]["StopTimeout"],
        ],
        FLUSH_SECONDS: [
            int(services["pin"]["stop_grace_period"].removesuffix("s")),
            int(consumer["Service"]["TimeoutStopSec"]),
            *(task["ContainerDefinitions"][0]["StopTimeout"] for task in tasks),
        ],
    }
    assert all(stop > needed for needed, found in stops.items() for stop in found)


def read_unit(path: Path) -> RawConfigParser:
    """Parse a unit or drop-in; of a repeated key the last value counts."""
    parser = RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[method-assign,assignment]  # systemd's keys have capitals
    parser.read_string(path.read_text(encoding="utf-8"))
    return parser


def test_the_units_run_the_commands_with_the_configuration_that_only_they_may_read() -> None:
    gateway, consumer = (read_unit(SYSTEMD / name)["Service"] for name in UNITS)
    assert gateway["ExecStart"] == "/opt/pinpip/bin/pinpip --config %d/config.yaml gateway"
    assert consumer["ExecStart"] == "/opt/pinpip/bin/pinpip --config %d/config.yaml consume %i"
    common = read_unit(SYSTEMD / "pinpip.conf")["Service"]
    assert common["LoadCredential"] == "config.yaml:/etc/pinpip/config.yaml"
    assert (common["DynamicUser"], common["ProtectSystem"]) == ("yes", "strict")
    assert (common["Restart"], common["RestartPreventExitStatus"]) == ("on-failure", "2")


@pytest.fixture
def installed_units(tmp_path: Path) -> Path:
    """Install units and drop-ins as deploy/README.md says, with `true` as the program."""
    for name in UNITS:
        text = (SYSTEMD / name).read_text(encoding="utf-8")
        true = text.replace("/opt/pinpip/bin/pinpip", shutil.which("true") or "")
        (tmp_path / name).write_text(true, encoding="utf-8")
        drop_in = tmp_path / f"{name}.d"
        drop_in.mkdir()
        shutil.copy(SYSTEMD / "pinpip.conf", drop_in)
    return tmp_path


@pytest.mark.parametrize("unit", ["pinpip-gateway.service", "pinpip-consumer@pin.service"])
def test_systemd_takes_the_units_and_finds_little_exposed(installed_units: Path, unit: str) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("needs systemd-analyze")
    paths = {"SYSTEMD_UNIT_PATH": f"{installed_units}:"}
    verify = [analyze, "verify", "--man=no", unit]
    done = subprocess.run(verify, env=paths, capture_output=True, text=True, check=False)
    assert (done.stderr, done.returncode) == ("", 0)
    judge = [analyze, "security", "--offline=true", "--threshold=20", "--json=short", unit]
    done = subprocess.run(judge, env=paths, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)


def test_a_clients_repeats_reach_the_gateway_that_remembers_its_keys(
    manifests: list[dict[str, Any]],
) -> None:
    [service] = [m["spec"] for m in manifests if m["kind"] == "Service"]
    assert service["sessionAffinity"] == "ClientIP"
    assert service["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 600}}
    # Behind API Gateway nothing tells one client from another: there is one gateway.
    parameters = template("main.yaml")["Parameters"]
    assert parameters["MostGateways"]["Default"] == 1
