"""The limit on rejects: it holds over restarts, until the operator accepts or the rules change."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from consumers.engine.limits import RejectLimit
from core.batch import KAFKA, Batch, Rejects
from core.clock import SystemClock
from core.errors import StalePosition, TooManyRejects
from sinks.delta.sink import DeltaSink
from sinks.storage.store import FolderStore
from tests.support.batches import RecordLog, delta_target
from tests.support.brokers import Broker
from tests.support.examples import examples
from tests.support.member import LIMITS, P0, P1, Member, failing, fill
from tests.support.memory import BAD, MemoryBroker, MemoryTable
from tests.support.processes import kafka_home, stop, until
from transforms import geo, user
from transforms.load import rules_of
from transforms.schema import Schema

LOG = RecordLog(KAFKA)
PLACE = LOG.partition(0)
ACCEPTING = replace(LIMITS, accept_rejects=True)
RULES = "some digest"


@pytest.fixture
def memory() -> MemoryBroker:
    return MemoryBroker()


@pytest.fixture
def tables() -> list[MemoryTable]:
    return [MemoryTable(), MemoryTable()]


def read_all(member: Member) -> None:
    """Read what there is, as `run` does."""
    for _ in range(40):
        member.turn()
        member.executor.run()
    member.loop.finish()


def quarantined(tables: list[MemoryTable]) -> int:
    return len(tables[1].rows)


# --- the loop


def test_a_restart_stops_again_at_once_and_says_that_it_did_before(
    memory: MemoryBroker, tables: list[MemoryTable]
) -> None:
    fill(memory, P0, 30, BAD)
    for said in ("12 of the last 12 records were rejected (", "6 of them read before this start"):
        member = Member(memory, tables)
        member.takes(P0)
        with pytest.raises(TooManyRejects, match=re.escape(said)) as stopped:
            read_all(member)
        assert quarantined(tables) == 6
        assert "--accept-rejects" in stopped.value.hint


@settings(max_examples=examples(40), deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=12))
def test_however_often_it_restarts_no_more_than_one_window_of_rejects_gets_through(
    turns: list[int],
) -> None:
    broker, tables = MemoryBroker(), [MemoryTable(), MemoryTable()]
    fill(broker, P0, 400, BAD)
    for n in turns:
        member = Member(broker, tables)
        member.takes(P0)
        try:
            member.turn(n)
            member.executor.run()
        except TooManyRejects:
            continue
    assert quarantined(tables) < LIMITS.reject_window


def test_accepted_rejects_get_through_and_stop_no_later_start(
    memory: MemoryBroker, tables: list[MemoryTable]
) -> None:
    fill(memory, P0, 30, BAD)
    accepting = Member(memory, tables, ACCEPTING)
    accepting.takes(P0)
    read_all(accepting)
    assert quarantined(tables) == 30
    fill(memory, P0, 6, BAD)
    later = Member(memory, tables)
    later.takes(P0)
    read_all(later)
    assert quarantined(tables) == 36


def test_the_limit_holds_again_once_a_whole_window_was_within_it(
    memory: MemoryBroker, tables: list[MemoryTable]
) -> None:
    fill(memory, P0, 30, BAD)
    fill(memory, P0, 24)
    fill(memory, P0, 30, BAD)
    member = Member(memory, tables, ACCEPTING)
    member.takes(P0)
    with capture_logs() as logs, pytest.raises(TooManyRejects):
        read_all(member)
    assert "reject_limit_holds_again" in [line["event"] for line in logs]
    assert 30 <= quarantined(tables) < 30 + LIMITS.reject_window


def test_a_member_that_takes_a_partition_over_takes_its_rejects_over(
    memory: MemoryBroker, tables: list[MemoryTable]
) -> None:
    fill(memory, P0, 30, BAD)
    fill(memory, P1, 3)
    other = Member(memory, tables)
    other.takes(P1)
    read_all(other)
    first = Member(memory, tables)
    first.takes(P0)
    with pytest.raises(TooManyRejects):
        read_all(first)
    other.takes(P0)
    with pytest.raises(TooManyRejects, match="read before this start"):
        read_all(other)
    assert quarantined(tables) == 6


def test_a_batch_that_is_read_again_counts_once(
    memory: MemoryBroker, tables: list[MemoryTable]
) -> None:
    fill(memory, P0, 8, BAD)
    member = Member(memory, tables)
    member.sinks[0].before = failing(StalePosition("another writer"))
    member.takes(P0)
    read_all(member)
    assert quarantined(tables) == 8


# --- the ledger


def sink(folder: Path, rules: str = RULES, app: str | None = None) -> DeltaSink:
    target = replace(delta_target(str(folder), dict, KAFKA, "clean"), rules=rules)
    target = target if app is None else replace(target, app=app)
    return DeltaSink("clean", target, FolderStore(folder), SystemClock())


def batch(index: int, first: int, last: int, window: Rejects | None) -> Batch:
    return replace(LOG.batch({index: (first, last)}), window=window)


def windows(found: DeltaSink, *indices: int) -> list[Rejects]:
    partitions = [LOG.partition(i) for i in indices]
    found.positions(partitions)
    return list(found.rejects(partitions))


def write(folder: Path) -> None:
    """Two partitions' commits, the newer one of the first."""
    one = sink(folder)
    one.positions([LOG.partition(i) for i in (0, 1)])
    one.write(batch(1, 0, 3, Rejects(3, 1)))
    one.write(batch(0, 0, 3, Rejects(6, 2)))
    one.write(batch(0, 3, 6, Rejects(9, 3)))


def test_the_newest_commit_of_each_partition_says_what_was_rejected(tmp_path: Path) -> None:
    write(tmp_path)
    assert windows(sink(tmp_path), 0) == [Rejects(9, 3)]
    assert windows(sink(tmp_path), 1) == [Rejects(3, 1)]
    assert windows(sink(tmp_path), 0, 1) == [Rejects(3, 1), Rejects(9, 3)]
    assert windows(sink(tmp_path), 2) == []


def test_commits_under_other_rules_or_of_other_programs_count_for_nothing(tmp_path: Path) -> None:
    write(tmp_path)
    assert windows(sink(tmp_path, "another digest"), 0, 1) == []
    other = sink(tmp_path, "another digest")
    other.positions([PLACE])
    other.write(batch(0, 6, 9, Rejects(3, 3)))
    assert windows(sink(tmp_path), 0, 1) == []
    assert windows(sink(tmp_path, "another digest"), 0) == [Rejects(3, 3)]


def test_without_rules_nothing_is_kept(tmp_path: Path) -> None:
    one = sink(tmp_path, "")
    one.positions([PLACE])
    one.write(batch(0, 0, 3, Rejects(3, 3)))
    assert windows(sink(tmp_path), 0) == []


def damage(path: Path) -> None:
    """Overwrite the ledger of this commit with something else."""
    text = path.read_text()
    path.write_text(text.replace('"pinpip":"{', '"pinpip":"'))


def before_the_window(path: Path) -> None:
    """As the code before wrote it."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    told = json.loads(lines[0]["commitInfo"]["pinpip"])
    del told["rules"], told["window"]
    lines[0]["commitInfo"]["pinpip"] = json.dumps(told)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize("change", [damage, before_the_window])
def test_an_entry_that_says_nothing_stops_nobody(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    write(tmp_path)
    change(tmp_path / "_delta_log" / f"{3:020d}.json")
    found = windows(sink(tmp_path), 0)
    assert found in ([], [Rejects(6, 2)])


def test_another_schema_transform_or_rule_for_tombstones_is_another_digest() -> None:
    other = Schema("geo", "ind", {"ind": pl.Int64(), "country": pl.String()})
    found = [
        rules_of(geo.SCHEMA, geo.clean, []),
        rules_of(other, geo.clean, []),
        rules_of(geo.SCHEMA, user.clean, []),
        rules_of(geo.SCHEMA, geo.clean, ["drop"]),
    ]
    assert len({*found}) == 4
    assert rules_of(geo.SCHEMA, geo.clean, []) == found[0]


def test_records_that_where_leaves_out_do_not_dilute_the_limit() -> None:
    limit = RejectLimit(0.5, 10)
    batch = LOG.batch({0: (0, 30)})
    mine = batch.rejected.head(6)
    raw = batch.raw.filter(pl.col("_offset").is_in(mine["_offset"].implode()))
    others = batch.raw.select(*batch.coordinates.metadata).with_columns(claimed=pl.lit(value=True))
    left_out = others.remove(pl.col("_offset").is_in(mine["_offset"].implode()))
    shared = replace(batch, raw=raw, clean=batch.clean.clear(), rejected=mine, left_out=left_out)
    assert limit.check(shared).window == Rejects(6, 6)
    with pytest.raises(TooManyRejects, match="12 of the last 12 records"):
        limit.check(shared)


def test_batches_of_which_nothing_is_taken_take_no_memory() -> None:
    limit = RejectLimit(0.5, 10)
    batch = LOG.without_rows({0: (0, 30)})
    left_out = LOG.batch({0: (0, 30)}).raw.with_columns(claimed=pl.lit(value=True))
    for _ in range(5):
        assert limit.check(replace(batch, left_out=left_out)).window == Rejects(0, 0)
    assert len(limit._recent) == 0


# --- the process


@pytest.mark.real_broker
def test_a_consumer_whose_schema_is_wrong_stops_at_every_start_until_it_is_accepted(
    broker: Broker, tmp_path: Path
) -> None:
    topic = broker.create_topic(1)
    broker.produce(topic, [b"no JSON"] * 900)
    home = kafka_home(tmp_path, broker, topic)
    tree = yaml.safe_load(home.config_path.read_text())
    tree["batching"]["reject_window"] = 1000
    home.config_path.write_text(yaml.safe_dump(tree))
    with home.running("consume", "user") as process:
        until(lambda: home.rows() == 900, "nearly a window")
        assert stop(process) == 0
    broker.produce(topic, [b"no JSON"] * 300)
    done = home.run("consume", "user")
    assert (done.returncode, home.rows()) == (1, 900), done.stderr
    assert "1200 of the last 1200 records were rejected, 900 of them read" in done.stderr
    with home.running("consume", "user", "--accept-rejects") as process:
        until(lambda: home.rows() == 1200, "all rejects")
        assert stop(process) == 0
