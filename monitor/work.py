"""Blocking calls of an asyncio server, in daemon threads: none of them keeps the process alive."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from threading import Thread
from typing import Generic, TypeVar

from core.clock import Clock

T = TypeVar("T")


def in_thread(call: Callable[[], T]) -> "asyncio.Future[T]":
    """Run `call` in a separate daemon thread; the future has its result or its error."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def tell(settle: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the server has ended meanwhile
            loop.call_soon_threadsafe(settle)

    def run() -> None:
        try:
            result = call()
        except Exception as error:  # noqa: BLE001  # it belongs to the caller
            failed = error  # Python deletes `error` at the end of the clause
            tell(lambda: None if future.done() else future.set_exception(failed))
        else:
            tell(lambda: None if future.done() else future.set_result(result))

    Thread(target=run, name="page", daemon=True).start()
    return future


class Shared(Generic[T]):
    """The result of one slow call, which concurrent callers share, and callers soon after it.

    So a call is running at most once, however many ask, and starts at most once in `max_age`
    seconds.
    """

    def __init__(self, call: Callable[[], T], clock: Clock, max_age: float) -> None:
        self._call = call
        self._clock = clock
        self._max_age = max_age
        self._current: asyncio.Future[T] | None = None
        self._ended = 0.0

    def __call__(self) -> Awaitable[T]:
        """Return the result, or raise the error, of the current call or of a new one."""
        if self._current is None or self._is_old(self._current):
            self._current = in_thread(self._call)
            self._current.add_done_callback(self._end)
        return asyncio.shield(self._current)

    def _is_old(self, current: "asyncio.Future[T]") -> bool:
        return current.done() and self._clock.monotonic() - self._ended >= self._max_age

    def _end(self, current: "asyncio.Future[T]") -> None:
        self._ended = self._clock.monotonic()
        current.exception()  # retrieved, also when nobody waits any more
