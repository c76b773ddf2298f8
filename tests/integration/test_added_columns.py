"""A column that somebody adds to a table while its consumer runs, seen by every command."""

import json
from pathlib import Path

from deltalake import DeltaTable, Field
from deltalake.schema import PrimitiveType

from pinpip.verify.verdict import RereadPlan
from tests.support.brokers import Broker
from tests.support.commands import invoke
from tests.support.consuming import consuming
from tests.support.processes import Home, kafka_home, payloads, until

TABLES = ("user", "user_quarantine")


def add_column(home: Home, *tables: str) -> None:
    """Add a nullable column, as `ALTER TABLE … ADD COLUMNS` does."""
    for name in tables:
        column = Field("note", PrimitiveType("string"))
        DeltaTable(home.uri(name)).alter.add_columns([column])


def test_a_column_added_while_the_consumer_runs_changes_nothing_else(
    broker: Broker, tmp_path: Path
) -> None:
    topic = broker.create_topic(1)
    home = kafka_home(tmp_path, broker, topic)
    broker.produce(topic, payloads(60))
    with consuming(home):
        until(lambda: home.rows() == 60, "the first rows")
        add_column(home, *TABLES)
        broker.produce(topic, payloads(60, since=60))
        until(lambda: home.rows() == 120, "rows after the change")
    verdict = home.examined(plan=RereadPlan())
    assert (verdict["findings"], verdict["unknown"]) == ([], [])
    assert verdict["reread"]["rows"] == 120
    assert [home.table(name)["note"].null_count() for name in TABLES] == [117, 3]
    [tree] = json.loads(invoke(home, "status", "--json").stdout)
    assert (tree["clean"], tree["quarantined"], tree["lag"]) == (117, 3, 0)
    assert (
        len(
            json.loads(invoke(home, "quarantine", "list", "user", "--newest", "9", "--json").stdout)
        )
        == 3
    )
    for rows in (120, 1):
        again = invoke(home, "replay", "user", "--into", "again", "--json")
        assert sum(json.loads(again.stdout)[0][n] for n in ("clean", "quarantined")) == rows
        add_column(home, *(("again",) if rows > 1 else ()))
        broker.produce(topic, payloads(1, since=200))
    assert home.table("again")["note"].null_count() == 117
