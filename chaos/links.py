"""Forward the connections between the nodes of a cluster, and cut those of two nodes.

`python -m chaos.links LINKS` forwards until its standard input ends. LINKS is a JSON list of
`[pair, [host, port], [host, port]]`: what connects to the first address is forwarded to the second.
It writes `ready`, and takes lines `cut PAIR` and `heal PAIR`, to which it responds `done`.

A cut link loses nothing that was sent and says nothing, like a network that drops packets: it
delivers nothing, and takes new connections without an answer, until it is healed.
"""

import asyncio
import contextlib
import json
import sys
from collections import defaultdict

BUFFER = 1 << 16
_ENDED = (ConnectionError, asyncio.IncompleteReadError, OSError)


class Links:
    """Forwards connections; those of one `pair` can be cut."""

    def __init__(self) -> None:
        self._whole: defaultdict[str, asyncio.Event] = defaultdict(_set_event)
        self._serving: set[asyncio.Task[None] | None] = set()

    def cut(self, pair: str) -> None:
        """Deliver nothing more over the links of this pair."""
        self._whole[pair].clear()

    def heal(self, pair: str) -> None:
        """Deliver again, first what was held back."""
        self._whole[pair].set()

    async def listen(
        self, pair: str, address: tuple[str, int], upstream: tuple[str, int]
    ) -> asyncio.Server:
        """Forward what connects to `address` to `upstream`."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            self._serving.add(task)  # the event loop keeps only a weak reference
            try:
                await self._serve(pair, upstream, (reader, writer))
            finally:
                self._serving.discard(task)

        return await asyncio.start_server(serve, *address, limit=BUFFER)

    async def _serve(
        self,
        pair: str,
        upstream: tuple[str, int],
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        reader, writer = client
        with contextlib.closing(writer), contextlib.suppress(*_ENDED):
            await self._whole[pair].wait()
            back, forth = await asyncio.open_connection(*upstream, limit=BUFFER)
            with contextlib.closing(forth):
                ways = [(reader, forth), (back, writer)]
                copies = [asyncio.ensure_future(self._copy(pair, *way)) for way in ways]
                await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
                for copy in copies:
                    copy.cancel()

    async def _copy(
        self, pair: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Copy until one side ends; its end is not seen either while the link is cut."""
        with contextlib.suppress(*_ENDED):
            while True:
                read = await reader.read(BUFFER)
                await self._whole[pair].wait()
                if not read:
                    return
                writer.write(read)
                await writer.drain()


def _set_event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


async def _run(links: list[tuple[str, tuple[str, int], tuple[str, int]]]) -> None:
    made = Links()
    servers = [await made.listen(*link) for link in links]
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(orders), sys.stdin
    )
    _say("ready")
    while line := (await orders.readline()).decode():
        what, pair = line.split()
        {"cut": made.cut, "heal": made.heal}[what](pair)
        _say("done")
    for server in servers:
        server.close()


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def main() -> None:
    """Run until standard input ends."""
    asyncio.run(_run(json.loads(sys.argv[1])))


if __name__ == "__main__":
    main()
