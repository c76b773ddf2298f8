"""The Grafana dashboard: of metrics that exist, complete, and the same on any Grafana."""

import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from core import metrics
from tests.support.places import ROOT
from tests.support.promql import names, strangers
from tests.support.promtool import promtool

TEXT = (ROOT / "deploy/grafana/pinpip.json").read_text(encoding="utf-8")
DASHBOARD: dict[str, Any] = json.loads(TEXT)
ROWS = [panel for panel in DASHBOARD["panels"] if panel["type"] == "row"]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24  # columns of Grafana's grid
UNITS = {  # those of Grafana that are used; an unknown one is shown as a suffix
    "Bps",
    "bool_yes_no",
    "bytes",
    "dateTimeAsLocal",
    "locale",
    "percentunit",
    "reqps",
    "s",
    "short",
}
each = pytest.mark.parametrize("panel", PANELS, ids=lambda panel: str(panel["title"]))


def plain(expression: str) -> str:
    """Put a time in the place of Grafana's own variables, as Grafana does."""
    return expression.replace("$__rate_interval", "5m").replace("$__range", "1h")


def expressions() -> Iterator[str]:
    """Yield every expression: of panels and of annotations."""
    for panel in PANELS:
        yield from (target["expr"] for target in panel["targets"])
    yield from (a["expr"] for a in DASHBOARD["annotations"]["list"] if "expr" in a)


@each
def test_a_panel_says_what_it_shows_in_which_unit(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    shown = panel["fieldConfig"]["defaults"]
    assert shown["unit"] in UNITS
    if shown["unit"] == "short" and panel["type"] == "timeseries":
        assert shown["custom"]["axisLabel"], "a number without a unit of its own"


@each
def test_a_panel_asks_for_metrics_and_labels_that_exist(panel: dict[str, Any]) -> None:
    assert panel["targets"]
    for target in panel["targets"]:
        assert strangers(plain(target["expr"])) == []
    letters = [target["refId"] for target in panel["targets"]]
    assert len({*letters}) == len(letters)


@each
def test_a_panel_of_consumers_follows_the_choice_of_pipelines(panel: dict[str, Any]) -> None:
    by_pipeline = {m.name for m in metrics.CONSUMER if "pipeline" in m.labels}
    for target in panel["targets"]:
        used = {name.removesuffix("_bucket") for name in names(plain(target["expr"]))}
        if used & by_pipeline:
            assert 'pipeline=~"$pipeline"' in target["expr"]


def test_every_metric_is_on_the_dashboard() -> None:
    shown = set[str]().union(*(names(plain(expression)) for expression in expressions()))
    bases = {name.removesuffix("_bucket") for name in shown}
    assert {m.name for m in (*metrics.CONSUMER, *metrics.GATEWAY)} - bases == set()


def test_annotations_ask_for_metrics_that_exist() -> None:
    for expression in expressions():
        assert strangers(plain(expression)) == []


@pytest.mark.process
def test_prometheus_takes_every_expression(tmp_path: Path) -> None:
    rules = [{"record": f"r:{n}", "expr": plain(e)} for n, e in enumerate(expressions())]
    tree = {"groups": [{"name": "dashboard", "rules": rules}]}
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    code, said = promtool("check", "rules", "rules.yaml", folder=tmp_path)
    assert code == 0, said


def test_no_data_source_of_one_installation_is_named() -> None:
    own = [a["datasource"] for a in DASHBOARD["annotations"]["list"] if a.get("builtIn") != 1]
    own += [v["datasource"] for v in DASHBOARD["templating"]["list"] if v["type"] == "query"]
    own += [panel["datasource"] for panel in PANELS]
    own += [target["datasource"] for panel in PANELS for target in panel["targets"]]
    assert all(source == SOURCE for source in own)
    assert DASHBOARD["id"] is None
    variables = {v["name"]: v for v in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["query"] == "prometheus"
    assert variables["pipeline"]["query"]["query"] == "label_values(pinpip_ready, pipeline)"


def test_panels_have_numbers_and_places_of_their_own() -> None:
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len({*numbers}) == len(numbers)
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    assert all(place["x"] + place["w"] <= WIDTH for place in places)
    for a, b in combinations(places, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        apart = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert beside or apart, (a, b)


def test_the_rows_answer_one_question_each() -> None:
    assert [row["title"] for row in ROWS] == [
        "Is it well",
        "How far behind",
        "Throughput",
        "Quarantine",
        "Commits and latency",
        "Sources and stores",
        "Memory and processor",
        "Files of the tables",
        "Gateway",
    ]
