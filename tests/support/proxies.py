"""The fault proxy inside this process, before an S3 of the tests."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from chaos.latency import Latency
from chaos.messages import Message
from chaos.proxy import FaultPlan, PlannedFault, Proxy, StorageFault


@dataclass
class Rough:
    """A proxy's address and the faults to come; `proxy.counts` are those that came."""

    endpoint: str
    proxy: Proxy

    def next(self, method: str, part: str, *faults: StorageFault) -> None:
        """Inject these faults into the next requests of `method` whose path contains `part`."""
        self.proxy.plan.planned += [PlannedFault(method, part, fault) for fault in faults]

    @contextmanager
    def only(self, nth: int, fault: StorageFault) -> Iterator["Nth"]:
        """Inject this fault into the nth request, counted from 1, while the block runs."""
        clear, self.proxy.plan = self.proxy.plan, Nth(nth=nth, meets=fault)
        yield self.proxy.plan
        self.proxy.plan = clear


@dataclass
class Nth(FaultPlan):
    """One fault, at one place of a series of requests."""

    nth: int = 0
    seen: int = 0
    meets: StorageFault | None = None

    def fault(self, request: Message) -> StorageFault | None:
        """Count the request; return the fault when it is the nth."""
        del request
        self.seen += 1
        return self.meets if self.seen == self.nth else None


@contextmanager
def rough(upstream: str, stall: float = 0.2, latency: Latency | None = None) -> Iterator[Rough]:
    """Start a proxy before `upstream` on its own thread while the block runs."""
    proxy = Proxy(upstream, FaultPlan(), stall, latency)
    with on_a_thread(lambda: proxy.listen(0)) as port:
        yield Rough(f"http://127.0.0.1:{port}", proxy)


@contextmanager
def on_a_thread(listen: Callable[[], Coroutine[Any, Any, asyncio.Server]]) -> Iterator[int]:
    """Run a server on its own thread while the block runs; yield its port."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(listen())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end(server: asyncio.Server) -> None:
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


class Deaf(Proxy):
    """A proxy that never hands on `If-None-Match`: the S3 behind it overwrites."""

    async def _forward(self, request: Message) -> Message:
        lines = tuple(request.without("if-none-match"))
        return await super()._forward(Message(request.start, lines, request.body))


@contextmanager
def deaf(upstream: str) -> Iterator[str]:
    """Start a proxy that drops `If-None-Match`; yield its endpoint."""
    proxy = Deaf(upstream, FaultPlan())
    with on_a_thread(lambda: proxy.listen(0)) as port:
        yield f"http://127.0.0.1:{port}"
