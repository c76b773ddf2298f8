"""Every snippet of docs/producing.md is run, and its error is the one that is printed."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from pyarrow import parquet

from gateway.server import kinesis_client
from producers import emulator
from producers.rows.inputs import ENDINGS, FORMATS
from tests.support.aws import TestAws
from tests.support.brokers import Broker
from tests.support.commands import change, invoke, tree_of
from tests.support.database import fill
from tests.support.gateways import running
from tests.support.places import ROOT
from tests.support.processes import Home, environment

PAGE = (ROOT / "docs/producing.md").read_text(encoding="utf-8")
BUCKET = "my-bucket"
BOARDS = '{"board": "Oslo", "pins": 4.0}\n'
USERS = ",ind,first_name,age\n0,1.0,Ada,36\n1,2.0,,25\n"


def blocks(language: str) -> list[str]:
    """Return the page's blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    """Return the page's commands, one a line."""
    return [line for block in blocks("sh") for line in block.splitlines()]


def files(folder: Path) -> None:
    """Write the files that the page names."""
    rows = [event.rows["pin"] for event in islice(emulator.events(2), 3)]
    (folder / "rows.ndjson").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (folder / "users.csv").write_text(USERS, encoding="utf-8")
    (folder / "boards.ndjson").write_text(BOARDS, encoding="utf-8")
    (folder / "exports").mkdir()
    table = pa.table({"ind": [1.0], "country": ["Peru"]})
    parquet.write_table(table, folder / "exports/2026-01.parquet")
    fill(folder / "pins.db", 5)
    [code] = blocks("python")
    (folder / "boards.py").write_text(code, encoding="utf-8")


def cloud(aws: TestAws) -> None:
    """Create the streams, and put the objects that the page names."""
    for name in ("pin", "geo", "user"):
        aws.client("kinesis").create_stream(StreamName=f"streaming-demo-{name}", ShardCount=1)
    s3 = aws.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    geo = json.dumps({"ind": 1, "country": "Peru"})
    for key, body in {
        "exports/geo.json": geo,
        "topics/other.geo/partition=0/other.geo+0+0000000000.json": geo,
        "topics/demo.boards/partition=1/demo.boards+1+0000000007.json": BOARDS,
    }.items():
        s3.put_object(Bucket=BUCKET, Key=key, Body=body.encode())


@pytest.fixture
def home(
    tmp_path: Path, mock_broker: Broker, aws: TestAws, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Home]:
    """Yield a folder with the page's files, its pipelines in config.yaml, and a gateway."""
    monkeypatch.chdir(tmp_path)
    files(tmp_path)
    home = Home(tmp_path)
    text = (ROOT / "config.yaml").read_text(encoding="utf-8")
    home.config_path.write_text(text, encoding="utf-8")
    [own] = map(yaml.safe_load, blocks("yaml"))
    change(home, "pipelines", tree_of(home)["pipelines"] | own)
    change(home, "kafka/bootstrap.servers", mock_broker.bootstrap)
    keys = {"access_key_id": "local", "secret_access_key": "local"}
    change(home, "aws", {"region": "us-east-1", "endpoint_url": aws.endpoint, **keys})
    topics = [f"demo.{name}" for name in ("pin", "geo", "user", "boards", "logs.web")]
    streams = kinesis_client(aws.config)
    with running(mock_broker.properties, served=topics, kinesis=streams) as url:
        change(home, "producer", {"gateway_url": f"{url}/test", "retries": 0, "patience": 0})
        yield home


def follow(home: Home, line: str) -> tuple[int, str]:
    """Run one line of the page as a shell does; return its exit code and what it printed."""
    *left, last = line.split(" | ")
    words = shlex.split(last, comments=True)
    assert words.pop(0) == "pinpip"
    if not left:
        result = invoke(home, *words)
        return result.exit_code, f"{result.output}{result.exception!r}"
    command, name = shlex.split(left[0])
    assert command == "cat"
    with (home.folder / name).open("rb") as stdin:
        done = subprocess.run(
            [sys.executable, "-m", "pinpip", *words],
            stdin=stdin,
            capture_output=True,
            text=True,
            check=False,
            env=environment(),
        )
    return done.returncode, done.stdout + done.stderr


def test_every_command_of_the_page_stores_rows(home: Home, aws: TestAws) -> None:
    cloud(aws)
    done = {line: follow(home, line) for line in commands()}
    assert len(done) == 9
    for line, (code, said) in done.items():
        assert code == 0, f"{line}\n{said}"
        assert "stored" in said


def test_the_error_of_the_page_is_what_is_printed(home: Home) -> None:
    bad = USERS + "2,4.7,Bob,30\n3,5,Eve,31\n"
    (home.folder / "users.csv").write_text(bad, encoding="utf-8")
    result = invoke(home, "produce", "--route", "kafka", "--from", "users.csv")
    [shown] = blocks("text")
    first, second = str(result.exception).splitlines()
    assert shown == f"error: {first}\nnext:  {second}\n"


def test_the_page_names_every_ending() -> None:
    assert all(f"`{ending}`" in PAGE for ending in ENDINGS)
    assert f"--format {'|'.join(FORMATS)}" in PAGE
