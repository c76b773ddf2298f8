"""A replay, composed: which source fills which tables, through which loop."""

import hashlib
from collections.abc import Callable, Collection
from concurrent.futures import Executor
from dataclasses import dataclass
from enum import Enum
from functools import partial

from consumers.engine.loop import Loop
from consumers.window import Window
from core.batch import Partition, Positions
from core.clock import Clock
from core.config import Config
from core.observer import Observer
from pinpip import pipelines
from pinpip.connectors import connector_of, coordinates_of
from pinpip.connectors.protocol import Replay
from sinks.delta.target import Tables


class Origin(Enum):
    """Where the records come from."""

    SOURCE = "source"
    ARCHIVE = "archive"


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
    app = f"pinpip/replay-{name}/{_label(window)}"
    tables = pipelines.tables_at(config, uri, coordinates_of(pipeline), app)
    process = pipelines.process_of(pipeline, keep_values=False, limits=limits)
    sinks = pipelines.delta_sinks(
        config, tables, process, clock, where=pipelines.where_of(pipeline)
    )
    again = _opened(config, name, window, origin, partial(held, tables), clock)
    return Planned(again, tables, partial(Loop, again.source, process, sinks, limits, clock))


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
    if origin is Origin.ARCHIVE:
        from pinpip.connectors import archive

        return archive.replay(config, name, window, held, clock)
    return connector_of(config, name, clock).replay(window, held)


def _label(window: Window) -> str:
    """Name the positions of a window: two windows never share a table's.

    The source and its archive share them: they have the same offsets and the same topic id, so that
    one goes on where the other ended.
    """
    if window.is_unbounded:
        return "all"
    bounds = (window.first, window.last, window.since, window.until)
    return hashlib.sha256(repr(bounds).encode()).hexdigest()[:12]
