"""The optional components of the manifests: scrapes, dashboard, the page of all pipelines."""

import json
import shutil
import subprocess
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest
import yaml

from pinpip import configfile
from tests.support.commands import parsed
from tests.support.places import ROOT

MONITORING = ROOT / "deploy/kubernetes/monitoring"
KUBERNETES_OWN = {"ServiceAccount", "Service", "NetworkPolicy", "Deployment", "ConfigMap"}
OVERLAY = """
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../deploy/kubernetes]
components: [../deploy/kubernetes/monitoring, ../deploy/kubernetes/ui]
images: [{name: registry.example.com/pinpip, newName: your/pinpip, newTag: "1"}]
"""


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, Any]]:
    """Return what an overlay with both components applies, by kind and name."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("needs kubectl")
    folder = tmp_path_factory.mktemp("overlay")
    shutil.copytree(ROOT / "deploy", folder / "deploy")
    (folder / "overlay").mkdir()
    (folder / "overlay/kustomization.yaml").write_text(OVERLAY, encoding="utf-8")
    command = [kubectl, "kustomize", str(folder / "overlay")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = yaml.safe_load_all(done.stdout)
    return {(m["kind"], m["metadata"]["name"]): m for m in found}


Manifests = dict[tuple[str, str], dict[str, Any]]


def test_the_components_fit_the_schemas_of_kubernetes(manifests: Manifests) -> None:
    if find_spec("kubernetes_validate") is None:
        pytest.skip("needs kubernetes-validate")
    validator = import_module("kubernetes_validate")
    for (kind, _), manifest in manifests.items():
        if kind in KUBERNETES_OWN:
            validator.validate(manifest, "1.34", strict=True)


@pytest.mark.parametrize("component", ["consumer", "gateway"])
def test_a_pod_monitor_scrapes_the_pods_by_the_name_of_their_port(
    manifests: Manifests, component: str
) -> None:
    monitor = manifests["PodMonitor", component]["spec"]
    [endpoint] = monitor["podMetricsEndpoints"]
    assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": f"pinpip-{component}"}]
    labels = monitor["selector"]["matchLabels"]
    scraped = 0
    for (kind, _), manifest in manifests.items():
        template = manifest["spec"]["template"] if kind == "Deployment" else {"metadata": {}}
        own = template["metadata"].get("labels", {})
        if labels.items() <= own.items():
            [container] = template["spec"]["containers"]
            assert endpoint["port"] in {port["name"] for port in container["ports"]}
            scraped += 1
    assert scraped == {"consumer": 6, "gateway": 1}[component]


def test_the_rules_of_the_operator_are_those_of_the_file() -> None:
    script = [str(MONITORING / "alerts.sh"), "other"]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    made = yaml.safe_load(done.stdout)
    text = (ROOT / "deploy/prometheus/alerts.yaml").read_text(encoding="utf-8")
    assert made["spec"] == yaml.safe_load(text)
    assert (made["kind"], made["metadata"]["namespace"]) == ("PrometheusRule", "other")


def test_grafanas_sidecar_gets_the_dashboard_as_it_is(manifests: Manifests) -> None:
    board = manifests["ConfigMap", "pinpip-dashboard"]
    assert board["metadata"]["labels"]["grafana_dashboard"] == "1"
    text = (ROOT / "deploy/grafana/pinpip.json").read_text(encoding="utf-8")
    assert json.loads(board["data"]["pinpip.json"]) == json.loads(text)


def test_a_prometheus_without_operator_finds_pods_by_annotations_and_names_their_job() -> None:
    path = ROOT / "deploy/prometheus/kubernetes.yml"
    [scrape] = yaml.safe_load(path.read_text(encoding="utf-8"))["scrape_configs"]
    job = next(r for r in scrape["relabel_configs"] if r.get("target_label") == "job")
    assert job["replacement"] == "pinpip-$1"
    assert job["source_labels"] == ["__meta_kubernetes_pod_label_app_kubernetes_io_component"]


def test_the_page_of_all_pipelines_starts_with_keys_of_a_secret_only(manifests: Manifests) -> None:
    pod = manifests["Deployment", "ui"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    given = parsed(container["args"])
    assert given["command"] == "ui"
    assert not given["allow_remote"], "without keys it must not start"
    [keys] = container["env"]
    assert keys["valueFrom"]["secretKeyRef"] == {"name": "pinpip-ui", "key": "api-keys"}
    example = '{NAME: "sha256:' + 64 * "0" + '"}'
    settings = {"KAFKA_SERVERS": "b:9092", keys["name"]: example}
    config = configfile.load(ROOT / "deploy/config/config.yaml", settings)
    assert list(config.monitor.api_keys) == ["NAME"]


def test_the_page_of_all_pipelines_is_the_image_hardened_as_all_others(
    manifests: Manifests,
) -> None:
    pod = manifests["Deployment", "ui"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    [beside] = manifests["Deployment", "gateway"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == beside["image"] == "your/pinpip:1"
    assert container["securityContext"] == beside["securityContext"]
    assert container["envFrom"] == beside["envFrom"]
    assert container["volumeMounts"] == beside["volumeMounts"]
    service = manifests["Service", "ui"]["spec"]
    assert service.get("type", "ClusterIP") == "ClusterIP"
    port = [port["containerPort"] for port in container["ports"]]
    policy = manifests["NetworkPolicy", "ui"]["spec"]["ingress"]
    assert [rule["port"] for rule in policy[0]["ports"]] == port
