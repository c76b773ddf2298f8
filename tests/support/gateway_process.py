"""`pinpip gateway` as its user runs it."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import requests

from tests.support.commands import change
from tests.support.processes import Home, Process, until


class GatewayProcess(NamedTuple):
    """A gateway that listens."""

    process: Process
    port: int

    @property
    def url(self) -> str:
        """Where it listens, without a stage."""
        return f"http://127.0.0.1:{self.port}"

    def resident(self) -> int:
        """Resident memory, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text("utf-8")
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) * 1024


def free_port() -> int:
    """Return a port that no process listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def gateway_process(
    home: Home, port: int | None = None, **settings: object
) -> Iterator[GatewayProcess]:
    """Run `pinpip gateway` with the configuration of `home` while the block runs."""
    own = free_port() if port is None else port
    change(home, "gateway", {"port": own, **settings})
    with home.running("gateway", log="gateway.log") as process:
        gateway = GatewayProcess(process, own)
        until(lambda: _answers(gateway), "the gateway to answer")
        yield gateway


def _answers(gateway: GatewayProcess) -> bool:
    assert gateway.process.poll() is None, "the gateway has ended"
    try:
        return requests.get(f"{gateway.url}/health", timeout=5).ok
    except requests.ConnectionError:
        return False
