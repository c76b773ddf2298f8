"""`pinpip gateway`: the HTTP front."""

import typer

from pinpip.cli.shared import settings_of


def gateway(context: typer.Context) -> None:
    """Serve both routes until SIGTERM or Ctrl-C.

    Example: pinpip gateway
    """
    from gateway.server import serve

    config = settings_of(context).config()
    own = config.gateway
    serve(config, lambda: typer.echo(f"listening on http://{own.host}:{own.port}/{own.stage}"))
