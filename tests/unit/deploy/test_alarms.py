"""The alarms on AWS: on figures that exist, for each pipeline, in the units of their limits."""

import json
from typing import Any

import pytest
import structlog

from core.batch import KAFKA
from core.config import Config, Log, TopicsSection
from core.errors import FatalError
from monitor.journal import Journal
from monitor.view import PipelineView, State
from pinpip import configfile, logs
from tests.support.batches import RecordLog
from tests.support.clock import ManualClock
from tests.support.places import ROOT
from tests.support.templates import loops, template


@pytest.fixture(scope="module")
def shipped() -> Config:
    """Load the configuration in the image."""
    environment = {"PINPIP_ID": "demo", "KAFKA_SERVERS": "b:9098", "PINPIP_LAKE": "s3://b/lake"}
    return configfile.load(ROOT / "deploy/config/config.yaml", environment)


def filters() -> dict[str, dict[str, Any]]:
    """Return the filters that make figures of the log, by name."""
    found = template("services.yaml")["Resources"].items()
    return {n: r["Properties"] for n, r in found if r["Type"] == "AWS::Logs::MetricFilter"}


def alarms() -> dict[str, dict[str, Any]]:
    """Return the alarms on consumers, by name."""
    bodies = [body for *_, body in loops("alarms.yaml")]
    return {name: alarm["Properties"] for body in bodies for name, alarm in body.items()}


def test_the_alarm_on_lag_watches_the_groups_and_topics_of_the_pipelines(shipped: Config) -> None:
    _, names, body = template("alarms.yaml")["Resources"]["Fn::ForEach::Kafka"]
    dimensions = body["${Pipeline}Lag"]["Properties"]["Dimensions"]
    watched = {d["Name"]: d["Value"]["Fn::Sub"].replace("${Id}", "demo") for d in dimensions}
    for name in names:
        source = shipped.pipelines[name].source
        assert isinstance(source, TopicsSection)
        group = watched["Consumer Group"].replace("${Pipeline}", name)
        assert group == shipped.group(name)
        assert (watched["Topic"].replace("${Pipeline}", name),) == source.topics


def test_each_pipeline_has_an_alarm_on_what_it_rejects(shipped: Config) -> None:
    watched = [
        alarm["Properties"]["Dimensions"][0]["Value"]["Fn::Sub"].replace(f"${{{variable}}}", value)
        for variable, values, body in loops("alarms.yaml")
        for name, alarm in body.items()
        if name.endswith("Rejected")
        for value in values
    ]
    assert sorted(watched) == sorted(shipped.pipelines)


def test_the_age_of_a_stream_is_compared_in_seconds() -> None:
    alarm = alarms()["streaming${Record}Age"]
    age, seconds = alarm["Metrics"]
    assert age["MetricStat"]["Metric"]["MetricName"].endswith("Milliseconds")
    assert (age["ReturnData"], seconds["Expression"]) == (False, "age / 1000")
    assert alarm["Threshold"] == {"Ref": "LagSeconds"}


def test_the_alarms_on_the_log_watch_the_figures_that_filters_make_of_it() -> None:
    made = {
        transformation["MetricName"]["Fn::Sub"]
        for own in filters().values()
        for transformation in own["MetricTransformations"]
    }
    own = [alarm for alarm in alarms().values() if alarm.get("Namespace") == "pinpip"]
    error = template("services.yaml")["Resources"]["ErrorAlarm"]["Properties"]
    assert {alarm["MetricName"]["Fn::Sub"] for alarm in [*own, error]} == made


def test_the_filters_read_the_fields_that_a_consumer_logs(
    capfd: pytest.CaptureFixture[str],
) -> None:
    lines = logged(capfd)
    patterns = {name: own["FilterPattern"] for name, own in filters().items()}
    assert patterns == {
        "Failures": '{ $.event = "failed" }',
        "Errors": '"error: " -"\\"event\\":"',
        "Behind": "{ $.behind_seconds >= 0 }",
        "Quarantined": '{ $.quarantined > 0 && $.state = "*" }',
    }
    assert lines[-1]["event"] == "failed"
    [minute] = [line for line in lines if "state" in line]
    assert (minute["pipeline"], minute["behind_seconds"]) == ("pin", 1.5)
    assert [line["quarantined"] for line in lines if "quarantined" in line] == [2, 2]
    assert minute["quarantined"] == 2


def logged(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return the lines of a consumer that wrote, turned for a minute and ended with an error."""
    clock = ManualClock()
    well = PipelineView("pin", "", "", State("ok", "up to date"), lag_seconds=1.5)
    try:
        logs.configure(Log(), daemon=True)
        journal = Journal("pin", clock, "topic demo.pin", "lake/pin", lambda: well)
        journal.wrote(RecordLog(KAFKA).batch({0: (0, 6)}))
        clock.advance(60)
        journal.turned()
        error = FatalError("the cluster is gone")
        journal.end(error)
        logs.failed(error)
    finally:
        structlog.reset_defaults()
    return [json.loads(line) for line in capfd.readouterr().err.splitlines()]
