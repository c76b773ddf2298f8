"""`pinpip verify` as a command finds the damage that other tests show to the reader alone."""

import json
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from sinks.delta.incarnation import incarnation_of
from tests.support import engines
from tests.support.brokers import Broker
from tests.support.commands import change, copied, invoke
from tests.support.consuming import consumed
from tests.support.processes import Home, kafka_home, payloads

COUNT = 40


@pytest.fixture(scope="module")
def filled(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Tables of all that a topic holds, in two incarnations: the config is at the second one."""
    topic = broker.create_topic()
    broker.produce(topic, payloads(COUNT))
    home = kafka_home(tmp_path_factory.mktemp("filled"), broker, topic)
    consumed(home, lambda: home.rows() == COUNT)
    change(home, "pipelines/user/incarnation", "2")
    return consumed(home, lambda: home.rows() == 2 * COUNT, begins=True)


@pytest.fixture
def home(filled: Home, tmp_path: Path) -> Home:
    """Copy `filled`, so that a test may damage it."""
    return copied(filled, tmp_path / "copy")


def said(home: Home, incarnation: str) -> tuple[int, int, dict[str, int]]:
    """Run `pinpip verify`; return its exit code, its count of rows and its findings by kind."""
    change(home, "pipelines/user/incarnation", incarnation)
    done = invoke(home, "verify", "--grace", "0", "--json")
    [tree] = json.loads(done.stdout)
    kinds = Counter(finding["kind"] for finding in tree["findings"])
    return done.exit_code, tree["clean"] + tree["quarantined"], dict(kinds)


def delete(home: Home, incarnation: str, wanted: pl.Expr) -> int:
    """Delete clean rows of one incarnation by deletion vectors; how many."""
    uri = home.uri("user")
    return engines.delete_rows(uri, wanted, within=lambda path: incarnation_of(path) == incarnation)


@pytest.mark.parametrize("incarnation", ["1", "2"])
def test_rows_of_another_incarnation_are_not_counted(home: Home, incarnation: str) -> None:
    assert said(home, incarnation) == (0, COUNT, {})


@pytest.mark.parametrize(("damaged", "other"), [("1", "2"), ("2", "1")])
def test_rows_lost_to_deletion_vectors_are_missing_in_their_own_incarnation(
    home: Home, damaged: str, other: str
) -> None:
    lost = delete(home, damaged, pl.col("_partition") == 0)
    assert lost > 0
    assert said(home, damaged) == (3, COUNT - lost, {"missing": 1})
    assert said(home, other) == (0, COUNT, {})


def test_rows_of_both_incarnations_that_another_engine_merges_stay_apart(home: Home) -> None:
    table = DeltaTable(home.uri("user"))
    table.optimize.compact()
    table.vacuum(0, dry_run=False, enforce_retention_duration=False)
    assert [said(home, life)[:2] for life in ("1", "2")] == [(0, COUNT)] * 2


def test_a_feature_that_pinpip_does_not_read_is_refused_by_name(home: Home) -> None:
    feature = engines.asks_of_readers(["deletionVectors", "variantType"])
    engines.put_entry(home.uri("user"), feature)
    done = invoke(home, "verify")
    assert done.exit_code == 1
    assert "variantType" in str(done.exception)


def test_lost_first_rows_are_found_without_a_log(home: Home) -> None:
    lost = delete(home, "2", pl.col("_offset") < 2)
    for name in ("user", "user_quarantine"):
        DeltaTable(home.uri(name)).create_checkpoint()
        for path in Path(home.uri(name), "_delta_log").glob("*.json"):
            path.unlink()
    code, rows, kinds = said(home, "2")
    assert (code, rows) == (3, COUNT - lost)
    assert kinds.keys() == {"gap"}
