"""Run `pinpip gateway` before the brokers of a round, and send to it."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import local

import requests

from chaos.child import child
from chaos.gateway_producer import Send
from core.clock import Clock
from core.config import Config
from core.errors import FatalError
from producers.client import GatewayClient
from producers.delivery import DeliveryStatus, ProducerRecord, Retry

_START_TIMEOUT_S = 120.0
_STORED = {
    DeliveryStatus.STORED: True,
    DeliveryStatus.REJECTED: False,
    DeliveryStatus.UNKNOWN: None,
}


@contextmanager
def gateway_of(
    config: Config, path: Path, topic: str, environment: Mapping[str, str], clock: Clock
) -> Iterator[Send]:
    """Run the gateway of the configuration at `path` while the block runs; no record is resent."""
    own, log = config.gateway, path.with_name("gateway.log")
    command = ["-m", "pinpip", "--config", str(path), "gateway", "--no-access-log"]
    with child(command, log, environment) as process:
        _await(f"{own.url}/health", process, log, clock)
        thread = local()  # a client sends one request at a time

        def send(records: Sequence[tuple[int, bytes]]) -> list[bool | None]:
            if not hasattr(thread, "client"):
                thread.client = GatewayClient(f"{own.url}/{own.stage}", retry=Retry(seconds=0))
            sent = [ProducerRecord(number, value) for number, value in records]
            return [_STORED.get(found.status) for found in thread.client.send_kafka(topic, sent)]

        yield send


def _await(url: str, process: "subprocess.Popen[bytes]", log: Path, clock: Clock) -> None:
    deadline = clock.monotonic() + _START_TIMEOUT_S
    while clock.monotonic() < deadline and process.poll() is None:
        try:
            requests.get(url, timeout=2).raise_for_status()
        except requests.RequestException:
            clock.sleep(0.1)
        else:
            return
    raise FatalError("the gateway did not start", f"see {log}")
