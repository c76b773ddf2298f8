"""Debian's Chromium for tests and screenshots, and a server of status pages as data."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Browser, Page, sync_playwright

from monitor.page import POLICY, render, render_main
from monitor.view import PageView

CHROMIUM = Path("/usr/bin/chromium")
NONCE = "bm9uY2U"
Scheme = Literal["light", "dark"]
WIDTHS = {1280: 900, 390: 844}


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Chromium without a window."""
    with sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--font-render-hinting=none"]
        )
        try:
            yield browser
        finally:
            browser.close()


def opened(browser: Browser, url: str, width: int, scheme: Scheme, *, script: bool = True) -> Page:
    """Open a page in a window of that width, 1280 or 390 px."""
    size = {"width": width, "height": WIDTHS[width]}
    page = browser.new_page(
        viewport={"width": size["width"], "height": size["height"]},
        color_scheme=scheme,
        reduced_motion="reduce",
        java_script_enabled=script,
        timezone_id="Europe/Berlin",
        locale="en-US",
    )
    page.goto(url)
    return page


class Served:
    """A server of a status page. `view` may be replaced; `silent`: it accepts and never answers."""

    def __init__(self, view: PageView) -> None:
        self.view = view
        self.status = 200
        self.asked: list[str] = []
        self.found = "{}"
        self.answering = threading.Event()
        self.answering.set()
        self.url = ""

    def response(self, target: str) -> tuple[str, str]:
        """Return content type and body."""
        parts = urlsplit(target)
        self.asked.append(target)
        self.answering.wait()
        if parts.path == "/search":
            return "application/json", self.found
        if parse_qs(parts.query).get("part") == ["main"]:
            return "text/html; charset=utf-8", render_main(self.view)
        return "text/html; charset=utf-8", render(self.view, NONCE)


@contextmanager
def serving(view: PageView) -> Iterator[Served]:
    """Serve the page on 127.0.0.1, under its own policy."""
    served = Served(view)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(served))
    served.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield served
    finally:
        served.answering.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(served: Served) -> Callable[..., BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the name that http.server calls
            kind, body = served.response(self.path)
            self.send_response(served.status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Security-Policy", POLICY.format(nonce=NONCE))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    return Handler


def violations(page: Page) -> list[str]:
    """Return what axe-core finds, as "rule: target (why)"."""
    page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8"))
    found = page.evaluate("axe.run({resultTypes: ['violations']})")
    return [
        f"{rule['id']}: {node['target']} {node.get('failureSummary', '')}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]
