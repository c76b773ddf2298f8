"""What Kafka Connect's S3 sink wrote, as a source: for a table of its own, or before a live one."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from consumers.archive import connect
from consumers.archive.ahead import Ahead
from consumers.archive.pieces import Piece
from consumers.archive.source import FileSource
from consumers.window import Window
from core import topics
from core.batch import KAFKA, Partition, Position, Positions
from core.clock import Clock
from core.config import Config, Pipeline, StreamSection
from core.errors import ConfigError, SourceError
from core.origins import Start
from pinpip.connectors.expired import lacking, refuse_expired
from pinpip.connectors.protocol import Replay
from sinks.storage.protocol import Store
from sinks.storage.store import open_store

_READERS = 8


@dataclass(frozen=True)
class History:
    """The objects of each partition, and the values of the last records."""

    store: Store
    pieces: Mapping[Partition, Sequence[Piece]]
    last: Mapping[Partition, Sequence[bytes]]

    @property
    def firsts(self) -> dict[Partition, int]:
        """The first offset of each partition."""
        return {p: own[0].start.number for p, own in self.pieces.items()}

    @property
    def ends(self) -> dict[Partition, int]:
        """The offset after the last of each partition."""
        return {p: own[-1].end.number for p, own in self.pieces.items()}


def replay(  # as the archive's, and the place
    config: Config,
    name: str,
    place: str,
    window: Window,
    held: Callable[[Collection[Partition]], Positions],
    clock: Clock,
) -> Replay:
    """Open the offsets of `window` in the objects below `place`.

    Raises ConfigError for what the values alone do not tell, SourceError for objects that cannot be
    read, RecordsExpired when they begin after the first offset that is wanted.
    """
    history = history_of(config, name, place, window)
    lows = history.firsts
    at = {} if window.is_unbounded else held(lows)
    refuse_expired(window, lows, at, "history")
    source = source_of(config, name, history, window, clock)
    total = sum(_offsets(piece, window) for own in history.pieces.values() for piece in own)
    ends = {p: Position(end) for p, end in history.ends.items()}
    return Replay(source, total, lambda: lacking(window, lows, {}, at), ends)


def source_of(  # two are for the live tables
    config: Config,
    name: str,
    history: History,
    window: Window,
    clock: Clock,
    *,
    ends: Mapping[Partition, Position] | None = None,
    starts: Mapping[str, Start] | None = None,
) -> FileSource:
    """Make the source of these objects; `ends` and `starts` as in FileSource."""
    store, pipeline = history.store, config.pipeline(name)
    ahead = Ahead(store.find, store.uri, int(config.batching.memory) // 16, clock)
    decode = connect.decoder(store.uri, headers=pipeline.keeps_raw)
    return FileSource(history.pieces, ahead, decode, KAFKA, window, ends=ends, starts=starts)


def history_of(config: Config, name: str, place: str, window: Window) -> History:
    """List the objects of the pipeline's topics, and read the last one of each partition."""
    pipeline = config.pipeline(name)
    _refuse_unknowable(name, pipeline, window)
    store = open_store(place.rstrip("/"), config.aws)
    found: dict[Partition, list[connect.Named]] = defaultdict(list)
    for each in _named(store, pipeline):
        found[each.partition].append(each)
    if not found:
        raise SourceError(
            f"{store.uri} holds no objects of {', '.join(pipeline.reads)}",
            "name the connector's topics.dir: it holds TOPIC/partition=N/TOPIC+N+OFFSET.json",
        )
    with ThreadPoolExecutor(_READERS) as pool:
        ends = dict(zip(found, pool.map(partial(_end, store), found.values()), strict=True))
    pieces = {p: connect.pieces(own, store.uri, ends[p][0]) for p, own in found.items()}
    return History(store, pieces, {p: values for p, (_, values) in ends.items()})


def _refuse_unknowable(name: str, pipeline: Pipeline, window: Window) -> None:
    if isinstance(pipeline.source, StreamSection):
        raise ConfigError(f"{name} reads a stream", "--from-connect imports the history of topics")
    if pipeline.source.where is not None:
        raise ConfigError(
            f"{name} tests {pipeline.source.where.tested}, which the connector's objects do not "
            "have",
            "import with a pipeline without `where`",
        )
    if window.is_timed:
        raise ConfigError(
            "the connector's objects have no timestamps", "use --from-offset and --until-offset"
        )


def _named(store: Store, pipeline: Pipeline) -> Iterator[connect.Named]:
    plain = not any(topics.is_pattern(name) for name in pipeline.reads)
    for prefix in [f"{name}/" for name in pipeline.reads] if plain else [""]:
        for key in store.list(prefix):
            source = key.partition("/")[0]
            ours = any(topics.matches(name, source) for name in pipeline.reads)
            each = connect.named(key, store.uri) if ours else None
            if each is not None and each.partition.source == source:
                yield each


def _end(store: Store, found: Sequence[connect.Named]) -> tuple[int, list[bytes]]:
    """Return how many records the last object has, and the last ones."""
    last = max(found, key=lambda each: each.first)
    return connect.tail(last.key, store.read(last.key), store.uri)


def _offsets(piece: Piece, window: Window) -> int:
    last = piece.end.number if window.last is None else min(piece.end.number, window.last)
    return max(0, last - max(piece.start.number, window.first or 0))
