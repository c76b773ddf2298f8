"""A server of a page for tests, and calls on it that show every byte."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import requests
from prometheus_client import CollectorRegistry

from core.clock import SystemClock
from monitor.app import Rendering, Served
from monitor.guard import Access
from monitor.server import Address, serving
from monitor.view import PageView, PipelineView, State

AT = datetime(2026, 11, 27, 12, 0, 5, tzinfo=UTC)
VIEW = PageView(
    "demo",
    "consumer",
    "1.0",
    AT,
    AT,
    (PipelineView("pin", "topic demo.pin", "/lake/pin", State("ok", "up to date")),),
)
POLICY = "default-src 'none'; script-src 'nonce-{nonce}'"
RENDERING = Rendering(
    lambda view, nonce: f"<html><script nonce={nonce}></script>{view.id}</html>",
    lambda view: f"<main>{view.id}</main>",
    POLICY,
)


def served(page: Callable[[], PageView] = lambda: VIEW, **more: object) -> Served:
    """Return what shows `page`, with `more` of its attributes set."""
    return replace(Served(page, RENDERING, CollectorRegistry()), **more)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Site:
    """A served page."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, method: str = "GET", **headers: str) -> requests.Response:
        """Send one request; `_` in the names of headers is `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.request(method, self.url + path, headers=self.headers | named, timeout=20)

    def connect(self) -> socket.socket:
        """Open a connection, and send nothing."""
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        return socket.create_connection((host.strip("[]"), int(port)), 20)


@contextmanager
def site(
    own: Served | None = None, access: Access | None = None, address: Address | None = None
) -> Iterator[Site]:
    """Serve on a free port of loopback while the block runs."""
    shown = served() if own is None else own
    with serving(shown, address or Address(), access or Access(), SystemClock()) as url:
        yield Site(url)
