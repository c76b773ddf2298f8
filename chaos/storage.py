"""Run an S3 for one round: a moto process behind a fault proxy process."""

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
from botocore.config import Config as BotoConfig

from chaos.child import child
from core import aws
from core.clock import Clock
from core.config import Aws
from core.errors import FatalError

KEYS = {"access_key_id": "local", "secret_access_key": "local"}
_START_TIMEOUT_S = 60.0
_REQUEST_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Storage:
    """The endpoints of one S3: requests to `faulty` meet faults, requests to `direct` do not."""

    direct: str
    faulty: str

    def rate(self, share: float) -> None:
        """Set the share of requests that meet a fault."""
        self._put("rate", str(share))

    def outage(self, status: int) -> None:
        """Respond to every request with `status`; 0 ends the outage."""
        self._put("outage", str(status) if status else "")

    def faults(self) -> dict[str, int]:
        """Return how often each fault has happened."""
        response = requests.get(f"{self.faulty}/_chaos/counts", timeout=_REQUEST_TIMEOUT_S)
        response.raise_for_status()
        found: dict[str, int] = response.json()
        return found

    def _put(self, name: str, body: str) -> None:
        url = f"{self.faulty}/_chaos/{name}"
        requests.put(url, data=body, timeout=_REQUEST_TIMEOUT_S).raise_for_status()


@contextmanager
def faulty_s3(
    folder: Path, seed: int, bucket: str, clock: Clock, latency: float = 0.0
) -> Iterator[Storage]:
    """Run an empty S3 with one bucket while the block runs; its fault rate starts at 0.

    `latency`: the median of the seconds that a request to `faulty` takes.
    """
    port = _free_port()
    direct = f"http://127.0.0.1:{port}"
    moto = ["-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    proxy = ["-m", "chaos.proxy", "--upstream", direct, "--port", "0"]
    proxy += ["--latency", str(latency)]
    with child(moto, folder / "moto.log") as server:
        _await(direct, server, clock)
        own = Aws.model_validate({"endpoint_url": direct, **KEYS})
        aws.client(own, "s3", BotoConfig()).create_bucket(Bucket=bucket)
        with child([*proxy, "--seed", str(seed), "--rate", "0"], folder / "proxy.log") as front:
            line = front.stdout.readline() if front.stdout else b""
            if not line:
                raise FatalError("the fault proxy did not start", f"see {folder / 'proxy.log'}")
            yield Storage(direct, f"http://127.0.0.1:{json.loads(line)['port']}")


def _await(url: str, server: "subprocess.Popen[bytes]", clock: Clock) -> None:
    deadline = clock.monotonic() + _START_TIMEOUT_S
    while clock.monotonic() < deadline and server.poll() is None:
        try:
            requests.get(f"{url}/moto-api/data.json", timeout=2)
        except requests.RequestException:
            clock.sleep(0.1)
        else:
            return
    raise FatalError("moto's S3 did not start", "pip install 'pinpip[local]'")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
