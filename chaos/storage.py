"""Run an S3 for one round: moto in a process, behind a fault proxy process."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
from botocore.config import Config as BotoConfig

from chaos.child import child
from core import aws
from core.config import Aws
from core.errors import FatalError

# It serves one request at a time. With two at once moto lets both create a key that may be created
# once: a commit would be overwritten by another.
AWS_MODULE = "pinpip.local.aws_process"
INSTALL = "it needs moto: pip install 'pinpip[local]'"
KEYS = {"access_key_id": "local", "secret_access_key": "local"}
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
def faulty_s3(folder: Path, seed: int, bucket: str, latency: float = 0.0) -> Iterator[Storage]:
    """Run an empty S3 with one bucket while the block runs; its fault rate starts at 0.

    `latency`: the median of the seconds that a request to `faulty` takes.
    """
    with _served([AWS_MODULE], folder / "aws.log") as direct:
        own = Aws.model_validate({"endpoint_url": direct, **KEYS})
        aws.client(own, "s3", BotoConfig()).create_bucket(Bucket=bucket)
        proxy = ["chaos.proxy", "--upstream", direct, "--seed", str(seed)]
        with _served([*proxy, "--latency", str(latency)], folder / "proxy.log") as faulty:
            yield Storage(direct, faulty)


@contextmanager
def _served(command: Sequence[str], log: Path) -> Iterator[str]:
    """Run a server's module while the block runs; yield the URL with the port that it prints."""
    with child(["-m", *command], log) as server:
        line = server.stdout.readline() if server.stdout else b""
        if not line:
            raise FatalError(f"{command[0]} did not start", f"see {log}; {INSTALL}")
        yield f"http://127.0.0.1:{json.loads(line)['port']}"
