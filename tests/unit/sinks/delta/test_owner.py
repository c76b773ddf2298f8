"""A table has one pipeline: another one is refused, whatever it reads."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from audit.verify import verify
from core.batch import KAFKA, Position
from core.clock import SystemClock
from core.config import Config
from core.errors import SinkError
from sinks.delta import table
from sinks.delta.positions import OWNER, owner_mark
from sinks.delta.sink import DeltaSink
from sinks.delta.target import Tables
from sinks.storage.store import FolderStore
from tests.support.batches import RecordLog, delta_target

PIN, GEO = RecordLog(KAFKA, "demo.pin"), RecordLog(KAFKA, "demo.geo")
REFUSED = "belongs to pin, not to geo: two pipelines cannot share a table"


def sink(place: Path, app: str, **changed: Any) -> DeltaSink:
    target = replace(delta_target(str(place), dict, KAFKA, "clean"), app=app, **changed)
    return DeltaSink("clean", target, FolderStore(place), SystemClock())


def filled(place: Path, app: str, log: RecordLog, first: int = 0, **changed: Any) -> DeltaSink:
    """Make a sink and write three more records."""
    made = sink(place, app, **changed)
    made.positions([log.partition(0)])
    made.write(log.batch({0: (first, first + 3)}))
    return made


def forget_owner(folder: Path) -> None:
    """Remove the owner: the code before this rule wrote none."""
    for path in (folder / "_delta_log").glob("*.json"):
        lines = [line for line in path.read_text().splitlines() if OWNER not in line]
        path.write_text("\n".join([*lines, ""]))


def test_a_second_pipeline_with_another_topic_is_refused_at_its_start(tmp_path: Path) -> None:
    filled(tmp_path, "pinpip/pin/1", PIN)
    with pytest.raises(SinkError, match=REFUSED) as refused:
        sink(tmp_path, "pinpip/geo/1").positions([GEO.partition(0)])
    assert "name another table for geo" in refused.value.hint


def test_two_that_start_at_once_on_a_table_that_is_not_there_yet_do_not_mix(tmp_path: Path) -> None:
    pin, geo = sink(tmp_path, "pinpip/pin/1"), sink(tmp_path, "pinpip/geo/1")
    pin.positions([PIN.partition(0)])
    geo.positions([GEO.partition(0)])
    pin.write(PIN.batch({0: (0, 3)}))
    with pytest.raises(SinkError, match=REFUSED):
        geo.write(GEO.batch({0: (0, 3)}))
    tables = Tables(str(tmp_path), f"{tmp_path}_none", dict, KAFKA, "pinpip/pin/1")
    assert {f.kind for f in verify(tables).findings} <= {"behind"}


def test_the_one_that_compared_before_the_other_committed_is_refused_after_it(
    tmp_path: Path,
) -> None:
    pin = filled(tmp_path, "pinpip/pin/1", PIN)
    forget_owner(tmp_path)
    geo = sink(tmp_path, "pinpip/geo/1", begins=True)
    geo.positions([GEO.partition(0)])
    geo.write(GEO.batch({0: (0, 3)}))
    with pytest.raises(SinkError, match="belongs to geo, not to pin"):
        pin.write(PIN.batch({0: (3, 6)}))


def test_a_table_of_before_is_known_by_its_ledger(tmp_path: Path) -> None:
    filled(tmp_path, "pinpip/pin/1", PIN)
    forget_owner(tmp_path)
    with pytest.raises(SinkError, match=REFUSED):
        sink(tmp_path, "pinpip/geo/1").positions([GEO.partition(0)])


def test_a_table_of_before_gets_its_owner_with_the_next_commit(tmp_path: Path) -> None:
    filled(tmp_path, "pinpip/pin/1", PIN)
    forget_owner(tmp_path)
    filled(tmp_path, "pinpip/pin/1", PIN, 3)
    filled(tmp_path, "pinpip/pin/1", PIN, 6)
    assert DeltaTable(tmp_path).transaction_version(OWNER) == owner_mark("pinpip/pin/1")
    entries = sorted((tmp_path / "_delta_log").glob("*.json"))
    assert [OWNER in path.read_text() for path in entries] == [False, False, True, False]


def test_the_owner_outlives_the_log(tmp_path: Path) -> None:
    pin = filled(tmp_path, "pinpip/pin/1", PIN)
    table.checkpoint(str(tmp_path), dict)
    for path in (tmp_path / "_delta_log").glob("*.json"):
        path.unlink()
    pin.positions([PIN.partition(0)])
    pin.write(PIN.batch({0: (3, 6)}))
    with pytest.raises(SinkError, match=REFUSED):
        sink(tmp_path, "pinpip/geo/1").positions([GEO.partition(0)])


def test_another_incarnation_and_another_topic_of_the_same_pipeline_are_at_home(
    tmp_path: Path,
) -> None:
    filled(tmp_path, "pinpip/pin/1", PIN)
    filled(tmp_path, "pinpip/pin/1", GEO)
    filled(tmp_path, "pinpip/pin/2", PIN, folder="incarnation=2/", begins=True)
    found = sink(tmp_path, "pinpip/pin/2", folder="incarnation=2/").positions([PIN.partition(0)])
    assert found == {PIN.partition(0): Position(3)}


def test_a_renamed_pipeline_takes_its_table_over_with_a_new_incarnation(tmp_path: Path) -> None:
    old = filled(tmp_path, "pinpip/pin/1", PIN)
    new: dict[str, Any] = {"folder": "incarnation=2/"}
    with pytest.raises(SinkError, match="belongs to pin, not to pins"):
        filled(tmp_path, "pinpip/pins/2", GEO, **new)
    filled(tmp_path, "pinpip/pins/2", PIN, begins=True, **new)
    filled(tmp_path, "pinpip/pins/2", PIN, 3, **new)
    with pytest.raises(SinkError, match="belongs to pins, not to pin:"):
        old.write(PIN.batch({0: (3, 6)}))


def test_members_of_one_pipeline_share_its_table(tmp_path: Path) -> None:
    one, two = sink(tmp_path, "pinpip/pin/1"), sink(tmp_path, "pinpip/pin/1")
    one.positions([PIN.partition(0)])
    two.positions([PIN.partition(1)])
    one.write(PIN.batch({0: (0, 3)}))
    two.write(PIN.batch({1: (0, 3)}))
    one.write(PIN.batch({0: (3, 6)}))


@pytest.mark.parametrize("alias", ["pin/", "./pin", "geo/../pin", "pin//"])
def test_one_configuration_cannot_give_a_table_to_two_pipelines(alias: str) -> None:
    def pipeline(topic: str, where: str) -> dict[str, object]:
        return {
            "source": {"topics": [topic]},
            "schema": "transforms.pin:SCHEMA",
            "transform": "transforms.pin:clean",
            "sinks": [{"delta": where}],
        }

    tree = {
        "id": "demo",
        "kafka": {"bootstrap.servers": "b:1"},
        "pipelines": {"pin": pipeline("demo.pin", "pin"), "geo": pipeline("demo.geo", alias)},
    }
    with pytest.raises(ValueError, match="pin and geo would write"):
        Config.model_validate(json.loads(json.dumps(tree)))
