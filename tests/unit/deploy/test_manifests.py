"""The Kubernetes manifests: valid, hardened, probed, and patient when they stop."""

import shutil
import subprocess
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest
import yaml

from core.config import Config, TopicsSection
from gateway.server import DRAIN_TIMEOUT_S
from pinpip import configfile
from tests.support.commands import parsed
from tests.support.places import ROOT
from tests.support.templates import template

KUBERNETES = ROOT / "deploy/kubernetes"
FLUSH_SECONDS = 10  # what a consumer takes at most to end


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


def test_a_consumer_is_restarted_when_its_loop_hangs_and_for_no_other_reason(
    manifests: list[dict[str, Any]],
) -> None:
    for name, deployment in deployments(manifests).items():
        if name != "gateway":
            [container] = deployment["template"]["spec"]["containers"]
            port = str(parsed(["consume", *container["args"][1:]])["metrics_port"])
            assert container["ports"] == [{"name": "metrics", "containerPort": int(port)}]
            for probe, path in (
                ("startup", "/live"),
                ("liveness", "/live"),
                ("readiness", "/ready"),
            ):
                assert container[f"{probe}Probe"]["httpGet"] == {"path": path, "port": "metrics"}
            liveness = container["livenessProbe"]
            assert liveness["timeoutSeconds"] < liveness.get("periodSeconds", 10)
            annotations = deployment["template"]["metadata"]["annotations"]
            assert annotations["prometheus.io/port"] == port


def test_a_rollout_of_a_group_does_not_wait_for_a_member_that_gets_no_partition(
    manifests: list[dict[str, Any]],
) -> None:
    strategies = [d["strategy"] for n, d in deployments(manifests).items() if n == "consumer-pin"]
    rolling = {"maxSurge": 1, "maxUnavailable": 1}
    assert strategies == [{"type": "RollingUpdate", "rollingUpdate": rolling}]


def test_only_prometheus_reaches_the_consumers(manifests: list[dict[str, Any]]) -> None:
    policies = {m["metadata"]["name"]: m["spec"] for m in manifests if m["kind"] == "NetworkPolicy"}
    [rule] = policies["consumers"]["ingress"]
    assert rule["ports"] == [{"port": 9108, "protocol": "TCP"}]
    [peer] = rule["from"]
    assert peer.keys() == {"namespaceSelector", "podSelector"}, "both, not either"


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


def test_a_clients_repeats_reach_the_gateway_that_remembers_its_keys(
    manifests: list[dict[str, Any]],
) -> None:
    [service] = [m["spec"] for m in manifests if m["kind"] == "Service"]
    assert service["sessionAffinity"] == "ClientIP"
    assert service["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 600}}
    # Behind API Gateway nothing tells one client from another: there is one gateway.
    parameters = template("main.yaml")["Parameters"]
    assert parameters["MostGateways"]["Default"] == 1
