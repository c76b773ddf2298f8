"""An HTTP/1.1 proxy in front of an S3 that injects faults.

`python -m chaos.proxy --upstream http://127.0.0.1:5000 --rate 0.03` prints `{"port": …}` and runs
until SIGTERM. Control requests: `GET /_chaos/counts` returns how often each fault was injected
(JSON), `PUT /_chaos/rate` sets the share of requests that meet a fault, and `PUT /_chaos/outage`
takes `500`, `503`, or an empty body that ends the outage.
"""

import argparse
import asyncio
import contextlib
import json
import random
import signal
import sys
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from urllib.parse import urlsplit

from chaos.latency import Latency
from chaos.messages import BUFFER, Message, is_framed, message, read_head, read_request

STALL_S = 4.0  # longer than a response takes, shorter than the clients' timeouts
_CONTROL = "/_chaos/"
_ENDED = (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError)


class StorageFault(StrEnum):
    """A fault that a request can meet."""

    INTERNAL_ERROR = "500, nothing done"
    SLOW_DOWN = "503, nothing done"
    RESET = "connection closed, nothing done"
    CONFLICT = "409, nothing done"
    PRECONDITION = "412, write done"
    LOST_ANSWER = "connection closed, write done"
    STALLED = "late answer, write done"
    TRUNCATED = "answer cut in the middle"


_ANY = [StorageFault.INTERNAL_ERROR, StorageFault.SLOW_DOWN, StorageFault.RESET]
_WRITE = [*_ANY, StorageFault.LOST_ANSWER, StorageFault.STALLED]
_CREATE = [*_WRITE, StorageFault.CONFLICT, StorageFault.PRECONDITION]
_READ = [*_ANY, StorageFault.TRUNCATED]
_REFUSALS = {
    StorageFault.INTERNAL_ERROR: (HTTPStatus.INTERNAL_SERVER_ERROR, "InternalError"),
    StorageFault.SLOW_DOWN: (HTTPStatus.SERVICE_UNAVAILABLE, "SlowDown"),
    StorageFault.CONFLICT: (HTTPStatus.CONFLICT, "ConditionalRequestConflict"),
    StorageFault.PRECONDITION: (HTTPStatus.PRECONDITION_FAILED, "PreconditionFailed"),
}
_OUTAGES = {"": None, "500": StorageFault.INTERNAL_ERROR, "503": StorageFault.SLOW_DOWN}


@dataclass(frozen=True)
class PlannedFault:
    """One fault for the next request of `method` whose path contains `part`."""

    method: str
    part: str
    fault: StorageFault


@dataclass
class FaultPlan:
    """Chooses a request's fault: a planned one, the outage's, or a random one (`rate`)."""

    rng: random.Random = field(default_factory=random.Random)
    rate: float = 0.0
    outage: StorageFault | None = None
    planned: list[PlannedFault] = field(default_factory=list)

    def fault(self, request: Message) -> StorageFault | None:
        """Return the fault of this request, None for most."""
        for planned in self.planned:
            if planned.method == request.method and planned.part in request.path:
                self.planned.remove(planned)
                return planned.fault
        if self.outage is not None:
            return self.outage
        return self.rng.choice(fitting(request)) if self.rng.random() < self.rate else None


def fitting(request: Message) -> list[StorageFault]:
    """Return the faults that can happen to a request of this kind."""
    if request.method in {"PUT", "POST", "DELETE"}:
        return _CREATE if "if-none-match" in request.headers else _WRITE
    return _READ if request.method == "GET" else _ANY


class Proxy:
    """Forwards requests to `upstream` with the faults of `plan`; counts the injected faults.

    A request is forwarded whatever becomes of its client meanwhile, as a bucket does it.
    """

    def __init__(
        self,
        upstream: str,
        plan: FaultPlan,
        stall: float = STALL_S,
        latency: Latency | None = None,
    ) -> None:
        self.plan = plan
        self._latency = latency or Latency(0.0)
        self.counts: Counter[StorageFault] = Counter()
        self._upstream = urlsplit(upstream)
        self._stall = stall
        self._serving: set[asyncio.Task[None] | None] = set()

    async def listen(self, port: int) -> asyncio.Server:
        """Listen on 127.0.0.1:`port` (0: any free port)."""
        return await asyncio.start_server(self._serve, "127.0.0.1", port, limit=BUFFER)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client's connection until either side closes it."""
        task = asyncio.current_task()
        self._serving.add(task)  # the event loop keeps only a weak reference
        with contextlib.suppress(*_ENDED):
            kept = True
            while kept:
                sent, kept = await self._respond(await read_request(reader, writer))
                writer.write(sent)
                await writer.drain()
        writer.close()
        self._serving.discard(task)

    async def _respond(self, request: Message) -> tuple[bytes, bool]:
        """Return the response, and whether the connection stays open."""
        if request.path.startswith(_CONTROL):
            return self._control(request).encoded(), True
        fault = self.plan.fault(request)
        if fault in {StorageFault.INTERNAL_ERROR, StorageFault.SLOW_DOWN, StorageFault.CONFLICT}:
            return self._refused(request, fault).encoded(), True
        if fault is StorageFault.RESET:
            return self._cut(fault, b"")
        before, after = self._latency.draw()
        await asyncio.sleep(before)
        response = await self._forward(request)
        await asyncio.sleep(after)
        if fault is not None and response.ok:
            return await self._damaged(request, response, fault)
        return response.encoded(), is_framed(request, response)

    async def _damaged(
        self, request: Message, response: Message, fault: StorageFault
    ) -> tuple[bytes, bool]:
        """Replace, truncate, drop or delay the response of a request that succeeded."""
        match fault:
            case StorageFault.PRECONDITION:
                return self._refused(request, fault).encoded(), True
            case StorageFault.TRUNCATED if response.body:
                return self._cut(fault, response.encoded()[: -len(response.body) // 2])
            case StorageFault.LOST_ANSWER:
                return self._cut(fault, b"")
            case StorageFault.STALLED:
                self.counts[fault] += 1
                await asyncio.sleep(self._stall)
        return response.encoded(), is_framed(request, response)

    def _cut(self, fault: StorageFault, sent: bytes) -> tuple[bytes, bool]:
        self.counts[fault] += 1
        return sent, False

    def _refused(self, request: Message, fault: StorageFault) -> Message:
        self.counts[fault] += 1
        status, code = _REFUSALS[fault]
        body = f"<Error><Code>{code}</Code><Message>{fault}</Message></Error>"
        return message(status, "application/xml", "" if request.method == "HEAD" else body)

    async def _forward(self, request: Message) -> Message:
        """Send the request upstream on a new connection; return its response."""
        reader, writer = await asyncio.open_connection(
            self._upstream.hostname, self._upstream.port, limit=BUFFER
        )
        try:
            lines = (*request.without("connection", "expect"), "Connection: close")
            writer.write(Message(request.start, lines, request.body).encoded())
            head = await read_head(reader)
            body = await reader.read()
            return Message(head.start, head.without("connection"), body)
        finally:
            writer.close()

    def _control(self, request: Message) -> Message:
        """Respond to a control request."""
        body = request.body.decode().strip()
        match request.method, request.path.removeprefix(_CONTROL):
            case "GET", "counts":
                return message(HTTPStatus.OK, "application/json", json.dumps(self.counts))
            case "PUT", "rate":
                self.plan.rate = float(body)
            case "PUT", "outage":
                self.plan.outage = _OUTAGES[body]
            case _:
                return message(HTTPStatus.NOT_FOUND, "text/plain", request.start)
        return message(HTTPStatus.OK, "text/plain", body)


async def _run(proxy: Proxy, port: int) -> None:
    server = await proxy.listen(port)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    sys.stdout.write(json.dumps({"port": server.sockets[0].getsockname()[1]}) + "\n")
    sys.stdout.flush()
    await stopped.wait()
    server.close()


def main() -> None:
    """Run until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m chaos.proxy")
    parser.add_argument("--upstream", required=True, help="the S3, like http://127.0.0.1:5000")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--stall", type=float, default=STALL_S, help="seconds of a late response")
    parser.add_argument("--latency", type=float, default=0.0, help="median seconds of a response")
    given = parser.parse_args()
    plan = FaultPlan(random.Random(given.seed), given.rate)
    latency = Latency(given.latency, random.Random(f"{given.seed} latency"))
    asyncio.run(_run(Proxy(given.upstream, plan, given.stall, latency), given.port))


if __name__ == "__main__":
    main()
