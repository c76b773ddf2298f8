"""`pinpip ui`: the status page of all pipelines, with consumers or without."""

from threading import Event
from typing import Annotated

import typer

from pinpip.cli.shared import awaited, settings_of, stopping_on_signals


def ui(
    context: typer.Context,
    host: Annotated[
        str, typer.Option(help="The address to serve the page on; by default loopback.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Its port; 0: a free one.")] = 8090,
    allow_remote: Annotated[
        bool,
        typer.Option(
            "--allow-remote", help="Serve other machines without a key (monitor.api_keys), too."
        ),
    ] = False,
) -> None:
    """Serve the status page of all pipelines until SIGTERM or Ctrl-C; it changes nothing.

    It reads the tables and asks the sources; consumers need not run, and need not be asked.
    The search finds which commit and which file hold a record, as `pinpip inspect` does.
    Example: pinpip ui
    """
    from core.clock import SystemClock
    from monitor.server import Address
    from pinpip.monitoring import serving
    from pinpip.ui.page import UiPage
    from pinpip.ui.served import served

    config, clock = settings_of(context).config(daemon=True), SystemClock()
    page, stop = UiPage(config, clock), Event()
    address = Address(host, port, allow_remote, ("--host", "--port", "--allow-remote"))
    with page.started(), serving(config, served(config, page), address, clock) as url:
        typer.echo(f"the status page is at {url} (Ctrl-C ends it)")
        with stopping_on_signals(stop.set):
            awaited(stop.wait)
