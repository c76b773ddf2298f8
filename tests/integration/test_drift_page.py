"""The commands of docs/drift.md, in their order, after a producer began to send a new field."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl
import pytest

from tests.support.brokers import Broker
from tests.support.commands import change
from tests.support.places import ROOT
from tests.support.processes import Home

PAGE = (ROOT / "docs/drift.md").read_text(encoding="utf-8")
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
]
BEFORE = [{"id": n, "title": f"Board {n}", "pins": n} for n in range(3)]
AFTER = [{"id": n, "title": f"Board {n}", "pins": n} for n in range(3, 5)]


class Reader:
    """Somebody who has a pipeline made by `pinpip config init`, and follows the page."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        self.home, self._broker = Home(folder), broker
        self.topic = broker.create_topic(1)
        self.run("config init --pipeline boards")
        change(self.home, "kafka", {"bootstrap.servers": broker.bootstrap})
        change(self.home, "lake/root", str(folder / "lake"))
        change(self.home, "pipelines/boards/source", {"topics": [self.topic]})

    def send(self, records: Sequence[Mapping[str, object]]) -> None:
        """Produce the records to the topic."""
        self._broker.produce(self.topic, [json.dumps(record).encode() for record in records])

    def declare(self) -> None:
        """Edit the code as the page says."""
        path = self.home.folder / "boards.py"
        code = path.read_text(encoding="utf-8")
        code = code.replace('"title": pl.String(),', '"title": pl.String(), "pins": pl.Int64(),')
        path.write_text(code.replace('        "score",\n', '        "score",\n        "pins",\n'))

    def run(self, command: str) -> str:
        """Run `pinpip …` to its end."""
        done = self.home.run(*shlex.split(command))
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def pins(self, table: str = "boards") -> list[int | None]:
        """Return the column, in the order of the records."""
        rows = pl.read_delta(self.home.uri(table)).sort("_offset")
        return rows["pins"].to_list() if "pins" in rows.columns else [None] * rows.height


@pytest.fixture
def reader(tmp_path: Path, broker: Broker) -> Reader:
    """Return the reader, with three rows in the table."""
    made = Reader(tmp_path, broker)
    made.send(BEFORE)
    made.run("consume boards --until-end")
    return made


def test_the_commands_of_the_page_give_a_field_its_column(reader: Reader) -> None:
    assert [line.split()[1] for line in COMMANDS] == [
        "status",
        "config",
        "consume",
        "verify",
        "rescue",
        "rescue",
        "replay",
    ]
    look, check, consume, verify, plan, rescue, replay = (
        line.partition("pinpip ")[2] for line in COMMANDS
    )
    assert "3 of 3 rows have values in _rescued" in reader.run(look)
    reader.declare()
    assert "adds to the table" in reader.run(check)
    assert reader.pins() == [None] * 3
    reader.send(AFTER)
    reader.run(consume)
    assert reader.pins() == [None, None, None, 3, 4]
    assert "adds to the table" not in reader.run(check)
    reader.run(verify)
    assert "3 rows in 1 of 2 files would change" in reader.run(plan)
    assert reader.pins() == [None, None, None, 3, 4]
    reader.run(rescue)
    assert reader.pins() == [0, 1, 2, 3, 4]
    reader.run("verify boards --reread")
    reader.run(replay)
    assert reader.pins("boards_again") == [0, 1, 2, 3, 4]
