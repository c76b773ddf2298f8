"""A proxy before a gateway that cuts connections where it hurts, by a seeded rule."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

from chaos.messages import BUFFER, Message, read_head, read_request
from tests.support.proxies import on_a_thread

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_ENDED = (ConnectionError, asyncio.IncompleteReadError)


class Cut(StrEnum):
    """Where a connection is cut."""

    REQUEST = "in the middle of the request"
    RUNNING = "as soon as the request was handed on"
    BEFORE_ANSWER = "when the answer was there, before its first byte"
    ANSWER = "in the middle of the answer"


@dataclass
class Rule:
    """Cuts a share of the requests, never more than `most` in a row."""

    rng: random.Random
    share: float = 0.4
    most: int = 3
    met: Counter[Cut] = field(default_factory=Counter)
    _row: int = 0

    def next(self) -> Cut | None:
        """Return the fault of the next request; None lets it pass."""
        if self._row == self.most or self.rng.random() >= self.share:
            self._row = 0
            return None
        self._row += 1
        cut = self.rng.choice(list(Cut))
        self.met[cut] += 1
        return cut

    def part(self, whole: bytes) -> bytes:
        """Return the start of `whole`: at least one byte, never all."""
        return whole[: self.rng.randrange(1, len(whole))]


@contextmanager
def cutting(upstream: str, rule: Rule) -> Iterator[str]:
    """Start a proxy before `upstream` while the block runs; yield its URL."""
    place = urlsplit(upstream)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with _closed(writer), _gateway(place.hostname, place.port) as gateway:
            with suppress(*_ENDED):
                while await _exchanged(reader, writer, gateway, rule):
                    pass

    with on_a_thread(lambda: asyncio.start_server(serve, "127.0.0.1", 0, limit=BUFFER)) as port:
        yield f"http://127.0.0.1:{port}{place.path}"


async def _exchanged(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gateway: Streams, rule: Rule
) -> bool:
    """Hand on one request and its answer; False when the connection is to be cut."""
    request = (await read_request(reader, writer)).encoded()
    cut = rule.next()
    gateway[1].write(rule.part(request) if cut is Cut.REQUEST else request)
    await gateway[1].drain()
    if cut in {Cut.REQUEST, Cut.RUNNING}:
        return False
    answer = await _answer(gateway[0])
    if cut is not Cut.BEFORE_ANSWER:
        writer.write(rule.part(answer) if cut is Cut.ANSWER else answer)
        await writer.drain()
    return cut is None


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = await read_head(reader)
    body = await reader.readexactly(int(head.headers["content-length"]))
    return Message(head.start, head.lines, body).encoded()


@asynccontextmanager
async def _gateway(host: str | None, port: int | None) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection(host, port, limit=BUFFER)
    async with _closed(writer):
        yield reader, writer


@asynccontextmanager
async def _closed(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    try:
        yield
    finally:
        writer.close()
