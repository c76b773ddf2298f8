"""A real Prometheus with the deployment's alert rules, scraping and evaluating every second."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import yaml

from tests.support.gateway_process import free_port
from tests.support.places import ROOT
from tests.support.processes import until


@dataclass(frozen=True)
class Prometheus:
    """A running one."""

    url: str

    def alerts(self) -> set[str]:
        """Return the names of the alerts that are pending or firing."""
        found = requests.get(f"{self.url}/api/v1/alerts", timeout=10).json()["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in found}

    def value(self, query: str) -> float | None:
        """Return the value of the only series that the query has; None: there is none."""
        answer = requests.get(f"{self.url}/api/v1/query", params={"query": query}, timeout=10)
        found = answer.json()["data"]["result"]
        return float(found[0]["value"][1]) if found else None

    def is_up(self) -> bool:
        """Whether it responds."""
        try:
            return requests.get(f"{self.url}/-/ready", timeout=5).ok
        except requests.ConnectionError:
            return False


@contextmanager
def prometheus(folder: Path, target: int) -> Iterator[Prometheus]:
    """Scrape the consumer at this port of loopback while the block runs, or skip the test."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("needs Prometheus (Debian's package prometheus)")
    scrape = {
        "job_name": "pinpip-consumer",
        "static_configs": [{"targets": [f"127.0.0.1:{target}"]}],
    }
    tree = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ROOT / "deploy/prometheus/alerts.yaml")],
        "scrape_configs": [scrape],
    }
    folder.mkdir()
    (folder / "prometheus.yml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    own = Prometheus(f"http://127.0.0.1:{free_port()}")
    command = [program, "--config.file", "prometheus.yml", "--storage.tsdb.path", "data"]
    command += ["--web.listen-address", own.url.removeprefix("http://")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        with process:
            try:
                until(own.is_up, "Prometheus")
                yield own
            finally:
                process.kill()
