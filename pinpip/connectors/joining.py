"""History before a live table: what the topic no longer holds, so that its consumer reads the rest.

Objects of a connector do not tell the topic's id. So the last record of each partition is compared
with the topic's, as far as that still holds it, and the history must reach what the topic holds.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import polars as pl

from audit.verify import snapshots
from consumers.archive.pieces import Piece
from consumers.window import Window
from core.batch import KAFKA, VALUE, Partition, Position
from core.clock import Clock
from core.config import Config
from core.errors import ConfigError, RecordsExpired, SourceError, TopicRecreated
from core.origins import Begin, Start
from core.protocols import Source
from pinpip import pipelines
from pinpip.connectors import connector_of
from pinpip.connectors.connect import History, history_of, source_of
from pinpip.connectors.protocol import Replay, Row, Watermarks

_PATIENCE_S = 60.0  # for the broker to give one record of each partition
_INTO = "import into a table of its own with --into"


def before_live(config: Config, name: str, place: str, window: Window, clock: Clock) -> Replay:
    """Open what the live tables of `name` still need from `place`, up to the topic's first offsets.

    Raises ConfigError for a table that begins later, TopicRecreated for another topic of that name,
    RecordsExpired for offsets that neither holds, SourceError where this cannot be told.
    """
    if not window.is_unbounded:
        raise ConfigError("a live table takes the whole history", f"for a range {_INTO}")
    history = history_of(config, name, place, window)
    connector = connector_of(config, name, clock)
    marks = connector.watermarks()
    _refuse_apart(history, marks)
    _refuse_another(history, marks, connector.bounded(), clock)
    firsts, lows = history.firsts, {p: low for p, (low, _) in marks.items()}
    begins = {p: min(firsts.get(p, low.number), low.number) for p, low in lows.items()}
    ends = {p: low for p, low in lows.items() if begins[p] < low.number}
    _refuse_begun(config, name, {p: begins[p] for p in ends})
    needed = replace(history, pieces={p: _dated(history.pieces[p], lows[p]) for p in ends})
    starts = _starts(marks, begins)
    return Replay(
        source_of(config, name, needed, window, clock, ends=ends, starts=starts),
        sum(low.number - begins[p] for p, low in ends.items()),
        lambda: _lacking(begins),
        dict(ends),
        f"the topic holds the rest: its consumer goes on there (pinpip consume {name})",
    )


def _dated(pieces: Sequence[Piece], low: Position) -> list[Piece]:
    """Return the pieces as those of the topic that is there now."""
    return [replace(own, end=replace(own.end, epoch=low.epoch)) for own in pieces]


def _refuse_apart(history: History, marks: Watermarks) -> None:
    """Refuse a history that ends before the topic begins, or after it ends."""
    gaps = []
    for partition, end in sorted(history.ends.items()):
        if partition not in marks or end > marks[partition][1].number:
            held = f"{marks[partition][1].number} offsets" if partition in marks else "no partition"
            raise TopicRecreated(
                f"the history of {partition} ends at offset {end}, the topic has {held}: it is "
                "another topic of that name, or has lost records",
                _INTO,
            )
        low = marks[partition][0].number
        if end < low:
            gaps.append(f"{end} to {low - 1} of {partition}")
    if gaps:
        raise RecordsExpired(
            f"neither the history nor the topic holds offsets {', '.join(gaps)}",
            f"add the connector's objects that hold them, or {_INTO}",
        )


def _refuse_another(history: History, marks: Watermarks, topic: Source, clock: Clock) -> None:
    """Compare the last records of each partition with the topic's, where that still holds them."""
    shared = {
        p: range(max(end - len(history.last[p]), marks[p][0].number), end)
        for p, end in history.ends.items()
    }
    shared = {p: offsets for p, offsets in shared.items() if offsets}
    found = _records(topic, shared, clock)
    for partition, offsets in sorted(shared.items()):
        kept = dict(zip(reversed(offsets), reversed(history.last[partition]), strict=False))
        for offset in offsets:
            if offset not in found[partition]:
                raise SourceError(
                    f"the topic has no record at offset {offset} of {partition}, the history has "
                    "one: whether it is the same topic cannot be told",
                    f"the topic may be compacted or transactional: {_INTO}",
                )
            if _content(found[partition][offset]) != _content(kept[offset]):
                raise TopicRecreated(
                    f"offset {offset} of {partition} is another record in the topic than in the "
                    "history: the topic was deleted and created again, or the offsets differ",
                    _INTO,
                )


class _Starter:
    """A listener that reads each partition from one record on."""

    def __init__(self, source: Source, ranges: Mapping[Partition, range]) -> None:
        self._source, self._ranges = source, ranges

    def assigned(self, partitions: Collection[Partition]) -> None:
        ours = {p: Position(self._ranges[p].start) for p in partitions if p in self._ranges}
        self._source.seek(ours)

    def revoked(self, partitions: Collection[Partition]) -> None:
        """Never called: a bounded source joins no group."""


def _records(
    topic: Source, ranges: Mapping[Partition, range], clock: Clock
) -> dict[Partition, dict[int, bytes | None]]:
    """Return the values that the topic has at these offsets, by offset."""
    found: dict[Partition, dict[int, bytes | None]] = {p: {} for p in ranges}
    left = set(ranges)
    deadline = clock.monotonic() + _PATIENCE_S
    if not left:
        return found
    topic.open(_Starter(topic, ranges))
    with closing(topic):
        while left and clock.monotonic() < deadline:
            records = topic.poll(1.0)
            for partition, span in records.spans.items() if records else ():
                own = records.frame.filter(KAFKA.of(partition)) if records else pl.DataFrame()
                found[partition] |= dict(own.select(KAFKA.number, VALUE).iter_rows())
                if span.end.number >= ranges[partition].stop:
                    left.discard(partition)
    return found


def _content(value: bytes | None) -> Any:
    """Return the JSON value without nulls, which the connector may add; other bytes as they are."""
    try:
        return _without_nulls(json.loads(value or b"null"))
    except ValueError:
        return value


def _without_nulls(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: _without_nulls(v) for name, v in tree.items() if v is not None}
    return [_without_nulls(v) for v in tree] if isinstance(tree, list) else tree


def _refuse_begun(config: Config, name: str, begins: Mapping[Partition, int]) -> None:
    """Refuse a table that begins after the history: no row can be added before its first one."""
    clean, _ = snapshots(pipelines.tables_of(config, name))
    for partition, first in sorted(begins.items()):
        if clean.position(partition) is None:
            continue
        origin = clean.held(partition, None).origin
        if origin is None or origin.number > first:
            at = "an offset that it does not tell" if origin is None else f"offset {origin.number}"
            raise ConfigError(
                f"{clean.name} begins at {at} of {partition}, the history at {first}: a table "
                "cannot begin earlier afterwards",
                f"{_INTO}, or into an empty live table",
            )


def _starts(marks: Watermarks, begins: Mapping[Partition, int]) -> dict[str, Start]:
    """Say that the pipeline begins with the history."""
    starts = {}
    for source in {p.source for p in marks}:
        own = {p: ends for p, ends in marks.items() if p.source == source}
        epoch = next(iter(own.values()))[1].epoch
        firsts = {p: Position(begins[p], epoch=epoch) for p in own}
        found = {p: Begin(firsts[p], own[p][1], firsts[p], firsts[p]) for p in own}
        starts[source] = Start(found, epoch)
    return starts


def _lacking(begins: Mapping[Partition, int]) -> list[Row]:
    """List what was before the history and the topic."""
    return [
        {"partition": str(p), "first_offset": first, "expired": first}
        for p, first in sorted(begins.items())
        if first
    ]
