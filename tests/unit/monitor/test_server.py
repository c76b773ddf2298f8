"""The server of the status page: its routes, its limits, and what it must not delay."""

import gzip
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Gauge

from core.errors import ConfigError, FatalError, TransientError
from monitor.connection import MAX_CONNECTIONS, REQUEST_S
from monitor.server import Address, listen
from monitor.view import PageView
from tests.support.pages import VIEW, Site, served, site
from tests.support.processes import until


@pytest.fixture
def shown() -> Iterator[Site]:
    with site() as own:
        yield own


def test_the_page_comes_with_a_policy_that_names_its_nonce_alone(shown: Site) -> None:
    first, second = (shown.get("/") for _ in range(2))
    nonce = re.findall(r"nonce=([\w-]+)>", first.text)[0]
    assert first.headers["content-type"] == "text/html; charset=utf-8"
    assert (
        first.headers["content-security-policy"]
        == f"default-src 'none'; script-src 'nonce-{nonce}'"
    )
    assert len(nonce) >= 20
    assert second.status_code == 200


def test_a_later_page_has_another_nonce() -> None:
    with site() as one, site() as other:
        assert one.get("/").text != other.get("/").text


def test_the_main_part_comes_alone(shown: Site) -> None:
    assert shown.get("/?part=main").text == "<main>demo</main>"


def test_the_page_is_json_with_times_in_utc(shown: Site) -> None:
    response = shown.get("/page.json")
    assert response.headers["content-type"] == "application/json"
    page = response.json()
    assert page["at"] == "2026-11-27T12:00:05Z"
    assert page["pipelines"][0]["state"]["word"] == "up to date"


@pytest.mark.parametrize("path", ["/", "/page.json", "/metrics", "/live", "/ready", "/no"])
def test_every_response_keeps_a_browser_from_storing_framing_and_guessing(
    shown: Site, path: str
) -> None:
    headers = shown.get(path).headers
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["content-security-policy"].startswith("default-src 'none';")
    assert "server" not in headers
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("path", ["/no", "/page.json/", "/live/", "/search", "//", "/..%2f", "/?"])
def test_every_other_path_is_not_found(shown: Site, path: str) -> None:
    assert shown.get(path).status_code == (200 if path == "/?" else 404)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_every_other_method_is_refused(shown: Site, method: str) -> None:
    response = shown.get("/page.json", method)
    assert response.status_code == 405
    assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize("path", ["/", "/page.json", "/metrics", "/live", "/ready"])
def test_head_has_the_headers_of_get_and_no_body(shown: Site, path: str) -> None:
    head, get = shown.get(path, "HEAD"), shown.get(path)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["content-type"] == get.headers["content-type"]


def gauge() -> CollectorRegistry:
    registry = CollectorRegistry()
    Gauge("pinpip_x", "What.", ["topic"], registry=registry).labels('a"\n\\b').set(1)
    return registry


def test_metrics_come_as_the_scraper_asks() -> None:
    with site(served(registry=gauge())) as own:
        plain = own.get("/metrics")
        assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert 'pinpip_x{topic="a\\"\\n\\\\b"} 1.0' in plain.text
        openmetrics = own.get("/metrics", accept="application/openmetrics-text;version=1.0.0")
        assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
        assert openmetrics.text.endswith("# EOF\n")


def test_metrics_are_compressed_only_if_asked() -> None:
    with site(served(registry=gauge())) as own, own.connect() as connection:
        connection.sendall(
            b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n"
            b"Connection: close\r\n\r\n"
        )
        head, _, body = b"".join(iter(lambda: connection.recv(4096), b"")).partition(b"\r\n\r\n")
        assert b"content-encoding: gzip" in head
        assert b"pinpip_x" in gzip.decompress(body)
        assert "content-encoding" not in own.get("/metrics", accept_encoding="identity").headers


def test_health_is_told_with_its_reason() -> None:
    with site(served(ready=lambda: "no partition is assigned")) as own:
        live, ready = own.get("/live"), own.get("/ready")
    assert (live.status_code, live.json()) == (200, {"status": "live", "reason": ""})
    assert ready.status_code == 503
    assert ready.json() == {"status": "unready", "reason": "no partition is assigned"}


def search(query: Mapping[str, str]) -> Any:
    if "pipeline" not in query:
        raise ConfigError("the query names no pipeline", "add ?pipeline=pin")
    if query["pipeline"] == "away":
        raise TransientError("S3 does not answer")
    return {"found": dict(query)}


def test_a_search_returns_json_and_says_what_a_query_lacks() -> None:
    with site(served(search=search)) as own:
        found = own.get("/search?pipeline=pin&offset=7")
        assert found.json() == {"found": {"pipeline": "pin", "offset": "7"}}
        lacking = own.get("/search")
        assert lacking.status_code == 400
        assert lacking.json()["reason"] == "the query names no pipeline"
        assert lacking.json()["next"] == "add ?pipeline=pin"
        assert own.get("/search?pipeline=away").status_code == 503


def test_a_slow_page_is_made_once_for_all_and_delays_no_probe() -> None:
    made, released = 0, threading.Event()

    def page() -> PageView:
        nonlocal made
        made += 1
        released.wait(20)
        return VIEW

    with site(served(page)) as own, ThreadPoolExecutor(10) as pool:
        waiting = [pool.submit(own.get, path) for path in ["/", "/page.json"] * 5]
        while not made:
            time.sleep(0.01)
        began = time.monotonic()
        assert {own.get(path).status_code for path in ("/live", "/ready", "/metrics")} == {200}
        assert time.monotonic() - began < 5
        assert not any(one.done() for one in waiting)
        released.set()
        assert {one.result().status_code for one in waiting} == {200}
    assert made == 1


def test_a_page_that_fails_tells_it_and_the_next_one_is_made() -> None:
    errors: list[Exception] = [
        TransientError("S3 does not answer", "look at the network"),
        ValueError("secret record"),
    ]

    def page() -> PageView:
        if errors:
            raise errors.pop(0)
        return VIEW

    with site(served(page)) as own:
        first = own.get("/page.json")
        time.sleep(0.6)
        second = own.get("/page.json")
        time.sleep(0.6)
        assert own.get("/page.json").status_code == 200
    assert first.status_code == 503
    assert first.json()["next"] == "look at the network"
    assert second.status_code == 500
    assert "secret" not in second.text


def test_a_request_with_a_body_is_refused_unread(shown: Site) -> None:
    with shown.connect() as connection:
        connection.sendall(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\n"
        )
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /" + b"a" * 400_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 100_000,
    ],
)
def test_what_is_no_request_is_refused_and_harms_nobody(shown: Site, sent: bytes) -> None:
    with shown.connect() as connection:
        with suppress(ConnectionResetError, BrokenPipeError):
            connection.sendall(sent)
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert shown.get("/live").status_code == 200


@pytest.mark.slow
def test_half_open_connections_neither_exhaust_files_nor_lock_out_a_probe(shown: Site) -> None:
    shown.get("/live")  # the server's own files are open then
    before = _files()
    with ExitStack() as stack:
        half_open = [stack.enter_context(shown.connect()) for _ in range(200)]
        for connection in half_open:
            with suppress(ConnectionResetError, BrokenPipeError):
                connection.sendall(b"GET / HTTP/1.1\r\nHost: loc")
        assert shown.get("/live").status_code == 200
        until(lambda: _open(before, half_open) <= MAX_CONNECTIONS + 1, "the oldest to be replaced")
        deadline = time.monotonic() + 4 * REQUEST_S
        while _open(before, half_open) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert _open(before, half_open) == 0


def _open(before: int, clients: list[socket.socket]) -> int:
    """Return how many connections the server holds; this process has those of the clients too."""
    return max(0, _files() - before - len(clients))


def _files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.slow
def test_a_connection_that_sends_its_second_request_slowly_is_closed(shown: Site) -> None:
    with shown.connect() as connection:
        connection.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
        began, closed = time.monotonic(), False
        while not closed and time.monotonic() - began < 6 * REQUEST_S:
            try:
                connection.sendall(b"G" if time.monotonic() - began < 1 else b"")
                connection.settimeout(0.2)
                closed = connection.recv(10) == b""
            except TimeoutError:
                continue
            except OSError:
                closed = True
    assert closed


# --- Where it listens


def refusal(address: Address, *, keyed: bool = False) -> FatalError:
    with pytest.raises(FatalError) as caught:
        listen(address, keyed=keyed)
    return caught.value


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refusal(Address(port=port))
    assert f"cannot be served on 127.0.0.1:{port}: Address already in use" in said.message
    assert "--metrics-port" in said.hint


def test_a_host_that_is_not_this_machines_is_named() -> None:
    said = refusal(Address("192.0.2.1", is_open=True))
    assert "Cannot assign requested address" in said.message
    assert "--metrics-host" in said.hint


@pytest.mark.parametrize("host", ["no.such.host.invalid", "a" * 300, "b..a", ""])
def test_a_host_without_an_address_is_named(host: str) -> None:
    said = refusal(Address(host, is_open=True))
    assert f"{host!r} cannot be resolved" in said.message


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104
def test_other_machines_are_served_only_with_keys_or_when_told(host: str) -> None:
    said = refusal(Address(host))
    assert "reachable from other machines" in said.message
    assert "--allow-remote" in said.hint
    assert "monitor.api_keys" in said.hint
    told = Address(host, is_open=True)
    for listener in [*listen(Address(host), keyed=True), *listen(told, keyed=False)]:
        listener.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_loopback_is_served_without_keys(host: str) -> None:
    with site(address=Address(host)) as own:
        assert own.get("/live").status_code == 200


def test_a_port_without_the_right_to_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> socket.socket:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket, "create_server", denied)  # the tests may run as root
    said = refusal(Address(port=80))
    assert "Permission denied" in said.message
    assert "1024" in said.hint


# --- It does not outlive the loops

HANGING = """
import threading, time
from tests.support.pages import served, site
with site(served(lambda: time.sleep(1000))) as own:
    thread = threading.Thread(target=own.get, args=("/",), daemon=True)
    thread.start()
    assert own.get("/live").status_code == 200
    print("ends", flush=True)
"""


@pytest.mark.process
def test_a_page_that_hangs_keeps_no_process_alive() -> None:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", HANGING], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ends\n", "")
    assert time.monotonic() - began < 30


def test_the_server_ends_with_its_block() -> None:
    with site() as own:
        assert own.get("/live").status_code == 200
    with pytest.raises(ConnectionRefusedError):
        own.connect()
    assert not [t for t in threading.enumerate() if t.name == "monitor"]


def test_json_has_null_for_what_is_no_number() -> None:
    pipeline = replace(VIEW.pipelines[0], rate=float("nan"), lag_seconds=float("inf"))
    with site(served(lambda: replace(VIEW, pipelines=(pipeline,)))) as own:
        shown = json.loads(own.get("/page.json").text, parse_constant=pytest.fail)
    assert shown["pipelines"][0]["rate"] is None
