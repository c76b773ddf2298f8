"""`pinpip local up`: the embedded stack."""

import time
from contextlib import ExitStack, suppress
from enum import StrEnum
from typing import Annotated

import typer

from pinpip.cli.shared import settings_of
from pinpip.cli.signals import interrupted_once
from pinpip.cli.tables import show

CHECK_EVERY = 0.5  # seconds between two looks at the parts

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

    Commands whose configuration says `local` find the stack by .pinpip/local.json beside it.
    Example: pinpip local up --kafka real
    """
    from core.clock import SystemClock
    from core.config_file import ConfigFile
    from pinpip.local.stack import gateway_process, local_stack

    settings = settings_of(context)
    config = settings.config()
    state = ConfigFile(settings.config_path).stack
    with (
        suppress(KeyboardInterrupt),
        interrupted_once() as held,
        ExitStack() as parts,
    ):
        stack = parts.enter_context(local_stack(config, kafka=kafka.value, state=state, held=held))
        gateway = parts.enter_context(
            gateway_process(settings.config_path, config, SystemClock(), held)
        )
        addresses = {"Kafka": stack.kafka, "AWS": stack.aws, "gateway": gateway.url}
        show("Up", [{"part": k, "address": v} for k, v in addresses.items()], as_json=False)
        typer.echo("stop with Ctrl-C; everything in it is forgotten then, the lake stays")
        while True:
            time.sleep(CHECK_EVERY)
            stack.check()
            gateway.check()
