"""The tables' part of a page, and how it joins what a consumer knows from memory."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from monitor.view import CommitView, FilesView, PipelineView, ReasonView, VerdictView

COMMITS = 20


@dataclass(frozen=True)
class LakeView:
    """What the tables of one pipeline say.

    `at`: when they were last read; None: not yet. `clean` and `quarantined`: rows.
    `first_event`: the first broker timestamp of the newest commit with records. `unknown`: why
    something is not known, by what it concerns.
    """

    at: datetime | None = None
    clean: int | None = None
    quarantined: int | None = None
    first_event: datetime | None = None
    commits: tuple[CommitView, ...] = ()
    reasons: tuple[ReasonView, ...] = ()
    files: tuple[FilesView, ...] = ()
    verdict: VerdictView | None = None
    unknown: Mapping[str, str] = field(default_factory=dict)


def merged(live: PipelineView, lake: LakeView) -> PipelineView:
    """Return what a consumer knows, with what only the tables tell; the newer of both counts."""
    commits = newest([*lake.commits, *live.commits])
    times = [at for at in (live.last_commit, *(c.at for c in commits[:1])) if at is not None]
    return replace(
        live,
        clean=lake.clean if live.clean is None else live.clean,
        quarantined=lake.quarantined if live.quarantined is None else live.quarantined,
        last_commit=max(times, default=None),
        commits=commits,
        reasons=_reasons(lake.reasons, live.reasons),
        files=live.files or lake.files,
        verdict=lake.verdict or live.verdict,
        unknown={**lake.unknown, **live.unknown},
    )


def newest(commits: Iterable[CommitView]) -> tuple[CommitView, ...]:
    """Return the newest commits, newest first, each version once."""
    by_version = {commit.version: commit for commit in commits}
    return tuple(by_version[version] for version in sorted(by_version, reverse=True)[:COMMITS])


def _reasons(lake: Iterable[ReasonView], live: Iterable[ReasonView]) -> tuple[ReasonView, ...]:
    """Join by reason: the table's rows, and the samples of whoever saw the newest record."""
    found = {own.reason: own for own in lake}
    for own in live:
        found[own.reason] = _joined(found.get(own.reason), own)
    return tuple(sorted(found.values(), key=lambda own: (-own.rows, own.reason)))


def _joined(lake: ReasonView | None, live: ReasonView) -> ReasonView:
    if lake is None:
        return live
    is_newer = live.last is not None and (lake.last is None or live.last > lake.last)
    best = live if is_newer and live.samples else lake
    last = live.last if is_newer else lake.last
    return replace(best, rows=max(lake.rows, live.rows), last=last)
