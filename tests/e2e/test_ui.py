"""`pinpip ui` as a process: its numbers against the tables and the broker."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import requests
from deltalake import DeltaTable

from pinpip.local.java import free_port
from tests.support.aws import TestAws
from tests.support.brokers import Broker, frozen, own_kafka
from tests.support.commands import change, the_error
from tests.support.processes import (
    Home,
    count,
    kafka_home,
    kinesis_home,
    payloads,
    put,
    stop,
    until,
)

pytestmark = pytest.mark.process
RECORDS = 500
AT_ONCE = 1.0  # seconds in which the page responds, whatever hangs


class Page:
    """The page of one process, asked as a browser and a program ask."""

    def __init__(self, home: Home, port: int) -> None:
        self.home = home
        self.url = f"http://127.0.0.1:{port}"

    def pipeline(self) -> dict[str, Any]:
        """Return the only pipeline of /page.json."""
        response = requests.get(f"{self.url}/page.json", timeout=30)
        [own] = response.json()["pipelines"]
        return dict(own)

    def until(self, word: str) -> dict[str, Any]:
        """Return the pipeline once its state has that word."""
        until(lambda: self.pipeline()["state"]["word"] == word, word)
        return self.pipeline()

    def search(self, **query: str | int) -> requests.Response:
        """Search for a record."""
        return requests.get(f"{self.url}/search", params=query, timeout=30)


@contextmanager
def showing(home: Home) -> Iterator[Page]:
    """Serve the page of a home while the block runs; SIGTERM ends it with code 0."""
    port = free_port()
    with home.running("ui", "--port", str(port), log="ui.log") as process:
        page = Page(home, port)
        until(lambda: is_served(page.url), "the page")
        yield page
        assert stop(process) == 0


def is_served(url: str) -> bool:
    try:
        return requests.get(f"{url}/live", timeout=5).ok
    except requests.ConnectionError:
        return False


@contextmanager
def consuming(home: Home, total: int) -> Iterator[None]:
    """Consume until that many records are in the tables, and while the block runs."""
    with home.running("consume") as process:
        until(lambda: home.rows() == total, f"{total} rows")
        yield
        assert stop(process) == 0


@pytest.fixture
def home(tmp_path: Path, broker: Broker) -> Home:
    return kafka_home(tmp_path, broker, broker.create_topic(partitions=3))


def topic(home: Home) -> str:
    return home.config.pipeline("user").reads[0]


def test_every_number_is_that_of_the_tables_and_the_broker(home: Home, broker: Broker) -> None:
    broker.produce(topic(home), payloads(RECORDS))
    with showing(home) as page:
        waiting = page.until("behind")
        assert (waiting["lag"], waiting["clean"], waiting["commits"]) == (RECORDS, 0, [])
        with consuming(home, RECORDS):
            check_consumed(page, page.until("up to date"))
        broker.produce(topic(home), payloads(30, RECORDS))
        stopped = page.until("nobody is consuming")
        assert stopped["lag"] == 30
        assert "pinpip consume user" in stopped["state"]["next"]
        assert stopped["state"]["since"] is not None


def check_consumed(page: Page, own: dict[str, Any]) -> None:
    home = page.home
    clean, rejected = home.table(), home.table("user_quarantine")
    until(lambda: len(page.pipeline()["commits"]) > 0, "the commits")
    until(lambda: page.pipeline()["reasons"] != [], "the reasons")
    own = page.pipeline()
    assert (own["clean"], own["quarantined"], own["lag"]) == (clean.height, rejected.height, 0)
    both = pl.concat([f.select("_partition", "_offset") for f in (clean, rejected)])
    ends = both.group_by("_partition").agg(pl.col("_offset").max() + 1).rows()
    told = {int(p["id"]): (int(p["position"]), int(p["end"])) for p in own["partitions"]}
    assert told == {partition: (end, end) for partition, end in ends}
    assert [(r["reason"], r["rows"]) for r in own["reasons"]] == [("not_json", rejected.height)]
    assert sum(c["read"] for c in own["commits"]) == clean.height + rejected.height
    assert own["commits"][0]["version"] <= DeltaTable(home.uri("user")).version()
    files = {f["table"]: (f["files"], f["bytes"]) for f in own["files"]}
    for name, table in (("clean", "user"), ("quarantine", "user_quarantine")):
        paths = [Path(home.uri(table), p) for p in DeltaTable(home.uri(table)).file_uris()]
        assert files[name] == (len(paths), sum(p.stat().st_size for p in paths))
    check_search(page, clean.row(7, named=True), rejected.row(0, named=True))


def check_search(page: Page, row: dict[str, Any], bad: dict[str, Any]) -> None:
    """Find a clean and a rejected record; what names none is refused with a hint."""
    where = f"{row['_topic']}/{row['_partition']}"
    found = page.search(pipeline="user", partition=where, offset=row["_offset"]).json()
    assert found["outcome"] == "clean"
    assert found["places"][0]["row"]["ind"] == row["ind"]
    assert Path(found["places"][0]["file"]).is_file()
    assert found["version"] is not None
    number = str(bad["_partition"])
    lost = page.search(pipeline="user", partition=number, offset=bad["_offset"]).json()
    assert lost["outcome"] == "quarantined"
    assert lost["places"][0]["row"]["reason"] == "not_json"
    unread = page.search(pipeline="user", partition=where, offset=10**9).json()
    assert "not read yet" in unread["outcome"]
    refusals: list[dict[str, str | int]] = [
        {},
        {"pipeline": "usr", "partition": where, "offset": 1},
        {"pipeline": "user", "partition": where, "offset": "one"},
        {"pipeline": "user", "partition": "99", "offset": 1},
        {"pipeline": "user", "partition": where, "offset": "9" * 400},
        {"pipeline": "user", "partition": where, "offset": 2**63},
        {"pipeline": "user", "partition": f"{where}0000000000", "offset": 1},
    ]
    for query in refusals:
        refused = page.search(**query)
        assert refused.status_code in {400, 404}
        assert refused.json()["reason"]
        assert refused.json()["next"]


def test_a_table_that_vanishes_and_comes_back_is_told(home: Home, broker: Broker) -> None:
    broker.produce(topic(home), payloads(RECORDS))
    with consuming(home, RECORDS):
        pass
    with showing(home) as page:
        assert page.until("up to date")["clean"] == count(home.uri("user"))
        until(lambda: page.pipeline()["commits"] != [], "the commits")
        for name in ("user", "user_quarantine"):
            shutil.rmtree(home.uri(name))
        gone = page.until("table is gone")
        assert gone["state"]["level"] == "bad"
        with consuming(home, RECORDS):
            page.until("up to date")
            until(lambda: "was replaced" in str(page.pipeline()["unknown"]), "the replacement")


def test_a_dead_broker_is_unknown_and_the_page_responds_at_once(home: Home, broker: Broker) -> None:
    broker.produce(topic(home), payloads(RECORDS))
    with consuming(home, RECORDS):
        pass
    change(home, "kafka/bootstrap.servers", f"127.0.0.1:{free_port()}")
    with showing(home) as page:
        began = time.monotonic()
        assert requests.get(page.url, timeout=30).ok
        assert time.monotonic() - began < AT_ONCE
        own = page.until("source not readable")
        until(lambda: page.pipeline()["commits"] != [], "the commits")
        assert (own["state"]["level"], own["lag"]) == ("unknown", None)
        assert own["state"]["next"]
        assert page.pipeline()["clean"] == count(home.uri("user"))


def test_a_frozen_broker_is_told_soon_and_the_page_responds_at_once(tmp_path: Path) -> None:
    with own_kafka(tmp_path / "kafka") as kafka:
        own = Broker(kafka.bootstrap, "own", real=True)
        home = kafka_home(tmp_path / "home", own, own.create_topic(partitions=1))
        own.produce(topic(home), payloads(RECORDS))
        with consuming(home, RECORDS):
            pass
        with showing(home) as page:
            page.until("up to date")
            with frozen(kafka):
                page.until("source not readable")
                began = time.monotonic()
                assert page.pipeline()["lag"] is None
                assert time.monotonic() - began < AT_ONCE
            page.until("up to date")


def test_a_stream_is_up_to_date_or_waits(tmp_path: Path, aws: TestAws) -> None:
    stream = aws.stream(2)
    home = kinesis_home(tmp_path, aws, stream)
    put(aws, stream, payloads(RECORDS))
    with consuming(home, RECORDS):
        pass
    with showing(home) as page:
        own = page.until("up to date")
        assert own["queryable_until"] is not None
        assert {p["id"] for p in own["partitions"]} >= {f"shardId-{n:012d}" for n in range(2)}


def test_a_taken_port_and_an_open_address_are_refused(home: Home) -> None:
    with showing(home) as page:
        port = page.url.rpartition(":")[2]
        assert "cannot be served" in the_error(home.run("ui", "--port", port))
    refused = home.run("ui", "--host", "0.0.0.0", "--port", "0")  # noqa: S104
    assert "reachable from other machines" in the_error(refused)
