"""A replay in place, by the command: beside a running consumer, killed, compared, refused."""

import json
import signal
from contextlib import ExitStack
from pathlib import Path

import polars as pl
import pytest

from tests.support.archives import archived
from tests.support.brokers import Broker
from tests.support.processes import (
    Home,
    kafka_home,
    payloads,
    stop,
    until,
)
from tests.support.replays import (
    YESTERDAY,
    assert_rebuilt,
    fix,
    killed_between,
    replaced,
    the_finding,
    transform,
    versions,
)
from tests.support.topics import trim
from tests.support.waiting import PATIENCE

COUNT = 20_000
pytestmark = [pytest.mark.process, pytest.mark.real_broker]


@pytest.fixture
def home(broker: Broker, tmp_path: Path) -> Home:
    """Return a home whose table the transform of yesterday has filled."""
    topic = broker.create_topic()
    broker.produce(topic, payloads(COUNT), key=b"key")
    return consumed(kafka_home(tmp_path, broker, topic))


def consumed(home: Home) -> Home:
    """Let the transform of yesterday fill the tables."""
    transform(home, "yesterday", YESTERDAY)
    with home.running("consume", "user") as consumer:
        until(lambda: home.rows() >= COUNT, "all rows")
        assert stop(consumer) == 0
    return home


def coordinates(home: Home, table: str) -> set[tuple[int, int]]:
    return set(home.table(table).select("_partition", "_offset").iter_rows())


def test_the_live_tables_become_those_of_todays_transform_and_a_second_run_changes_nothing(
    home: Home,
) -> None:
    fix(home)
    before = versions(home)
    [first, second] = json.loads(
        home.run("replay", "user", "--replace", "--dry-run", "--json").stdout
    )
    assert (first["offsets"], first["rows"] + second["rows"]) == (COUNT, COUNT)
    compared = replaced(home, "--diff")
    assert versions(home) == before
    done = replaced(home)
    assert done["tables"] == compared["tables"]
    assert [after - earlier for after, earlier in zip(versions(home), before, strict=True)] == [
        1,
        1,
    ]
    assert_rebuilt(home)
    swapped = versions(home)
    replaced(home)
    assert versions(home) == swapped


def test_a_consumer_commits_meanwhile_and_a_killed_replay_goes_on(
    home: Home, broker: Broker
) -> None:
    [topic] = home.config.pipeline("user").source.topics
    fix(home)
    with home.running("consume", "user", log="live.log") as consumer:
        with home.running("replay", "user", "--replace") as process:
            until(lambda: home.files("user_replacing_*/*.parquet") >= 1, "a staged file")
            process.send_signal(signal.SIGKILL)
            process.wait()
        broker.produce(topic, payloads(1000, COUNT), key=b"key")
        replaced(home)
        broker.produce(topic, payloads(1000, COUNT + 1000), key=b"key")
        until(lambda: home.lag() == 0, "the live consumer at the end")
        assert stop(consumer) == 0
    assert_rebuilt(home)


@pytest.mark.parametrize("rules", ["today", "yesterday"])
def test_killed_between_both_tables_beside_a_consumer_the_same_command_finishes_it(
    home: Home, broker: Broker, rules: str
) -> None:
    """Also what a consumer that nobody restarted appends meanwhile, by the rules of yesterday."""
    [topic] = home.config.pipeline("user").source.topics
    before = coordinates(home, "user_quarantine")
    if rules == "today":
        fix(home)
    with home.running("consume", "user", log="live.log") as consumer:
        until(lambda: "reading" in (home.folder / "live.log").read_text("utf-8"), "its start")
        fix(home)
        killed_between(home)
        assert "pinpip replay user --replace (" in the_finding(home)
        broker.produce(topic, payloads(1000, COUNT), key=b"key")
        until(lambda: home.lag() == 0, "the live consumer at the end")
        assert "pinpip replay user --replace (" in the_finding(home)
        replaced(home)
        after = coordinates(home, "user_quarantine")
        if rules == "today":
            broker.produce(topic, payloads(1000, COUNT + 1000), key=b"key")
            until(lambda: home.lag() == 0, "the live consumer at the end")
        assert stop(consumer) == 0
    assert before - after
    assert after - before
    assert_rebuilt(home)


def test_a_range_of_the_archive_is_replaced_and_a_kill_between_both_tables_finished(
    broker: Broker, tmp_path: Path
) -> None:
    topic = broker.create_topic()
    broker.produce(topic, payloads(COUNT), key=b"key")
    home = consumed(archived(tmp_path, broker, topic))
    for partition in range(4):
        trim(broker, topic, COUNT // 4, partition)
    fix(home)
    bounds = ("--from-offset", "100", "--until-offset", "300")
    replaced(home, "--from-archive", *bounds)
    killed_between(home, "--from-archive")
    assert "pinpip replay user --replace --from-archive (" in the_finding(home)
    replaced(home, "--from-archive")
    assert_rebuilt(home, "--from-archive")


def test_overlapping_replays_at_once_beside_upkeep_and_a_requeue_leave_each_record_once(
    home: Home, broker: Broker
) -> None:
    [topic] = home.config.pipeline("user").source.topics
    fix(home)
    commands = {
        "until": ("replay", "user", "--replace", "--until-offset", "3000"),
        "since": ("replay", "user", "--replace", "--from-offset", "1000"),
        "requeue": ("quarantine", "requeue", "user"),
        "maintain": ("maintain", "user"),
    }
    with home.running("consume", "user", log="live.log") as consumer, ExitStack() as stack:
        started = {
            name: stack.enter_context(home.running(*words, log=f"{name}.log"))
            for name, words in commands.items()
        }
        broker.produce(topic, payloads(1000, COUNT), key=b"key")
        ended = {name: process.wait(PATIENCE) for name, process in started.items()}
        assert ended == dict.fromkeys(commands, 0)
        until(lambda: home.lag() == 0, "the live consumer at the end")
        assert stop(consumer) == 0
    assert_rebuilt(home)


def test_a_range_alone_is_replaced(home: Home) -> None:
    before = home.table("user")
    fix(home)
    replaced(home, "--from-offset", "100", "--until-offset", "300")
    within = pl.col("_offset").is_between(100, 300, closed="left")
    after = home.table("user")
    assert after.filter(~within).equals(before.filter(~within))
    assert 0 < after.filter(within).height < before.filter(within).height
    told = home.verify()
    assert (told["findings"], told["unknown"]) == ([], [])


def test_what_cannot_be_replaced_is_one_error(home: Home) -> None:
    before = versions(home)
    for options, said in {
        ("--replace", "--into", "other"): "no --into",
        ("--diff", "--into", "other"): "are of --replace",
        ("--replace", "--from-offset", "900000"): "no record in the range",
        ("--replace", "--from-archive"): "keeps no raw archive",
    }.items():
        refused = home.run("replay", "user", *options)
        assert refused.returncode in {1, 2}
        assert said in " ".join(refused.stderr.replace("│", " ").split())
    assert versions(home) == before


def test_records_that_the_topic_no_longer_holds_are_never_taken_from_the_table(
    home: Home, broker: Broker
) -> None:
    [topic] = home.config.pipeline("user").source.topics
    before = versions(home)
    trim(broker, topic, 500)
    refused = home.run("replay", "user", "--replace")
    assert refused.returncode == 1
    assert "some have expired" in " ".join(refused.stderr.split())
    assert versions(home) == before
