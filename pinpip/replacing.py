"""A replay in place: the rows of a range, staged beside the live tables, then swapped into them.

The staging tables are filled as `replay --into` fills any: they alone hold the state, so the same
command goes on after a crash. Their name says the pipeline's table, the range and today's rules.
The command, the Delta table's own id and the end of each range name the replacement: staged further
than an earlier run swapped, it is another one.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import polars as pl

from audit.snapshot import Snapshot
from audit.verify import snapshots, verify
from consumers.window import Window
from core.batch import KINESIS, Partition, Position, reaches
from core.clock import Clock
from core.config import Config
from core.errors import ConfigError, SinkError, SourceError
from core.pipeline import quarantine_of
from pinpip import pipelines
from pinpip import replacement_proof as proof
from pinpip.connectors import coordinates_of
from pinpip.connectors.protocol import refuse_offsets
from pinpip.delta_targets import targets_of
from pinpip.replaying import Origin
from sinks.delta import replacing, scan
from sinks.delta import table as tables
from sinks.delta.amendments import Keys
from sinks.delta.keys import dtype
from sinks.delta.replacing import Outcome, Place
from sinks.delta.selection import Selection
from sinks.delta.target import Tables
from sinks.storage import probe
from sinks.storage.store import open_store

_ROWS = 250_000  # of a frame
_PATIENCE_S = 60.0  # for the live consumer to come as far as the replay is
_LEDGER_HINT = "replay into a table of its own: --into"


@dataclass(frozen=True)
class Staged:
    """The rows of a range by today's rules, and the records that they are of.

    `held`: the keys of the live rows of these records, sorted, of both tables.
    `seen`: the ids and versions of the tables that were proven, None: there was none.
    """

    live: Tables
    tables: Tables
    selection: Selection
    held: Keys
    id: str
    seen: tuple[tuple[str, int] | None, tuple[str, int] | None]


def refuse(config: Config, name: str, window: Window) -> None:
    """Raise ConfigError for a pipeline whose rows cannot be replaced in place."""
    pipeline = config.pipeline(name)
    if coordinates_of(pipeline) == KINESIS:
        refuse_offsets(window)
    clean, quarantine = snapshots(pipelines.tables_of(config, name))
    if clean.seen is None or quarantine.seen is None:
        raise ConfigError(f"{name} has no rows to replace yet", f"pinpip consume {name}")
    if clean.tests - {pipelines.where_of(pipeline)}:
        raise ConfigError(
            f"some rows of {name} were taken by another `where` than today's", _LEDGER_HINT
        )


def place(config: Config, name: str, window: Window) -> str:
    """Return where the range is staged: beside the live table, by range and today's rules."""
    bounds = (window.first, window.last, window.since, window.until)
    told = (bounds, pipelines.decides(config.pipeline(name)))
    return f"{pipelines.tables_of(config, name).clean}_replacing_{_digest(told)}"


def finish(config: Config, name: str, clock: Clock) -> None:
    """Finish what an earlier replacement left undone, if any: it needs neither source nor consumer.

    Raises SinkError when it can no longer be finished.
    """
    replacing.finish(*places(config, name), clock)


def staged(
    config: Config, name: str, filled: Tables, window: Window, origin: Origin, clock: Clock
) -> Staged:
    """Return what was staged, proven: as many records as the live table has read of the range.

    Waits for the live consumer to come as far. Raises ConfigError for a range without records,
    SourceError when the source no longer gives all of them.
    """
    live = pipelines.tables_of(config, name)
    here = snapshots(filled)
    if here[0].seen is None or not here[0].ledgered():
        raise ConfigError("the source has no record in the range", "nothing was changed")
    wrong = verify(filled).findings
    if wrong:
        raise SourceError(
            f"{filled.clean} is not whole: {wrong[0].detail}", "nothing was changed: see verify"
        )
    ends = {p: at for p in sorted(here[0].ledgered()) if (at := here[0].position(p))}
    sides = _reached(live, ends, clock)
    proof.refuse_another_life({p: sides[0].position(p) for p in ends}, ends)
    selection = proof.select(ends, window, live.coordinates)
    held = proof.keys_of(places(config, name), selection)
    none = pl.Series("key", [], dtype(live.coordinates))
    for own in selection.ranges:
        given = sum(r.read for r in here[0].held(own.of, None).ranges)
        proof.refuse_lost(own, given, sides[0], held.get(own.of, none), window)
    id_ = f"{_command(name, window, origin)} ({here[0].seen[0]}, {_digest(selection.ranges)})"
    return Staged(live, filled, selection, held, id_, (here[0].seen, here[1].seen))


def swap(
    config: Config,
    name: str,
    own: Staged,
    clock: Clock,
    reached: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Replace the live rows by the staged ones; raises as `sinks.delta.replacing.replace`."""
    clean, quarantine = places(config, name)
    return replacing.replace(
        own.id,
        own.selection,
        (clean, partial(_rows, own.tables, own.tables.clean, own.seen[0])),
        (quarantine, partial(_rows, own.tables, own.tables.quarantine, own.seen[1])),
        clock,
        reached,
    )


def places(config: Config, name: str) -> tuple[Place, Place]:
    """Return the live tables as something that can be written."""
    pipeline = config.pipeline(name)
    process = pipelines.process_of(pipeline, keep_values=False)
    targets = targets_of(
        pipelines.tables_of(config, name),
        process,
        rules=pipelines.decides(pipeline),
        where=pipelines.where_of(pipeline),
    )
    clean, quarantine = (Place(t, open_store(t.uri, config.aws)) for t in targets)
    return clean, quarantine


def drop(config: Config, uri: str) -> None:
    """Remove the staging tables: the log backwards, so that what is left is one of earlier."""
    for place_ in (uri, quarantine_of(uri)):
        store = open_store(place_, config.aws)
        store.remove(sorted(store.list("_delta_log/"), reverse=True))
        store.remove([*store.list(""), probe.KEY])


def _rows(own: Tables, uri: str, seen: tuple[str, int] | None) -> Iterator[pl.DataFrame]:
    """Yield the rows of a staging table that was proven; SinkError once another replay drops it."""
    if seen is None:
        return
    table = tables.find(uri, own.options)
    with tables.sorted_errors(uri):
        if table is None or str(table.metadata().id) != seen[0] or table.version() < seen[1]:
            raise SinkError(
                f"{uri} was removed meanwhile: another replay of the same range has ended",
                "run the same command again; nothing was changed",
            )
        reader = scan.TableReader(table, own.options)
        for path in reader.files["path"]:
            yield from reader.scan([path]).collect_batches(chunk_size=_ROWS)


def _reached(
    live: Tables, ends: dict[Partition, Position], clock: Clock
) -> tuple[Snapshot, Snapshot]:
    """Return the live tables once they are at the staged ends."""
    until = clock.monotonic() + _PATIENCE_S
    while True:
        sides = snapshots(live)
        behind = [
            f"{side.name} is at {at.number if at else 'the start'} of {p}"
            for side in sides
            for p, end in ends.items()
            for at in [side.position(p)]
            if not reaches(at, end)
        ]
        if not behind:
            return sides
        if clock.monotonic() > until:
            raise ConfigError(
                f"the live table has not read all that was replayed: {behind[0]}",
                "let its consumer catch up, and run the same command again: it goes on here",
            )
        clock.sleep(1.0)


def _command(name: str, window: Window, origin: Origin) -> str:
    """Return the command line of this replay: verify shows it when it is not finished."""
    bounds = {
        "--from-offset": window.first,
        "--until-offset": window.last,
        "--from-time": window.since and f"{window.since:%Y-%m-%dT%H:%M:%S%z}",
        "--until-time": window.until and f"{window.until:%Y-%m-%dT%H:%M:%S%z}",
    }
    words = ["pinpip", "replay", name, "--replace"]
    words += [f"{option} {value}" for option, value in bounds.items() if value is not None]
    return " ".join([*words, *(["--from-archive"] if origin.archive else [])])


def _digest(told: object) -> str:
    return hashlib.sha256(repr(told).encode()).hexdigest()[:12]
