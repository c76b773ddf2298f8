"""A consumer's port as its user meets it: page, metrics, health, refusals; what systemd hears."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.web import hashed
from tests.support.brokers import Broker
from tests.support.commands import change
from tests.support.gateway_process import free_port, gateway_process
from tests.support.pages import Site
from tests.support.processes import Home, kafka_home, payloads, stop, until
from tests.support.systemd import Listener, listening

pytestmark = pytest.mark.process
RECORDS = 100


@pytest.fixture
def home(tmp_path: Path, mock_broker: Broker) -> Home:
    topic = mock_broker.create_topic()
    mock_broker.produce(topic, payloads(RECORDS))
    return kafka_home(tmp_path, mock_broker, topic)


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    path = tmp_path / "notify"
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    with listening(path) as own:
        yield own


def is_up(site: Site) -> bool:
    try:
        return site.get("/live").ok
    except OSError:
        return False


def test_a_consumer_shows_what_it_committed(home: Home) -> None:
    port = free_port()
    site = Site(f"http://127.0.0.1:{port}")
    with home.running("consume", "--metrics-port", str(port)) as consumer:
        until(lambda: home.rows() == RECORDS, "the rows")
        until(lambda: is_up(site) and site.get("/ready").ok, "readiness")
        [pipeline] = site.get("/page.json").json()["pipelines"]
        assert (pipeline["clean"], pipeline["quarantined"]) == (RECORDS - 2, 2)
        assert '<main id="main"' in site.get("/").text
        assert site.get("/?part=main").text.lstrip().startswith("<main")
        clean = 'pinpip_records_total{outcome="clean",pipeline="user"} 98.0'
        assert clean in site.get("/metrics").text
        assert site.get("/config.yaml").status_code == 404
        assert stop(consumer) == 0


def test_a_table_that_vanishes_under_an_open_page_is_told(home: Home) -> None:
    port = free_port()
    site = Site(f"http://127.0.0.1:{port}")

    def unknown() -> dict[str, str]:
        [pipeline] = site.get("/page.json").json()["pipelines"]
        return dict(pipeline["unknown"])

    with home.running("consume", "--metrics-port", str(port)):
        until(lambda: home.rows() == RECORDS, "the rows")
        until(lambda: bool(site.get("/page.json").json()["pipelines"][0]["commits"]), "commits")
        shutil.rmtree(home.uri("user"))
        until(lambda: "table" in unknown(), "the page to tell")
        assert "is gone: it was there before" in unknown()["table"]
        assert "is gone: it was there before" in site.get("/").text


def test_other_machines_need_a_key(home: Home) -> None:
    port = free_port()
    options = ("--metrics-port", str(port), "--metrics-host", "0.0.0.0")  # noqa: S104
    refused = home.run("consume", *options)
    assert refused.returncode == 1
    error, hint = refused.stderr.strip().splitlines()[-2:]
    assert error.startswith("error: --metrics-host 0.0.0.0 is reachable from other machines")
    assert hint.startswith("next:  set monitor.api_keys")
    assert home.rows() == 0
    change(home, "monitor", {"api_keys": {"me": hashed(b"k")}})
    site = Site(f"http://127.0.0.1:{port}")
    with home.running("consume", *options) as consumer:
        until(lambda: is_up(site), "the server")
        assert site.get("/page.json").status_code == 401
        assert site.get("/page.json", x_api_key="k").status_code == 200
        until(lambda: home.rows() == RECORDS, "the rows")
        assert stop(consumer) == 0


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--metrics-port", "70000"], 2, "less than or equal to 65535"),
        (["--metrics-host", "::1"], 2, "need --metrics-port"),
        (["--allow-remote"], 2, "need --metrics-port"),
        (["--metrics-port", "0", "--metrics-host", "no.such.invalid"], 1, "cannot be resolved"),
        (
            ["--metrics-port", "0", "--metrics-host", "192.0.2.7", "--allow-remote"],
            1,
            "cannot be served on 192.0.2.7:0: Cannot assign requested address",
        ),
    ],
)
def test_an_address_that_cannot_be_listened_on_ends_it_before_anything_is_consumed(
    home: Home, options: list[str], code: int, said: str
) -> None:
    done = home.run("consume", *options)
    assert done.returncode == code
    assert said in " ".join(done.stderr.split())
    assert home.rows() == 0


def test_systemd_hears_that_a_consumer_is_ready_lives_and_stops(
    home: Home, manager: Listener
) -> None:
    with home.running("consume") as consumer:
        assert manager.until("WATCHDOG")["WATCHDOG"] == "1"
        assert manager.until("READY")["READY"] == "1"
        until(lambda: home.rows() == RECORDS, "the rows")
        while manager.until("STATUS")["STATUS"] != "user: up to date":
            pass
        assert stop(consumer) == 0
    assert manager.until("STOPPING")["STOPPING"] == "1"


def test_systemd_hears_that_a_gateway_listens(home: Home, manager: Listener) -> None:
    with gateway_process(home) as gateway:
        assert manager.until("READY")["STATUS"] == f"listening on {gateway.url}/test"
