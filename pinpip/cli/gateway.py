"""`pinpip gateway`: the HTTP front."""

import os
from typing import Annotated

import typer

from pinpip.cli.shared import settings_of
from pinpip.cli.signals import minding_hangup


def gateway(
    context: typer.Context,
    access_log: Annotated[
        bool, typer.Option(help="A line of JSON for each request, on standard output.")
    ] = True,
) -> None:
    """Serve both routes until SIGTERM or Ctrl-C.

    Example: pinpip gateway
    """
    import structlog

    from gateway.server import serve
    from monitor.systemd import Manager
    from pinpip.runtime import tuned_interpreter

    config = settings_of(context).config(daemon=True, access=access_log)
    own = config.gateway
    manager = Manager.of(os.environ)
    url = f"{own.url}/{own.stage}"
    log = structlog.get_logger("gateway")

    def ready() -> None:
        log.info("listening", url=url)
        if manager:
            manager.tell(READY="1", STATUS=f"listening on {url}")

    with tuned_interpreter(), minding_hangup():
        serve(config, ready)
    log.info("stopped")
