"""`consume --until-end`: takes what is there, whoever writes it, and ends by itself."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from core.errors import SourceError, TopicRecreated
from pinpip import delta_targets
from tests.e2e.test_transactions import Writer
from tests.support.aws import TestAws
from tests.support.brokers import Broker
from tests.support.commands import change, invoke, the_error
from tests.support.consuming import consuming
from tests.support.ending import ending, taken
from tests.support.places import ROOT
from tests.support.processes import (
    Home,
    assert_holds_once,
    environment,
    kafka_home,
    kinesis_home,
    payloads,
    put,
    stop,
    until,
)
from tests.support.waiting import PATIENCE

real = pytest.mark.real_broker
END = ("consume", "--until-end")


def topic_home(broker: Broker, folder: Path, partitions: int = 4) -> tuple[Home, str]:
    """Make a home and the topic that it reads."""
    topic = broker.create_topic(partitions)
    return kafka_home(folder, broker, topic), topic


@real
def test_twice_a_day_it_takes_all_then_the_new_then_nothing_also_after_kill_9(
    broker: Broker, tmp_path: Path
) -> None:
    home, topic = topic_home(broker, tmp_path)
    sent = payloads(8000)
    broker.produce(topic, sent)
    with home.running(*END) as first:
        until(lambda: home.rows() > 0, "a commit")
        first.kill()
        first.wait()
    rest = len(sent) - home.rows()
    assert rest > 0
    done = home.run(*END, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    [row] = json.loads(done.stdout)
    assert row["records"] >= rest
    assert (row["partitions"], row["complete"], row["behind"]) == (4, True, [])
    assert row["clean"] + row["quarantined"] + row["filtered"] == row["records"]
    new = payloads(100, since=len(sent))
    broker.produce(topic, new)
    assert taken(home) == 100
    assert taken(home) == 0
    assert_holds_once(home, sent + new)


@real
def test_two_members_share_the_work_and_both_end(broker: Broker, tmp_path: Path) -> None:
    home, topic = topic_home(broker, tmp_path)
    archive = {"parquet": str(tmp_path / "archive"), "stage": "raw"}
    change(home, "pipelines/user/sinks", [{"delta": "user"}, archive])
    sent = payloads(8000)
    broker.produce(topic, sent)
    with home.running(*END, log="one.log") as one, home.running(*END, log="two.log") as two:
        assert (one.wait(), two.wait()) == (0, 0)
    assert_holds_once(home, sent)


@real
def test_what_a_daemon_of_the_group_writes_counts(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delta_targets, "QUARANTINE_DEFER", 0.2)
    home, topic = topic_home(broker, tmp_path)
    sent = payloads(400)
    with consuming(home):
        until(lambda: len(broker.members(f"pinpip-{topic}-user")) == 1, "the daemon")
        broker.produce(topic, sent)
        taken(home)
    assert_holds_once(home, sent)


@real
def test_it_waits_for_a_member_that_does_not_write_and_takes_over_its_share(
    broker: Broker, tmp_path: Path
) -> None:
    home, topic = topic_home(broker, tmp_path)
    broker.produce(topic, payloads(40))
    own = {
        "group.id": f"pinpip-{topic}-user",
        "partition.assignment.strategy": "cooperative-sticky",
    }
    idler = Consumer(broker.consumer_properties | own)
    idler.subscribe([topic])
    until(lambda: bool(idler.poll(0.05) or idler.assignment()), "the idle member's share")
    with ending(home) as (run, running):

        def others_are_left() -> bool:
            idler.poll(0.05)
            return [row["position"] for row in run.behind()] == ["0", "0"]

        until(others_are_left, "this member's half")
        assert not running.done()
        idler.close()  # its half comes to the run
        running.result(PATIENCE)
        assert run.is_complete


@real
def test_open_transactions_control_records_gaps_and_empty_partitions_do_not_hold_it_up(
    broker: Broker, tmp_path: Path
) -> None:
    home, topic = topic_home(broker, tmp_path, partitions=5)
    change(home, "pipelines/user/source/topics", [f"^{topic[:-1]}."])
    ended, still_open = Writer(broker, topic), Writer(broker, topic)
    for how, count in (("commit", 6), ("abort", 9)):
        ended.write(payloads(count), partition=0)  # a marker, then aborted records, are its last
        ended.end(how)
    still_open.write(payloads(9), partition=1)
    for partition in (1, 2, 3):
        broker.produce(topic, payloads(5), partition=partition)
    gone = TopicPartition(topic, 3, 5)  # all that the partition ever had
    admin = AdminClient(broker.properties)
    admin.delete_records([gone])[gone].result(30)
    assert taken(home) == 6 + 5
    assert taken(home) == 0
    still_open.end("commit")
    broker.produce(topic, payloads(3), partition=3)
    assert taken(home) == 9 + 5 + 3


@real
def test_with_start_latest_the_first_run_only_notes_where_it_begins(
    broker: Broker, tmp_path: Path
) -> None:
    home, topic = topic_home(broker, tmp_path)
    change(home, "pipelines/user/source/start", "latest")
    broker.produce(topic, payloads(8))
    assert taken(home) == 0
    broker.produce(topic, payloads(3, since=8), partition=0)
    assert taken(home) == 3


def test_a_topic_that_does_not_exist_is_an_error(mock_broker: Broker, tmp_path: Path) -> None:
    home = kafka_home(tmp_path, mock_broker, "any")
    change(home, "pipelines/user/source/topics", ["^nowhere", "^nothing-.*"])
    said = invoke(home, *END)
    assert isinstance(said.exception, SourceError)
    told = "the cluster has no topic ^nowhere, ^nothing-.*: nothing was consumed"
    assert told in said.exception.message


def never_ending(broker: Broker, folder: Path) -> tuple[Home, str]:
    """Make a home to which no record comes, though there are some."""
    home, topic = topic_home(broker, folder)
    broker.produce(topic, payloads(100))
    change(home, "kafka/fetch.min.bytes", 100_000_000)
    change(home, "kafka/fetch.wait.max.ms", 60_000)
    return home, topic


@real
def test_a_run_that_takes_too_long_ends_with_an_error_and_says_what_is_missing(
    broker: Broker, tmp_path: Path
) -> None:
    home, topic = never_ending(broker, tmp_path)
    done = home.run(*END, "--timeout", "1", "--json")
    said = the_error(done)
    assert "error: not complete, stopped after 1 s: " in said
    assert said.count(f"{topic}/") == 3
    assert "of 25" in said
    assert ", and 1 more" in said
    [row] = json.loads(done.stdout)
    assert (row["complete"], len(row["behind"])) == (False, 4)


@real
def test_sigterm_before_the_end_leaves_with_an_error(broker: Broker, tmp_path: Path) -> None:
    home, topic = never_ending(broker, tmp_path)
    with home.running(*END) as process:
        until(lambda: len(broker.members(f"pinpip-{topic}-user")) == 1, "the member")
        assert stop(process) == 1
    said = (home.folder / "process.log").read_text()
    assert "error: not complete, stopped by a signal:" in said


def test_the_documented_line_for_cron_runs_and_prints_the_documented_json(
    mock_broker: Broker, tmp_path: Path
) -> None:
    page = (ROOT / "docs/scheduling.md").read_text(encoding="utf-8")
    [line] = re.findall(r"^0 2 \* \* \* pinpip (.*)$", page, re.MULTILINE)
    home, topic = topic_home(mock_broker, tmp_path)
    mock_broker.produce(topic, payloads(100))
    places = {
        "/opt/pinpip/bin/pinpip": f"{sys.executable} -m pinpip",
        "/etc/pinpip/config.yaml": str(home.config_path),
        "/tmp/pinpip-batch.lock": str(tmp_path / "lock"),  # noqa: S108  # as the page has it
    }
    for name, own in places.items():
        line = line.replace(name, own)
    done = subprocess.run(
        ["/bin/sh", "-c", line], env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    [row] = json.loads(done.stdout)
    assert row["records"] == 100
    told = page[page.index("`--json` prints") :].partition("\n\n")[0]
    assert [name for name in re.findall(r"`(\w+)`", told) if name in row] == list(row)
    [shown] = re.findall(r"^pipeline  .*$", page, re.MULTILINE)
    assert shown.split() == [name for name in row if name not in {"complete", "behind"}]


@real
def test_a_topic_that_was_created_again_is_not_at_its_end(broker: Broker, tmp_path: Path) -> None:
    home, topic = topic_home(broker, tmp_path)
    broker.produce(topic, payloads(40))
    assert taken(home) == 40
    admin = AdminClient(broker.properties)
    admin.delete_topics([topic])[topic].result(30)
    until(lambda: topic not in admin.list_topics(timeout=10).topics, "the end of the topic")
    admin.create_topics([NewTopic(topic, 4, 1)])[topic].result(30)
    broker.produce(topic, payloads(40))
    with pytest.raises(TopicRecreated):
        taken(home)


@pytest.mark.parametrize("option", [("--timeout", "5"), ("--json",)])
def test_its_options_belong_to_it(tmp_path: Path, mock_broker: Broker, option: list[str]) -> None:
    done = invoke(kafka_home(tmp_path, mock_broker, "any"), "consume", *option)
    assert done.exit_code == 2
    assert "need --until-end" in done.stderr


def test_a_stream_is_read_to_its_tips_idle_and_empty_shards_included(
    aws: TestAws, tmp_path: Path
) -> None:
    stream = aws.stream(3)
    home = kinesis_home(tmp_path, aws, stream)
    sent = payloads(1, since=1)
    put(aws, stream, sent)
    assert taken(home) == 1
    new = payloads(300, since=2)
    put(aws, stream, new)
    assert taken(home) == 300
    assert taken(home) == 0
    assert_holds_once(home, sent + new)
