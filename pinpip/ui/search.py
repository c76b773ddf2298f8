"""Where one record is: the ledger search of the page, by the query of its URL."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import datetime
from typing import Any, TypeVar

from core.config import Config
from core.errors import ConfigError, FatalError, TransientError
from pinpip.inspection import where_is

PATIENCE_S = 15.0
T = TypeVar("T")
_AT_ONCE = 4  # searches
_QUERY = ("pipeline", "partition", "offset")
_EXAMPLE = "/search?pipeline=pin&partition=demo.pin/0&offset=123"
_LONGEST = 300  # characters of a query's value
_TEXT = 2_000  # characters of a column that are shown


class Search:
    """The search in the tables of one configuration; a few run at a time, each in bounded time."""

    def __init__(self, config: Config, patience: float = PATIENCE_S) -> None:
        self._config = config
        self._patience = patience
        self._free = threading.Semaphore(_AT_ONCE)

    def __call__(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Return which commit and which file hold a record, as `pinpip inspect --offset` does.

        `query`: pipeline, partition ("demo.pin/0", or "0" where the pipeline reads one topic), and
        offset (or sequence number, with `.subsequence` or without). Raises FatalError for a query
        that names no record.
        """
        name, partition, offset = (_value(query, key) for key in _QUERY)
        if name not in self._config.pipelines:
            raise ConfigError(
                f"no pipeline is called {name!r}", f"there are: {', '.join(self._config.pipelines)}"
            )
        try:
            found = self._within(lambda: where_is(self._config, name, f"{partition}:{offset}"))
        except ValueError as error:
            raise FatalError(str(error), f"write it like {_EXAMPLE}") from error
        return {key: _plain(value) for key, value in found.items()}

    def _within(self, look: Callable[[], T]) -> T:
        """Return what `look` finds; raise TransientError when it takes too long.

        What takes too long goes on and takes part of what may run at a time: a store is not asked
        more and more.
        """
        if not self._free.acquire(blocking=False):
            raise TransientError("earlier searches are still running", "try it again later")
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(look())
            except BaseException as error:  # noqa: BLE001  # the caller raises it
                done.set_exception(error)
            finally:
                self._free.release()

        threading.Thread(target=run, name="search", daemon=True).start()
        try:
            return done.result(self._patience)
        except TimeoutError as error:
            raise TransientError(
                f"not found within {self._patience:g} s: the log is long or the store slow",
                "pinpip inspect PIPELINE --offset searches as long as it takes",
            ) from error


def _value(query: Mapping[str, str], key: str) -> str:
    value = query.get(key, "").strip()
    if not value:
        raise FatalError(f"the query names no {key}", f"write it like {_EXAMPLE}")
    if len(value) > _LONGEST:
        raise FatalError(f"{key} is too long: {len(value):,} characters", f"see {_EXAMPLE}")
    return value


def _plain(value: Any) -> Any:
    """Return what JSON can say, long texts shortened."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return text if len(text) <= _TEXT else f"{text[:_TEXT]}…"
