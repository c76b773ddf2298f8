"""`pinpip gateway`: the HTTP front."""

import logging
import sys
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
    from gateway.server import serve
    from pinpip.runtime import tuned_interpreter

    settings = settings_of(context)
    own = (config := settings.config()).gateway
    _log_lines(logging.INFO if access_log else logging.WARNING)
    ready = f"listening on {own.url}/{own.stage}"
    with tuned_interpreter(), minding_hangup():
        serve(config, lambda: typer.echo(ready, err=True))


def _log_lines(level: int) -> None:
    """Write logs for programs: JSON, one line each, flushed so that a kill does not lose them."""
    import structlog

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=_encoded),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.BytesLoggerFactory(sys.stdout.buffer),
        cache_logger_on_first_use=True,
    )


def _encoded(line: object, **_more: object) -> bytes:
    import msgspec

    return msgspec.json.encode(line, enc_hook=str)
