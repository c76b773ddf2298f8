"""The systemd units: valid, hardened, watched, and patient when they stop."""

import json
import re
import shutil
import subprocess
from configparser import RawConfigParser
from pathlib import Path

import pytest
import yaml

from gateway.server import DRAIN_TIMEOUT_S
from tests.support.commands import parsed
from tests.support.places import ROOT
from tests.support.templates import loops, template

SYSTEMD = ROOT / "deploy/systemd"
FLUSH_SECONDS = 10  # what a consumer takes at most to end
UNITS = ["pinpip-gateway.service", "pinpip-consumer@.service", "pinpip-ui.service"]


def read_unit(path: Path) -> RawConfigParser:
    """Parse a unit or drop-in; of a repeated key the last value counts."""
    parser = RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[method-assign,assignment]  # systemd's keys have capitals
    parser.read_string(path.read_text(encoding="utf-8"))
    return parser


def test_the_units_run_commands_of_pinpip_with_the_configuration_that_only_they_may_read() -> None:
    for name in UNITS:
        program, *words = read_unit(SYSTEMD / name)["Service"]["ExecStart"].split()
        assert (program, words[:2]) == ("/opt/pinpip/bin/pinpip", ["--config", "%d/config.yaml"])
        assert parsed([word for word in words[2:] if word != "$PAGE"])["command"] in name
    common = read_unit(SYSTEMD / "pinpip.conf")["Service"]
    assert common["LoadCredential"] == "config.yaml:/etc/pinpip/config.yaml"
    assert (common["DynamicUser"], common["ProtectSystem"]) == ("yes", "strict")
    assert (common["Restart"], common["RestartPreventExitStatus"]) == ("on-failure", "2")


def test_a_consumer_tells_systemd_that_its_loop_turns() -> None:
    own = read_unit(SYSTEMD / "pinpip-consumer@.service")["Service"]
    assert (own["Type"], own["NotifyAccess"], own["WatchdogSec"]) == ("notify", "main", "60")
    assert "Type" not in read_unit(SYSTEMD / "pinpip.conf")["Service"], "it would count instead"


def test_a_turn_of_the_upkeep_that_is_short_of_memory_does_not_stop_its_consumer() -> None:
    assert read_unit(SYSTEMD / "pinpip-consumer@.service")["Service"]["OOMPolicy"] == "continue"


def test_a_file_of_the_instance_gives_a_consumer_the_port_of_its_page() -> None:
    text = (SYSTEMD / "pinpip-consumer@.service").read_text(encoding="utf-8")
    own = read_unit(SYSTEMD / "pinpip-consumer@.service")["Service"]
    assert own["ExecStart"].endswith(" consume %i $PAGE")
    assert (own["Environment"], own["EnvironmentFile"]) == ("PAGE=", "-/etc/pinpip/consumer-%i.env")
    [example] = re.findall(r"^# In /etc/pinpip/consumer-%i.env:  PAGE=(.*)$", text, re.MULTILINE)
    assert parsed(["consume", "pin", *example.split()])["metrics_port"] == 9108
    readme = (ROOT / "deploy/README.md").read_text(encoding="utf-8")
    assert f"PAGE={example}" in readme


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


@pytest.mark.parametrize("unit", [name.replace("@", "@pin") for name in UNITS])
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


def test_the_other_ways_to_run_wait_as_long() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yaml").read_text(encoding="utf-8"))[
        "services"
    ]
    gateway, consumer, _ = (read_unit(SYSTEMD / name) for name in UNITS)
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
