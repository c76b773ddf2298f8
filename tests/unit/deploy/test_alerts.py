"""The alert rules: of metrics that exist, each fires and is quiet, each says what to do."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.commands import parsed
from tests.support.places import ROOT
from tests.support.promql import ALERTS, LIMITS, RULES, names, strangers
from tests.support.promtool import promtool

FOLDER = ROOT / "deploy/prometheus"
SERIES = FOLDER / "alerts.test.yaml"
OWN = {rule["alert"]: rule for rule in RULES if "alert" in rule}
each = pytest.mark.parametrize("name", OWN)


@each
def test_an_alert_names_metrics_and_labels_that_exist(name: str) -> None:
    assert strangers(OWN[name]["expr"]) == []


def test_a_metric_or_label_that_does_not_exist_is_found() -> None:
    assert strangers("sum by (pipeline) (rate(pinpip_batch_records[5m]))") == [
        "pinpip_batch_records",
        "pipeline",
    ]
    assert strangers('pinpip_ready{pipline="pin"} == 0') == ["pipline"]
    assert strangers("max by (partition) (pinpip_ready) > on (tier) pinpip_live") == [
        "partition",
        "pinpip_live",
        "tier",
    ]


def test_each_limit_is_used_by_one_alert_and_each_alert_knows_how_many_there_are() -> None:
    used = [limit for rule in OWN.values() for limit in sorted(names(rule["expr"]) & {*LIMITS})]
    assert {*used} == {*LIMITS}
    assert OWN["PinpipLimits"]["expr"].endswith(f"!= {len(LIMITS)}")
    assert f"not {len(LIMITS)}:" in OWN["PinpipLimits"]["annotations"]["description"]


@each
def test_an_alert_says_how_bad_it_is_what_to_do_and_where_to_read_on(name: str) -> None:
    rule = OWN[name]
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    told = rule["annotations"]
    assert set(told) == {"summary", "description", "runbook"}
    assert len(told["summary"]) < 120
    assert told["runbook"] == f"docs/monitoring.md#{name.lower()}"


@each
def test_the_commands_that_an_alert_names_are_commands_of_pinpip(name: str) -> None:
    told = OWN[name]["annotations"]["description"]
    for command in re.findall(r"`pinpip ([^`]+)`", told):
        words = shlex.split(command.replace("{{ $labels.pipeline }}", "pin"))
        assert parsed(words)["command"]


@each
def test_an_alert_has_its_chapter_in_the_documentation(name: str) -> None:
    page = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")
    assert page.count(f"### {name}\n") == 1


@pytest.mark.process
def test_prometheus_takes_rules_and_scrapes() -> None:
    for arguments in (("check", "rules", "alerts.yaml"), ("check", "config", "prometheus.yml")):
        code, said = promtool(*arguments, folder=FOLDER)
        assert code == 0, said


@pytest.mark.process
@pytest.mark.slow
def test_each_alert_fires_and_is_quiet_on_series_of_both_kinds() -> None:
    code, said = promtool("test", "rules", SERIES.name, folder=FOLDER)
    assert code == 0, said


@pytest.mark.process
@each
def test_the_series_fail_without_the_alert(name: str, tmp_path: Path) -> None:
    rules = [rule for rule in RULES if rule.get("alert") != name]
    write(tmp_path / ALERTS.name, {"groups": [{"name": "pinpip", "rules": rules}]})
    tree = yaml.safe_load(SERIES.read_text(encoding="utf-8"))
    own = [test for test in tree["tests"] if test["name"].split()[0] == name]
    write(tmp_path / SERIES.name, tree | {"tests": own})
    code, said = promtool("test", "rules", SERIES.name, folder=tmp_path)
    assert code == 1, said


def write(path: Path, tree: Any) -> None:
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
