"""The compose file: a consumer and its page for each pipeline, on loopback, and who watches."""

import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from core.config import TopicsSection
from pinpip import configfile
from pinpip.local.jars import VERSION
from tests.support.commands import parsed
from tests.support.places import ROOT

PIPELINES = configfile.load(
    ROOT / "deploy/config/config.yaml", {"KAFKA_SERVERS": "b:9092"}
).pipelines
TREE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = TREE["services"]
CONSUMERS = {
    name: service
    for name, service in SERVICES.items()
    if service.get("entrypoint", [])[:2] == ["pinpip", "consume"]
}


def test_it_starts_a_consumer_for_each_pipeline() -> None:
    started = {s["command"][0]: s.get("profiles") for s in CONSUMERS.values()}
    assert started == {
        name: None if isinstance(pipeline.source, TopicsSection) else ["kinesis"]
        for name, pipeline in PIPELINES.items()
    }


def test_the_commands_are_pinpips() -> None:
    for service in [*CONSUMERS.values(), SERVICES["gateway"], SERVICES["ui"]]:
        words = [*service.get("entrypoint", ["pinpip"]), *service["command"]]
        assert parsed(words[1:])["command"] == words[1]


def test_without_profiles_it_starts_kafka_gateway_consumers_and_the_page() -> None:
    always = {name for name, service in SERVICES.items() if "profiles" not in service}
    assert always == {"kafka", "gateway", "pin", "geo", "user", "ui"}


def test_it_opens_its_ports_on_loopback_only_and_each_once() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    outside = [port.split(":")[1] for port in ports]
    assert len({*outside}) == len(outside)


def test_each_consumers_page_is_open_and_its_health_is_asked_for_where_it_listens() -> None:
    for service in CONSUMERS.values():
        port = str(parsed(service["entrypoint"][1:] + service["command"])["metrics_port"])
        assert [own.split(":")[2] for own in service["ports"]] == [port]
        assert f"http://127.0.0.1:{port}/ready" in " ".join(service["healthcheck"]["test"])
    [page] = SERVICES["ui"]["ports"]
    assert f"http://127.0.0.1:{page.split(':')[2]}/live" in " ".join(
        SERVICES["ui"]["healthcheck"]["test"]
    )


def test_the_page_of_all_pipelines_may_only_read() -> None:
    assert SERVICES["ui"]["volumes"] == ["lake:/var/lib/pinpip:ro"]


def test_it_takes_the_kafka_that_the_tests_run_on() -> None:
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{VERSION}"


def test_the_images_of_others_have_a_version_and_the_files_that_they_are_given_exist() -> None:
    for service in SERVICES.values():
        if "build" not in service and not service["image"].startswith("pinpip"):
            assert re.search(r":v?\d+\.\d+\.\d+$", service["image"])
        for volume in service.get("volumes", []):
            if volume.startswith("."):
                assert (ROOT / volume.split(":")[0]).exists()


def test_prometheus_scrapes_the_gateway_and_every_consumer_of_the_file() -> None:
    path = ROOT / "deploy/prometheus/compose.yml"
    consumer, gateway = yaml.safe_load(path.read_text(encoding="utf-8"))["scrape_configs"]
    [found] = consumer["dns_sd_configs"]
    assert (sorted(found["names"]), found["port"]) == (sorted(CONSUMERS), 9108)
    assert gateway["static_configs"] == [{"targets": ["gateway:8082"]}]


def test_grafana_finds_prometheus_and_the_dashboard_where_they_are() -> None:
    folder = ROOT / "deploy/grafana/provisioning"
    source = yaml.safe_load((folder / "datasources/prometheus.yaml").read_text(encoding="utf-8"))
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
    boards = yaml.safe_load((folder / "dashboards/pinpip.yaml").read_text(encoding="utf-8"))
    place = boards["providers"][0]["options"]["path"]
    assert f"./deploy/grafana/pinpip.json:{place}/pinpip.json:ro" in SERVICES["grafana"]["volumes"]


def test_docker_compose_reads_the_file() -> None:
    docker = shutil.which("docker")
    plugin = docker and subprocess.run(
        [docker, "compose", "version"], capture_output=True, check=False
    )
    if not plugin or plugin.returncode != 0:
        pytest.skip("needs docker compose")
    command = [str(docker), "compose", "config", "--quiet"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stderr, done.returncode) == ("", 0)
