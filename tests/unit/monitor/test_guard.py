"""Who may read the status page: Host, Origin and keys."""

from base64 import b64encode
from collections.abc import Iterator

import pytest
import requests

from core.web import hashed
from monitor.guard import Access
from tests.support.pages import Site, served, site

KEY = "k-é"
KEYS = {"phone": hashed(b"other"), "laptop": hashed(KEY.encode())}


@pytest.fixture
def shown() -> Iterator[Site]:
    with site() as own:
        yield own


@pytest.fixture(scope="module")
def keyed() -> Iterator[Site]:
    own = served(ready=lambda: "the broker at kafka.internal:9092 does not answer")
    with site(own, Access(api_keys=KEYS)) as keyed:
        yield keyed


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]:9108", "localhost:1", "a.localhost", "10.1.2.3"]
)
def test_addresses_and_loopback_are_names_of_the_server(shown: Site, host: str) -> None:
    assert shown.get("/page.json", host=host).status_code == 200


@pytest.mark.parametrize("path", ["/", "/page.json", "/no"])
@pytest.mark.parametrize("host", ["evil.example", "evil.example:9108", "127.0.0.1.evil.example"])
def test_a_rebound_name_is_refused(shown: Site, path: str, host: str) -> None:
    refused = shown.get(path, host=host)
    assert refused.status_code == 403
    assert "monitor.hosts" in refused.json()["reason"]


@pytest.mark.parametrize("path", ["/live", "/ready", "/metrics"])
def test_probes_and_scrapers_name_the_server_as_they_like(shown: Site, path: str) -> None:
    assert shown.get(path, host="consumer.pinpip.svc:9108").status_code == 200


def test_a_configured_name_is_the_servers() -> None:
    with site(access=Access(hosts=("*.example.com",))) as own:
        assert own.get("/", host="a.example.com").status_code == 200
        assert own.get("/", host="example.org").status_code == 403


@pytest.mark.parametrize("path", ["/", "/page.json", "/metrics", "/ready"])
def test_pages_of_other_origins_are_refused(shown: Site, path: str) -> None:
    own = shown.url.removeprefix("http://")
    assert shown.get(path, origin="https://evil.example").status_code == 403
    assert shown.get(path, origin="null").status_code == 403
    assert shown.get(path, origin=f"http://{own}").status_code == 200


def basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": KEY.encode()},
        {"authorization": b"Bearer " + KEY.encode()},
        {"authorization": b"bearer " + KEY.encode()},
        {"authorization": basic("anybody", KEY)},
        {"authorization": basic("", KEY)},
    ],
)
def test_a_key_lets_in(keyed: Site, headers: dict[str, str]) -> None:
    for path in ("/", "/page.json", "/metrics"):
        assert requests.get(keyed.url + path, headers=headers, timeout=20).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": ""},
        {"x-api-key": "k"},
        {"x-api-key": KEYS["phone"]},
        {"authorization": "Bearer"},
        {"authorization": "Basic !!!"},
        {"authorization": "Basic " + b64encode(KEY.encode()).decode()},
        {"authorization": basic(KEY, "")},
    ],
)
@pytest.mark.parametrize("path", ["/", "/page.json", "/metrics", "/no"])
def test_a_stranger_is_not_let_in(keyed: Site, path: str, headers: dict[str, str]) -> None:
    refused = keyed.get(path, **headers)
    assert refused.status_code == 401
    assert "demo" not in refused.text


def test_a_browser_is_told_to_ask_and_a_program_is_not(keyed: Site) -> None:
    browser = keyed.get("/", accept="text/html,application/xhtml+xml")
    assert browser.headers["www-authenticate"].startswith("Basic ")
    assert keyed.get("/page.json").headers["www-authenticate"].startswith("Bearer ")


def test_a_probe_needs_no_key_and_is_told_no_reason(keyed: Site) -> None:
    assert keyed.get("/live").json() == {"status": "live"}
    stranger = keyed.get("/ready")
    assert (stranger.status_code, stranger.json()) == (503, {"status": "unready"})
    assert "kafka.internal" in keyed.get("/ready", x_api_key="other").json()["reason"]


def test_with_keys_and_without_hosts_every_name_is_the_servers(keyed: Site) -> None:
    assert keyed.get("/", host="a.example", x_api_key="other").status_code == 200
