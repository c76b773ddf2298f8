"""Consecutive reads of one source as one."""

from collections.abc import Iterable

import polars as pl

from core.batch import Note, Partition, Records, Span


def _follow(before: Span | None, after: Span) -> Span:
    if before is None:
        return after
    if after.start != before.end or not before.end.agrees(after.end.epoch):
        raise ValueError(f"{after} does not start where {before} ends")
    return Span(before.start, after.end, before.records + after.records, before.first)


def noted(before: Note | None, after: Note) -> Note:
    """Return what two consecutive notes of a partition tell together."""
    if before is None:
        return after
    tips = [note.tip for note in (before, after) if note.tip is not None]
    gaps = before.accepted_gaps + after.accepted_gaps
    return Note(after.position, max(tips, default=None), gaps)


def merge(parts: Iterable[Records]) -> Records:
    """Consecutive reads of the same source as one; at least one is needed."""
    held = list(parts)
    frame = pl.concat([part.frame for part in held], rechunk=False)
    spans: dict[Partition, Span] = {}
    notes: dict[Partition, Note] = {}
    for part in held:
        spans |= {p: _follow(spans.get(p), span) for p, span in part.spans.items()}
        notes |= {p: noted(notes.get(p), note) for p, note in part.notes.items()}
    return Records(frame, spans, held[0].coordinates, notes)
