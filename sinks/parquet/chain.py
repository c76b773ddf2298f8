"""The chain of objects of one partition of a Parquet archive: their names and metadata.

An object is named by where its predecessor ended, and its metadata says where it ends.
"""

import io
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NotRequired, TypedDict

import polars as pl

from core.batch import Coordinates, Partition, Position
from core.errors import PositionLost, SinkError
from sinks.storage.protocol import Store

KEY = "pinpip"
_READERS = 16
_AT_ONCE = 64  # objects for a thread: with fewer, handing them over would cost more
_FOOTER = 64 * 1024  # bytes that usually contain the footer
_LAST_SUB = 10**10 - 1

Page = Callable[[str], tuple[list[str], bool]]  # the first keys after one; whether others follow


class About(TypedDict):
    """What each object says of itself, in the store's metadata and in the Parquet footer.

    `start` and `end` are spelled as in names: an object's end is its successor's name. `epoch` and
    `digits` are those of `end`, if the source told them. `accepted`: the ends of the gap of which
    `expired` is what this archive lacks.
    """

    start: str
    end: str
    records: int
    writer: str
    epoch: NotRequired[int | None]
    expired: NotRequired[int]
    accepted: NotRequired[tuple[int, int]]
    digits: NotRequired[int]


@dataclass(frozen=True)
class Link:
    """One object of a chain, by its name and by its own word.

    `gap`: offsets that the operator accepted to lose; `expired` of them this archive lacks.
    """

    key: str
    named: Position
    start: Position
    end: Position
    records: int
    expired: int = 0
    gap: range = range(0)


def links(store: Store, keys: Sequence[str]) -> Iterator[Link | PositionLost | None]:
    """Read the objects of a chain in order; one without metadata becomes its error.

    None: the object is not there, as when it was removed since it was listed.
    """
    groups = [keys[n : n + _AT_ONCE] for n in range(0, len(keys), _AT_ONCE)]
    with ThreadPoolExecutor(_READERS) as pool:
        for found in pool.map(lambda group: [_link(store, key) for key in group], groups):
            yield from found


def _link(store: Store, key: str) -> Link | PositionLost | None:
    try:
        told = find(store, key)
        if told is None:
            return None
        end = replace(position(told["end"]), epoch=told.get("epoch"), digits=told.get("digits", 0))
        counts = told["records"], told.get("expired", 0), range(*told.get("accepted", (0, 0)))
        return Link(key, start_of(key), position(told["start"]), end, *counts)
    except PositionLost as error:
        return error


def about(store: Store, key: str) -> About:
    """Read the object's metadata, from its footer where the store kept none.

    Raises PositionLost when there is none, or no object.
    """
    told = find(store, key)
    if told is None:
        raise PositionLost(f"{store.uri}/{key} is gone", "restore it from a backup")
    return told


def find(store: Store, key: str) -> About | None:
    """Read the object's metadata as `about` does; None: it does not exist. Raises PositionLost."""
    kept = store.metadata(key)
    if kept is None:
        return None
    try:
        text = kept.get(KEY) or _footer(store, key)
        told: About = json.loads(text)
        position(told["start"]), position(told["end"])
    except SinkError:
        if store.metadata(key) is None:  # removed since the line above
            return None
        raise
    except (pl.exceptions.PolarsError, KeyError, ValueError, TypeError) as error:
        raise PositionLost(
            f"{store.uri}/{key} does not say where it ends: {error}",
            "restore this object from a backup; if it is the last of its partition it may be "
            "moved away instead, then its records are read again",
        ) from error
    return told


def _footer(store: Store, key: str) -> str:
    try:
        return pl.read_parquet_metadata(io.BytesIO(store.tail(key, _FOOTER)))[KEY]
    except pl.exceptions.PolarsError:
        return pl.read_parquet_metadata(io.BytesIO(store.read(key)))[KEY]


def folder(partition: Partition) -> str:
    """Return the prefix of the partition's objects."""
    return f"{partition.source}/partition={partition.id}/"


def key_of(partition: Partition, start: str) -> str:
    """Return the name of the object that begins at `start`, spelled."""
    return f"{folder(partition)}{partition.source}+{partition.id}+{start}.parquet"


def start_of(key: str) -> Position:
    """Return where the object called `key` begins; PositionLost when it is not part of a chain."""
    try:
        return position(key.rpartition("+")[2].removesuffix(".parquet"))
    except ValueError as error:
        raise PositionLost(f"{key} is no object of the archive", "move it elsewhere") from error


def after(partition: Partition, number: int, coordinates: Coordinates) -> str:
    """Return a name after those of all objects that begin at `number`."""
    return key_of(partition, spelled(Position(number, _LAST_SUB), coordinates))


def last_key(page: Page, after: Callable[[int], str]) -> str | None:
    """Return the last key of a chain; None when it has none.

    `page` lists some keys, `after` names a key after those of a number. The search leaps, since a
    chain of years has millions of objects. A leap beyond the end finds nothing, and the next one
    is half as long.
    """
    keys, more = page("")
    leap = start_of(keys[-1]).number - start_of(keys[0]).number if more else 0
    growth = 2
    while more and leap:
        found, found_more = page(after(start_of(keys[-1]).number + leap))
        if found:
            keys, more, leap = found, found_more, leap * growth
        else:
            growth, leap = 1, leap // 2
    while more:
        keys, more = page(keys[-1])
    return keys[-1] if keys else None


def spelled(at: Position | None, coordinates: Coordinates) -> str:
    """Spell a position as in names, which sort as text; a new chain starts at zero."""
    number, sub = (at.number, at.sub) if at else (0, 0)
    return f"{number:020d}" if coordinates.sub is None else f"{number:064d}.{sub:010d}"


def position(text: str) -> Position:
    """Parse a position that `spelled` made; raises ValueError."""
    number, _, sub = text.partition(".")
    return Position(int(number), int(sub or 0))
