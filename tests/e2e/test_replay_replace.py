"""A replay in place, by the command: beside a running consumer, killed, compared, refused."""

import json
import signal
from pathlib import Path

import polars as pl
import pytest

from tests.support.brokers import Broker
from tests.support.processes import (
    Home,
    assert_same_tables,
    kafka_home,
    payloads,
    stop,
    until,
    version,
)
from tests.support.topics import trim

COUNT = 20_000
FIXED = """
import polars as pl

from transforms import user


def clean(rows):
    kept = rows.filter(pl.col("ind") % 10 != 3)
    made = user.clean(kept).with_columns(user_name=pl.col("user_name").str.to_uppercase())
    # Every 1,000th is refused now.
    return made.with_columns(
        ind=pl.col("ind") + pl.when(pl.col("ind") % 1000 == 7).then(pl.lit("x"))
        .otherwise(pl.lit("0")).cast(pl.Int64)
    )
"""
pytestmark = [pytest.mark.process, pytest.mark.real_broker]


@pytest.fixture
def home(broker: Broker, tmp_path: Path) -> Home:
    """Return a home whose table the transform of yesterday has filled."""
    topic = broker.create_topic()
    broker.produce(topic, payloads(COUNT), key=b"key")
    made = kafka_home(tmp_path, broker, topic)
    with made.running("consume", "user") as consumer:
        until(lambda: made.rows() >= COUNT, "all rows")
        assert stop(consumer) == 0
    return made


def fix(home: Home) -> None:
    """Give the pipeline the transform of today."""
    (home.folder / "fixed.py").write_text(FIXED, encoding="utf-8")
    told = home.config_path.read_text(encoding="utf-8")
    told = told.replace("transforms.user:clean", "fixed.py:clean")
    home.config_path.write_text(told, encoding="utf-8")


def replaced(home: Home, *options: str) -> dict[str, object]:
    done = home.run("replay", "user", "--replace", "--json", *options)
    assert done.returncode == 0, done.stderr
    [tree] = json.loads(done.stdout)
    return dict(tree)


def versions(home: Home) -> list[int]:
    return [version(home.uri(name)) for name in ("user", "user_quarantine")]


def assert_rebuilt(home: Home) -> None:
    """Assert that the live tables are as the transform of today makes them from zero."""
    done = home.run("replay", "user", "--into", "fresh")
    assert done.returncode == 0, done.stderr
    assert_same_tables(home, "user", "fresh")
    told = home.verify("--reread")
    assert (told["findings"], told["unknown"]) == ([], [])
    assert not list((home.folder / "lake").glob("user_replacing_*/*.parquet"))


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
