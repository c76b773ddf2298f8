"""A replay, composed: which source fills which tables, through which loop."""

import hashlib
from collections.abc import Callable, Collection
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

from consumers.engine.loop import Loop
from consumers.window import Window
from core.batch import Partition, Positions
from core.clock import Clock
from core.config import Config
from core.errors import ConfigError
from core.observer import Observer
from pinpip import pipelines
from pinpip.connectors import connector_of, coordinates_of
from pinpip.connectors.protocol import Replay
from sinks.delta.target import Tables


@dataclass(frozen=True)
class Origin:
    """Where the records come from: the pipeline's source, its raw archive, or a connector's place.

    `connect`: a folder or bucket as Kafka Connect's S3 sink fills it.
    """

    archive: bool = False
    connect: str | None = None


@dataclass(frozen=True)
class Planned:
    """A replay that is ready to run; `tables` are those that it fills."""

    again: Replay
    tables: Tables
    loop: Callable[[Executor, Observer], Loop]


def beside(
    config: Config, name: str, uri: str, window: Window, origin: Origin, clock: Clock
) -> Planned:
    """Plan to fill the table at `uri`, its positions under a name of their own."""
    pipeline, limits = config.pipeline(name), pipelines.limits_of(config)
    app = app_of(name, window, origin)
    tables = pipelines.tables_at(config, uri, coordinates_of(pipeline), app)
    process = pipelines.process_of(pipeline, keep_values=False, limits=limits)
    sinks = pipelines.delta_sinks(
        config, tables, process, clock, where=pipelines.where_of(pipeline)
    )
    again = _opened(config, name, window, origin, partial(held, tables), clock)
    return Planned(again, tables, partial(Loop, again.source, process, sinks, limits, clock))


def app_of(name: str, window: Window, origin: Origin) -> str:
    """Return under what name a replay beside the live tables keeps its positions."""
    return f"pinpip/replay-{name}/{_label(window, origin)}"


def before_live(config: Config, name: str, origin: Origin, window: Window, clock: Clock) -> Planned:
    """Plan to fill the live tables and archives with a connector's history."""
    if origin.connect is None:
        raise ConfigError("no table to fill", "name one with --into")
    from pinpip.connectors.joining import before_live as joined

    again = joined(config, name, origin.connect, window, clock)
    loop = partial(pipelines.loop_of, config, name, clock, source=again.source)
    return Planned(again, pipelines.tables_of(config, name), loop)


def held(tables: Tables, partitions: Collection[Partition]) -> Positions:
    """Where an earlier run of the same replay was."""
    from audit.verify import snapshots

    clean, _ = snapshots(tables)
    return {p: clean.position(p) for p in partitions}


def _opened(
    config: Config,
    name: str,
    window: Window,
    origin: Origin,
    held: Callable[[Collection[Partition]], Positions],
    clock: Clock,
) -> Replay:
    if origin.archive:
        from pinpip.connectors import archive

        return archive.replay(config, name, window, held, clock)
    if origin.connect is not None:
        from pinpip.connectors import connect

        return connect.replay(config, name, origin.connect, window, held, clock)
    return connector_of(config, name, clock).replay(window, held)


def _label(window: Window, origin: Origin) -> str:
    """Name the positions of a window: two windows never share a table's.

    The source and its archive share them: they have the same offsets and the same topic id, so that
    one goes on where the other ended. A connector's objects have no id.
    """
    kind = "" if origin.connect is None else "connect-"
    if window.is_unbounded:
        return f"{kind}all"
    bounds = (window.first, window.last, window.since, window.until)
    return kind + hashlib.sha256(repr(bounds).encode()).hexdigest()[:12]
