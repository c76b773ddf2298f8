"""`pinpip local up`: the embedded stack."""

import threading
from enum import StrEnum
from typing import Annotated

import typer

from pinpip.cli.shared import awaited, settings_of, show, stopping_on_signals

commands = typer.Typer(help="The embedded stack: no Docker, no cloud.", no_args_is_help=True)


class BrokerKind(StrEnum):
    """Which Kafka the stack starts."""

    MOCK = "mock"
    REAL = "real"


@commands.callback()
def _group() -> None:
    """Keep `up` a command of its own while it is the only one."""


@commands.command()
def up(
    context: typer.Context,
    kafka: Annotated[
        BrokerKind,
        typer.Option(
            help="mock: inside this process, for short runs, it forgets past about 5 MB a "
            "partition. real: Apache Kafka, needs Java and Maven."
        ),
    ] = BrokerKind.MOCK,
) -> None:
    """Run Kafka, Kinesis, S3, DynamoDB and the gateway until Ctrl-C.

    Commands whose configuration says `local` find the stack by .pinpip/local.json.
    Example: pinpip local up --kafka real
    """
    from core.clock import SystemClock
    from core.config_file import ConfigFile
    from pinpip import configfile
    from pinpip.local.stack import gateway_process, local_stack

    settings = settings_of(context)
    settings.quiet_logs()
    config = configfile.load(settings.config_path)
    stop = threading.Event()
    state = ConfigFile(settings.config_path).stack
    with (
        stopping_on_signals(stop.set),
        local_stack(config, kafka=kafka.value, state=state) as stack,
        gateway_process(settings.config_path, config, SystemClock()) as url,
    ):
        addresses = {"Kafka": stack.kafka, "AWS": stack.aws, "gateway": url}
        show("Up", [{"part": k, "address": v} for k, v in addresses.items()], as_json=False)
        typer.echo("stop with Ctrl-C; everything in it is forgotten then, the lake stays")
        awaited(stop.wait)
