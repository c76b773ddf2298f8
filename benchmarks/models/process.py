"""Run a model as a process, and talk to it beside the measured requests."""

import http.client
import json
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from io import BytesIO
from pathlib import Path

from benchmarks import measure
from benchmarks.commits import ObservedTable
from benchmarks.models.delays import Profile
from benchmarks.models.journal import Entry
from benchmarks.models.s3 import AT
from pinpip.local.java import free_port

_START_TIMEOUT_S = 60.0


@dataclass
class Model:
    """A running model; `section`: the section `aws` of config.yaml that names it."""

    port: int
    process: measure.Process
    _connection: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    @property
    def section(self) -> dict[str, str]:
        """Return the section."""
        keys = {"access_key_id": "local", "secret_access_key": "local", "region": "us-east-1"}
        return {"endpoint_url": f"http://127.0.0.1:{self.port}", **keys}

    def request(self, method: str, path: str, body: str | None = None) -> tuple[int, bytes, float]:
        """Return status, body and the time that the object became visible, if it is one."""
        self._connection.request(method, path, body)
        response = self._connection.getresponse()
        return response.status, response.read(), float(response.headers.get(AT, 0))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def begin(self, profile: Profile, *buckets: str) -> None:
        """Drop everything, create the buckets and set the latencies."""
        self.request("POST", "/-/reset")
        self.request("POST", "/-/profile", Profile().model_dump_json())
        for bucket in buckets:
            self.request("PUT", f"/{bucket}")
        self.request("POST", "/-/profile", profile.model_dump_json())

    def journal(self) -> list[Entry]:
        """Return the responses so far."""
        _, body, _ = self.request("GET", "/-/journal")
        return [Entry(*entry) for entry in json.loads(body)]

    def table(self, bucket: str, table: str) -> ObservedTable:
        """Return a table in the bucket; the times of its commits are those of the model."""
        place = f"/-/object/{bucket}/{table}"

        def read(name: str) -> tuple[float, bytes] | None:
            status, body, at = self.request("GET", f"{place}/_delta_log/{name}")
            return None if status == HTTPStatus.NOT_FOUND else (at, body)

        def opened(file: str) -> BytesIO:
            return BytesIO(self.request("GET", f"{place}/{file}")[1])

        return ObservedTable(read, opened)


@contextmanager
def running(module: str, folder: Path) -> Iterator[Model]:
    """Run `benchmarks.models.MODULE` on a free port of 127.0.0.1 while the block runs."""
    port, log = free_port(), folder / f"{module}.log"
    command = [sys.executable, "-m", f"benchmarks.models.{module}", str(port)]
    with measure.running(command, log) as process:
        _await(port, process, log)
        model = Model(port, process)
        try:
            yield model
        finally:
            model.close()


def _await(port: int, process: measure.Process, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        measure.refuse_dead([process], log)
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
