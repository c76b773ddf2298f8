"""The commands of docs/operations.md, each in its situation, in the order of the page."""

import json
import os
import re
import shlex
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from typer.testing import CliRunner

from pinpip.cli import app, status
from tests.support.brokers import Broker
from tests.support.commands import change
from tests.support.places import ROOT
from tests.support.processes import Home

PAGE = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
OAK = b'{"id": 1, "title": "Oak"}'
BROKEN = b'{"id": 1'


def commands(title: str) -> list[str]:
    """Return the commands of one section."""
    section = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


class Operator:
    """Somebody who runs a pipeline made by `pinpip config init`, and follows the page."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        self.home, self._broker = Home(folder), broker
        self.topic = broker.create_topic(1)
        self.run("pinpip config init --pipeline boards")
        change(self.home, "kafka", {"bootstrap.servers": broker.bootstrap})
        change(self.home, "lake/root", str(folder / "lake"))
        change(self.home, "pipelines/boards/source", {"topics": [self.topic]})

    def send(self, *values: bytes) -> None:
        """Produce the payloads, and let the pipeline consume them."""
        self._broker.produce(self.topic, list(values))
        self.run("pinpip consume boards --until-end")

    def expire(self, before: int) -> None:
        """Let retention take the records before an offset."""
        where = TopicPartition(self.topic, 0, before)
        admin = AdminClient(self._broker.properties)
        admin.delete_records([where])[where].result(30)

    def run(self, command: str) -> str:
        """Run `pinpip …` to its end, as the page has it."""
        program, *words = shlex.split(command, comments=True)
        assert program == "pinpip"
        done = self.home.run(*words)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture
def operator(tmp_path: Path, broker: Broker) -> Operator:
    """Return somebody whose topic has a good record, and then a bad one."""
    made = Operator(tmp_path, broker)
    made.send(OAK, BROKEN)
    return made


def test_too_many_small_files(operator: Operator) -> None:
    for number in range(4):
        operator.send(b'{"id": %d, "title": "Oak"}' % number)
    plan, merge, verify = commands("Too many small files")
    assert operator.run(plan).startswith("5 files would be merged")
    assert operator.run(merge).startswith("5 files merged")
    assert operator.run(plan).startswith("0 files would be merged")
    operator.run(verify)


def test_status_counts_the_small_files_and_says_what_to_do(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        operator.send(b'{"id": %d, "title": "Oak"}' % number)
    monkeypatch.setattr(status, "_MANY", 5)
    config = ["-c", str(operator.home.config_path)]
    told = CliRunner().invoke(app, [*config, "status"]).stdout
    assert "boards: 5 small files make queries slow; next: pinpip maintain boards" in told
    operator.run("pinpip maintain boards")
    [tree] = json.loads(operator.run("pinpip status boards --json"))
    assert tree["small_files"] == 0
    assert "small files" not in CliRunner().invoke(app, [*config, "status"]).stdout


def test_records_were_rejected(operator: Operator) -> None:
    by_reason, newest, show, export = commands("Records were rejected")
    assert re.search(r"not_json +1 ", operator.run(by_reason))
    assert BROKEN.decode() in operator.run(newest)
    assert "today: reason" in operator.run(show)
    assert operator.run(export).startswith("1 records in bad.ndjson")
    [row] = map(json.loads, (operator.home.folder / "bad.ndjson").read_text().splitlines())
    assert (row["reason"], row["_offset"], row["value"]) == ("not_json", 1, BROKEN.decode())


def test_bad_records_became_good(tmp_path: Path, broker: Broker) -> None:
    operator = Operator(tmp_path, broker)
    code = operator.home.folder / "boards.py"
    good = code.read_text(encoding="utf-8")
    code.write_text(good.replace(".str.strip_chars()", ".cast(pl.Int64).cast(pl.String)"))
    operator.send(OAK, BROKEN)
    code.write_text(good)
    plan, requeue, verify = commands("Bad records became good")
    assert "boards: 1 of 2 records would pass" in operator.run(plan)
    assert "boards: 1 of 2 records requeued" in operator.run(requeue)
    operator.run(verify)
    assert "boards: 0 of 1 records would pass" in operator.run(plan)
    assert pl.read_delta(operator.home.uri("boards"))["title"].to_list() == ["Oak"]


def test_a_transform_had_a_bug(operator: Operator) -> None:
    plan, diff, replace, verify = commands("A transform had a bug")
    code = operator.home.folder / "boards.py"
    told = code.read_text(encoding="utf-8")
    assert "str.strip_chars()" in told
    fixed = told.replace("str.strip_chars()", "str.strip_chars().str.to_uppercase()")
    code.write_text(fixed, encoding="utf-8")
    assert "0..2" in operator.run(plan)
    assert "would be replaced" in operator.run(diff)
    assert operator.home.table("boards")["title"].to_list() == ["Oak"]
    assert "title 1" in operator.run(replace)
    assert operator.home.table("boards")["title"].to_list() == ["OAK"]
    operator.run(verify)


def test_a_topic_expired(operator: Operator) -> None:
    sinks = [{"delta": "boards"}, {"parquet": str(operator.home.folder / "raw"), "stage": "raw"}]
    change(operator.home, "pipelines/boards/sinks", sinks)
    operator.send(OAK)  # the archive is filled from the beginning
    operator.expire(3)
    operator.send(b'{"id": 2, "title": "Elm"}')
    archive, topic, verify = commands("A topic expired")
    operator.run(archive)
    operator.run(topic)
    rebuilt = operator.home.table("boards_rebuilt").sort("_offset")
    assert rebuilt["title"].to_list() == ["Oak", "Oak", "Elm"]
    operator.run(verify)


def test_a_column_appeared(operator: Operator) -> None:
    operator.send(b'{"id": 2, "title": "Elm", "pins": 7}')
    drift, check, consume, rescue, verify = commands("A column appeared")
    assert re.search(r"pins +- +1 ", operator.run(drift))
    code = operator.home.folder / "boards.py"
    told = code.read_text(encoding="utf-8")
    told = told.replace('"title": pl.String(),', '"title": pl.String(), "pins": pl.Int64(),')
    code.write_text(told.replace('        "score",\n', '        "score",\n        "pins",\n'))
    assert "pins (long)" in operator.run(check)
    operator.send(b'{"id": 3, "title": "Fir", "pins": 9}')
    operator.run(consume)
    operator.run(rescue)
    operator.run(verify)
    assert operator.home.table("boards").sort("_offset")["pins"].to_list() == [None, 7, 9]


def test_an_archive_grows_for_ever(operator: Operator) -> None:
    archive = {"parquet": str(operator.home.folder / "raw"), "keep": "400d"}
    change(operator.home, "pipelines/boards/sinks", [{"delta": "boards"}, archive])
    operator.send(OAK)
    [old] = (operator.home.folder / "raw").rglob("*.parquet")
    operator.send(OAK)
    then = old.stat().st_mtime - 500 * 86_400
    os.utime(old, (then, then))
    plan, shorten, verify = commands("An archive grows for ever")
    assert f"without these objects {operator.topic}/0 begins at 3" in operator.run(plan)
    assert old.exists()
    assert f"{operator.topic}/0 begins at 3" in operator.run(shorten)
    assert not old.exists()
    said = " ".join(operator.run(verify).split())
    assert f"the archive of boards no longer has: {operator.topic}/0 before 3 (not known)" in said
