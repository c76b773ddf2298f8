"""The raw archive of a pipeline as a source, for when the topic no longer holds its records."""

import io
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence

import polars as pl

from audit.invariants import text
from audit.verify import snapshots
from consumers.archive.ahead import Ahead
from consumers.archive.parquet import decoder
from consumers.archive.pieces import Piece
from consumers.archive.source import FileSource
from consumers.window import SKEW, TIME, Window
from core import topics
from core.batch import KAFKA, KINESIS, Partition, Position, Positions, reaches
from core.clock import Clock
from core.config import Config, Pipeline
from core.errors import ConfigError, PositionLost, SourceError
from pinpip import pipelines
from pinpip.connectors import coordinates_of
from pinpip.connectors.expired import lacking, refuse_expired
from pinpip.connectors.protocol import Replay, Row, refuse_offsets
from sinks.parquet.chain import Link
from sinks.parquet.walk import walk, wanted
from sinks.storage.protocol import Store
from sinks.storage.store import open_store

_DEPTH = 3  # parts of a key: <topic>/partition=<id>/<object>
_NAMED = 5  # partitions in a line
Chains = Mapping[Partition, Sequence[Link]]


def replay(
    config: Config,
    name: str,
    window: Window,
    held: Callable[[Collection[Partition]], Positions],
    clock: Clock,
) -> Replay:
    """Open the records of `window` in the raw archive of the pipeline `name`.

    Raises ConfigError when it keeps none or has no offsets, SourceError for an archive that is
    damaged or has a hole, RecordsExpired when it begins after the first offset that is wanted.
    """
    pipeline = config.pipeline(name)
    coordinates = coordinates_of(pipeline)
    if coordinates == KINESIS:
        refuse_offsets(window)
    store = _store(config, name)
    chains = _chains(store, pipeline, window)
    lows = {p: links[0].start.number for p, links in chains.items()} if coordinates == KAFKA else {}
    at = {} if window.is_unbounded else held(chains)
    refuse_expired(window, lows, at, "archive")
    ends: dict[Partition, Position | None] = {p: links[-1].end for p, links in chains.items()}
    return Replay(
        _source(config, pipeline, store, chains, window, clock),
        sum(_records(link, window) for links in chains.values() for link in links),
        lambda: _lacking(store, chains, window, lows, at),
        ends,
        "; ".join(filter(None, [_removed(chains, window), _remark(config, name, ends, window)])),
    )


def _store(config: Config, name: str) -> Store:
    pipeline = config.pipeline(name)
    raw = [archive for archive in pipeline.archives if archive.stage == "raw"]
    if not raw:
        raise ConfigError(
            f"{name} keeps no raw archive", "replay from its source, without --from-archive"
        )
    return open_store(pipelines.archive_uri(pipeline, raw[0]), config.aws)


def _source(
    config: Config, pipeline: Pipeline, store: Store, chains: Chains, window: Window, clock: Clock
) -> FileSource:
    histories = {
        p: [Piece(link.key, p, link.start, link.end, link.records) for link in links]
        for p, links in chains.items()
    }
    coordinates = coordinates_of(pipeline)
    ahead = Ahead(store.find, store.uri, int(config.batching.memory) // 16, clock)
    decode = decoder(coordinates, store.uri, headers=pipeline.tests_headers)
    return FileSource(histories, ahead, decode, coordinates, window)


def _chains(store: Store, pipeline: Pipeline, window: Window) -> Chains:
    """Walk the chains of all topics or streams of the pipeline, as far as the window needs them."""
    try:
        found = {
            partition: walk(store, wanted(keys, window.first, window.last))
            for partition, keys in keys_of(store, pipeline).items()
        }
    except PositionLost as error:  # a name that is none of a chain
        raise SourceError(f"{store.uri}: {error.message}", error.hint) from error
    if not found:
        raise SourceError(
            f"{store.uri} holds nothing of {', '.join(pipeline.reads)}",
            "see `parquet` and `incarnation` in config.yaml, or replay without --from-archive",
        )
    return found


def keys_of(store: Store, pipeline: Pipeline) -> Mapping[Partition, Sequence[str]]:
    """List the objects of each partition of this pipeline, in order: others may be there, too."""
    plain = not any(topics.is_pattern(name) for name in pipeline.reads)
    found: dict[Partition, list[str]] = defaultdict(list)
    for prefix in [f"{name}/partition=" for name in pipeline.reads] if plain else [""]:
        for key in store.list(prefix):
            source, *rest = key.split("/")
            ours = any(topics.matches(name, source) for name in pipeline.reads)
            if ours and len(rest) + 1 == _DEPTH and rest[0].startswith("partition="):
                found[Partition(source, rest[0].removeprefix("partition="))].append(key)
    return found


def _records(link: Link, window: Window) -> int:
    """How many records of the object the window has at most."""
    first, last = max(link.start.number, window.first or 0), link.end.number
    if window.last is not None:
        last = min(last, window.last)
    return min(link.records, max(0, last - first))


def _lacking(
    store: Store, chains: Chains, window: Window, lows: Mapping[Partition, int], held: Positions
) -> list[Row]:
    """List what of the window is not in the archive.

    Without bounds: what it had and no longer has. Before an archive's first record is what the
    source no longer held when the archive began, or what `where` did not take: how much of either
    is not known.
    """
    rows = lacking(window, lows, {}, held)
    if window.is_unbounded or not lows:
        late = _late(chains)
        maybe = {p: link.start for p, link in late.items() if _may(store, link, window)}
        streams = {p.source for p in maybe if not lows}  # without offsets, as of the stream itself
        rows += [_row(p, at.number, None) for p, at in maybe.items() if lows]
        rows += [_row(name, None, None) for name in sorted(streams)]
    for partition, links in chains.items():
        gaps = [link for link in links if link.expired and _records(link, window)]
        rows += [_row(partition, link.gap.stop, link.expired) for link in gaps]
        if not window.is_unbounded and lows.get(partition) == 0:
            first = _first(store, links[0])
            if first > (window.first or 0):
                rows.append(_row(partition, first, None))
    return rows


def _late(chains: Chains) -> dict[Partition, Link]:
    """Return the first objects of chains that began at 0, as each does, and no longer do."""
    return {p: links[0] for p, links in chains.items() if links[0].start > Position(0)}


def _may(store: Store, first: Link, window: Window) -> bool:
    """Whether objects before `first` may have held records of the window.

    It has times only for a stream, whose records come in the order of their times.
    """
    if window.since is None or not first.records:
        return True
    rows = pl.read_parquet(io.BytesIO(store.read(first.key)), columns=[TIME], n_rows=1)
    return bool(rows.item() + SKEW > window.since)


def _row(partition: Partition | str, first: int | None, expired: int | None) -> Row:
    return {"partition": str(partition), "first_offset": first, "expired": expired}


def _first(store: Store, link: Link) -> int:
    """Return the offset of the first record of an object; its end when it has none."""
    if not link.records:
        return link.end.number
    rows = pl.read_parquet(io.BytesIO(store.read(link.key)), columns=[KAFKA.number], n_rows=1)
    return int(rows.item())


def _removed(chains: Chains, window: Window) -> str:
    """Say where chains begin whose first objects were removed: what they held is not replayed."""
    late = _late(chains) if window.first is None else {}
    begins = [f"{p} at {text(link.start)}" for p, link in sorted(late.items())]
    return f"the archive no longer has its first objects: {_few(begins)}" if begins else ""


def _few(told: Sequence[str]) -> str:
    more = f" and {len(told) - _NAMED} others" if len(told) > _NAMED else ""
    return f"{', '.join(told[:_NAMED])}{more}"


def _remark(config: Config, name: str, ends: Positions, window: Window) -> str:
    """Say where the archive ends before the live table does."""
    clean, _ = snapshots(pipelines.tables_of(config, name))
    behind = [
        f"{p} at {end.number if end else 'nothing'}"
        for p in sorted(clean.ledgered())
        for end in [ends.get(p)]
        if not reaches(end, clean.position(p) or Position(0))
        and not (window.last is not None and reaches(end, Position(window.last)))
    ]
    return f"the archive ends before the table of {name}: {_few(behind)}" if behind else ""
