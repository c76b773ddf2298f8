"""Files and objects to read rows from: how they are opened, unpacked and recognised."""

import gzip
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import PurePath
from typing import cast
from urllib.parse import unquote

from core.errors import ConfigError
from producers.numbers import Cell

JSON, CSV, PARQUET = FORMATS = ("json", "csv", "parquet")
ENDINGS = {".json": JSON, ".ndjson": JSON, ".jsonl": JSON, ".csv": CSV, ".parquet": PARQUET}
MAX_ROW = 64 * 1024 * 1024  # bytes of a row; Kafka and Kinesis take 1 MB by default
_NULL = "__HIVE_DEFAULT_PARTITION__"
_GZIP = b"\x1f\x8b"
_PARQUET = b"PAR1"
_CONNECT = re.compile(r"(?P<topic>[A-Za-z0-9._-]+)\+(?P<partition>[0-9]+)\+(?P<offset>[0-9]+)\.")


class InputError(ConfigError):
    """An input cannot be read or sent as it is; the rows before it can."""


@dataclass(frozen=True)
class Input:
    """One file or object, by the name in messages; `format` is None where only its bytes tell.

    `open` returns its bytes, perhaps with gzip. `topic` is the topic that the name says, as the S3
    sink of Kafka Connect writes it: `<topic>+<partition>+<offset>.json`. `columns` are those that
    its folders say, as Spark and Hive write them: `country=Peru/part-0.parquet`.
    """

    name: str
    open: Callable[[], BufferedReader]
    format: str | None = None
    topic: str | None = None
    columns: Mapping[str, str | None] = field(default_factory=dict)


def input_of(
    name: str, path: str, opening: Callable[[], BufferedReader], kind: str | None
) -> Input:
    """Return the input at `path`; `kind` is its format where the path does not tell it."""
    topic = topic_of(path)
    columns = {} if topic else columns_of(path)
    return Input(name, opening, kind or format_of(path), topic, columns)


def format_of(name: str) -> str | None:
    """Return the format that the ending of a file's name says; None for another ending."""
    return ENDINGS.get(PurePath(name.lower().removesuffix(".gz")).suffix)


def topic_of(name: str) -> str | None:
    """Return the topic in a file's name as Kafka Connect's S3 sink writes it."""
    match = _CONNECT.match(PurePath(name).name)
    return match["topic"] if match else None


def columns_of(path: str) -> dict[str, str | None]:
    """Return the columns in the names of a file's folders, `name=value` each."""
    parts = [part.partition("=") for part in PurePath(path).parts[:-1]]
    named = {unquote(name): unquote(value) for name, equals, value in parts if equals and name}
    return {name: None if value == _NULL else Cell(value) for name, value in named.items()}


def order_of(name: str) -> tuple[object, ...]:
    """Return the sort key of a file: by folder and name, but by number in Kafka Connect's names."""
    match = _CONNECT.match(PurePath(name).name)
    if match is None:
        return (0, name)
    return (1, match["topic"], int(match["partition"]), int(match["offset"]), name)


@contextmanager
def opened(source: Input) -> Iterator[tuple[str, BufferedReader]]:
    """Yield the format of the input, and its bytes without gzip; ValueError for no known format."""
    with source.open() as packed:
        is_packed = packed.peek(len(_GZIP)).startswith(_GZIP)
        plain = gzip.GzipFile(fileobj=packed) if is_packed else packed
        stream = cast("BufferedReader", plain)
        yield source.format or _recognised(stream), stream


def _recognised(stream: BufferedReader) -> str:
    start = stream.peek(64).lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(_PARQUET):
        return PARQUET
    if start[:1] in {b"{", b"["}:
        return JSON
    raise ValueError(f"name it with an ending of {', '.join(ENDINGS)}, or write --format")
