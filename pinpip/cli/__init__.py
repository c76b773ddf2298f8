"""The command line: the one place that composes the rooms.

Exit codes: 0 done, 1 failed, 2 usage, 3 verify found a difference, 4 it found none but cannot know
all.
"""

import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from core import __version__
from core.network import spare_loopback
from pinpip.cli import (
    chaos,
    config,
    consume,
    demo,
    gateway,
    inspect,
    latest,
    local,
    maintain,
    produce,
    quarantine,
    replay,
    report,
    requeue,
    rescue,
    status,
    table,
    ui,
    verify,
)
from pinpip.cli.options import DEFAULT, everywhere
from pinpip.cli.output import tolerate
from pinpip.cli.shared import FAILED, Settings, complain, explained
from pinpip.cli.signals import end, leave_on_interrupt

app = typer.Typer(
    help="Records from Kafka and Kinesis into clean Delta tables, each exactly once.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pinpip {__version__}")
        raise typer.Exit


@app.callback()
def _settings(
    context: typer.Context,
    path: Annotated[
        Path, typer.Option("--config", "-c", envvar="PINPIP_CONFIG", help="The configuration.")
    ] = DEFAULT,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and debug logs.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    del version
    spare_loopback()
    context.obj = Settings(path, debug)


for command in (
    demo.demo,
    produce.produce,
    gateway.gateway,
    consume.consume,
    replay.replay,
    rescue.rescue,
    maintain.maintain,
    latest.latest,
    verify.verify,
    inspect.inspect,
    report.report,
    table.table,
    ui.ui,
    status.status,
    chaos.chaos,
):
    app.command()(command)
quarantine.commands.command()(requeue.requeue)
for group, name in (
    (local.commands, "local"),
    (quarantine.commands, "quarantine"),
    (config.commands, "config"),
):
    app.add_typer(group, name=name)
everywhere(app)


def main() -> None:
    """Run the command line, and end the process with its exit code."""
    end(run())


def run() -> str | int | None:
    """Run the command line and return its exit code: the interpreter may be the caller's.

    Any exception but Ctrl-C's becomes one `error:` line, a hint and exit code 1.
    """
    leave_on_interrupt()
    tolerate(sys.stdout, sys.stderr)
    try:
        app()
    except KeyboardInterrupt:
        raise
    except SystemExit as ended:
        return ended.code
    except BaseException as error:  # noqa: BLE001  # a panic of polars is no Exception
        if "--debug" in sys.argv:
            traceback.print_exception(error)
        complain(explained(error))
        return FAILED
    return None
