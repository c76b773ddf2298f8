"""`python -m benchmarks.load`: generate HTTP load in a separate process.

It sends prepared requests over keep-alive connections to cost little CPU. At a rate, a request's
latency counts from the time it was due, not from the time a connection was free.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, cycle, islice
from typing import cast
from uuid import uuid4

import uvloop
from pydantic import BaseModel

from benchmarks.topic import SEED
from producers import emulator

BODIES = 20


class LoadSpec(BaseModel):
    """What to send where: `rate` requests per second, 0 for full speed."""

    host: str
    port: int
    path: str
    batch: int
    connections: int
    seconds: float
    rate: float = 0.0
    keys: bool = False


@dataclass
class LoadResult:
    """The latencies and statuses of the responses."""

    seconds: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)

    def note(self, status: int, took: float) -> None:
        """Add one response."""
        self.seconds.append(took)
        self.statuses[status] = self.statuses.get(status, 0) + 1


class LoadConnection(asyncio.Protocol):
    """Sends one request at a time, and puts itself into `free` after each response."""

    def __init__(self, result: LoadResult, free: "asyncio.Queue[LoadConnection]") -> None:
        self._result = result
        self._free = free
        self._buffer = b""
        self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Offer the connection for a request."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass
        self._free.put_nowait(self)

    def send(self, request: Sequence[bytes], due: float) -> None:
        """Send a request that was due at `due`."""
        self._due = due
        self._transport.writelines(request)

    def data_received(self, data: bytes) -> None:
        """Read until the response is complete."""
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(rest) >= length:
            self._buffer = b""
            self._result.note(int(head[9:12]), time.perf_counter() - self._due)
            self._free.put_nowait(self)


async def run(load: LoadSpec) -> LoadResult:
    """Send for `load.seconds`, then wait for the responses in flight."""
    result, free = LoadResult(), asyncio.Queue["LoadConnection"]()
    requests = cycle(_requests(load))
    loop = asyncio.get_running_loop()
    for _ in range(load.connections):
        await loop.create_connection(lambda: LoadConnection(result, free), load.host, load.port)
    began = time.perf_counter()
    for due in _due_times(load, began):
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        connection = await free.get()
        now = time.perf_counter()
        if now > began + load.seconds:
            free.put_nowait(connection)
            break
        connection.send(_keyed(next(requests), load), due or now)
    for _ in range(load.connections):
        await free.get()
    return result


def _due_times(load: LoadSpec, began: float) -> Iterator[float]:
    """Yield when each request is due; 0: as soon as a connection is free."""
    for number in count():
        yield began + number / load.rate if load.rate else 0.0


def _requests(load: LoadSpec) -> list[tuple[bytes, bytes]]:
    """Build requests in two parts: the head without its end, and the rest."""
    made, events = [], emulator.events(SEED)
    for _ in range(BODIES):
        values = [json.dumps(event.rows["pin"]).encode() for event in islice(events, load.batch)]
        records = b",".join(b'{"key":%d,"value":%b}' % pair for pair in enumerate(values))
        body = b'{"records":[' + records + b"]}"
        head = (
            f"POST {load.path} HTTP/1.1\r\nHost: {load.host}\r\nContent-Length: {len(body)}\r\n"
            "Content-Type: application/vnd.kafka.json.v2+json\r\n"
        )
        made.append((head.encode(), b"\r\n" + body))
    return made


def _keyed(request: tuple[bytes, bytes], load: LoadSpec) -> Sequence[bytes]:
    if not load.keys:
        return request
    return request[0], b"Idempotency-Key: %b\r\n" % uuid4().hex.encode(), request[1]


def main() -> None:
    """Read a LoadSpec from standard input, and print the result."""
    load = LoadSpec.model_validate_json(sys.stdin.read())
    began = time.perf_counter()
    result = uvloop.run(run(load))
    took = time.perf_counter() - began
    seen = sorted(result.seconds)
    shares = {name: seen[int(share * (len(seen) - 1))] for name, share in _SHARES.items()}
    said = {"took": took, "requests": len(seen), "statuses": result.statuses, **shares}
    print(json.dumps(said | {"cpu": time.process_time()}))


_SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}

if __name__ == "__main__":
    main()
