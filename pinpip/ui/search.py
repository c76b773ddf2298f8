"""Where one record is: the ledger search of the page, by the query of its URL."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from core.config import Config
from core.errors import ConfigError, FatalError
from pinpip.inspection import where_is

_QUERY = ("pipeline", "partition", "offset")
_EXAMPLE = "/search?pipeline=pin&partition=demo.pin/0&offset=123"
_LONGEST = 300  # characters of a query's value
_TEXT = 2_000  # characters of a column that are shown


def search(config: Config, query: Mapping[str, str]) -> dict[str, Any]:
    """Return which commit and which file hold a record, as `pinpip inspect --offset` does.

    `query`: pipeline, partition ("demo.pin/0", or "0" where the pipeline reads one topic), and
    offset (or sequence number, with `.subsequence` or without). Raises FatalError for a query that
    names no record.
    """
    name, partition, offset = (_value(query, key) for key in _QUERY)
    if name not in config.pipelines:
        raise ConfigError(
            f"no pipeline is called {name!r}", f"there are: {', '.join(config.pipelines)}"
        )
    try:
        found = where_is(config, name, f"{partition}:{offset}")
    except ValueError as error:
        raise FatalError(str(error), f"write it like {_EXAMPLE}") from error
    return {key: _plain(value) for key, value in found.items()}


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
