"""What the page says before its tables: the headline, the worst partitions, the last hour."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import groupby

from monitor.page import text
from monitor.view import Level, PageView, PartitionView, PipelineView, SeriesView

_WORST_FIRST: tuple[Level, ...] = ("bad", "warn", "unknown", "ok")
_SIGNS: dict[Level, str] = {"ok": "✓", "warn": "!", "bad": "✕", "unknown": "?"}
_NEEDS: dict[Level, tuple[str, str]] = {
    "bad": ("needs help", "need help"),
    "warn": ("needs attention", "need attention"),
    "unknown": ("has an unknown state", "have an unknown state"),
}
_SPAN = 300
SERIES = 20  # that are kept formatted: they change every five seconds, a page is made every two
_NAMED = 3
_LONGEST = 40


@dataclass(frozen=True)
class Headline:
    """Is it well, in one sentence. `until`: every record that arrived until then is committed."""

    level: Level
    sentence: str
    until: datetime | None
    title: str


@dataclass(frozen=True)
class Group:
    """The partitions of one source. `lag`: None when that of one of them is not known."""

    source: str
    partitions: int
    lag: int | None
    lag_seconds: float | None
    queryable_until: datetime | None


@dataclass(frozen=True)
class Minutes:
    """Five minutes of the last hour: the mean rate, and the highest lag."""

    at: datetime
    rate: float | None
    lag: float | None
    lag_seconds: float | None


def headline(view: PageView) -> Headline:
    """Say how the whole page is: the worst state of its pipelines, and which they are."""
    shown = view.pipelines
    if not shown:
        return Headline("unknown", "There is no pipeline here.", None, "? no pipeline · pinpip")
    level = min((p.state.level for p in shown), key=_WORST_FIRST.index)
    sentence = _all_well(shown) if level == "ok" else _not_well(shown)
    title = f"{_SIGNS[level]} {sentence.rstrip('.')} · {view.id} · pinpip"
    return Headline(level, sentence, _until(shown), title)


def worst_first(partitions: Iterable[PartitionView]) -> list[PartitionView]:
    """Return the partitions by lag, highest first; those of unknown lag come before all."""
    return sorted(partitions, key=lambda p: (-_weight(p.lag), -_weight(p.lag_seconds)))


def groups(partitions: Iterable[PartitionView]) -> list[Group]:
    """Return the partitions by source, the highest lag first."""
    ordered = sorted(partitions, key=lambda p: p.source)
    found = [_group(name, list(own)) for name, own in groupby(ordered, lambda p: p.source)]
    return sorted(found, key=lambda g: (-_weight(g.lag), -_weight(g.lag_seconds)))


@lru_cache(SERIES)
def last_hour(series: SeriesView) -> tuple[Minutes, ...]:
    """Return the points by five minutes, the newest first."""
    rows = list(zip(series.at, series.rate, series.lag, series.lag_seconds, strict=True))
    spans = groupby(rows, lambda row: row[0] // _SPAN)
    return tuple(_minutes(span * _SPAN, list(own)) for span, own in spans)[::-1]


def described(values: Sequence[float | None], unit: str) -> str:
    """Describe a chart in words: its last, lowest and highest value; one must be known."""
    found = [value for value in values if value is not None]
    say, tail = (text.duration, "") if unit == "s" else (text.number, f" {unit}")
    now = say(values[-1] if values else None)
    return f"now {now}, lowest {say(min(found))}, highest {say(max(found))}{tail}"


def known(values: Sequence[float | None]) -> bool:
    """Return whether a chart has anything to draw."""
    return any(value is not None for value in values)


def _all_well(shown: Sequence[PipelineView]) -> str:
    if len(shown) == 1:
        return f"{_brief(shown[0].name)} is well: {_brief(shown[0].state.word)}."
    return f"All {len(shown)} pipelines are well."


def _not_well(shown: Sequence[PipelineView]) -> str:
    """Name the pipelines that are not well, the worst first."""
    if len(shown) == 1:
        return f"{_brief(shown[0].name)}: {_brief(shown[0].state.word)}."
    by_level = [[p for p in shown if p.state.level == level] for level in _NEEDS]
    parts = [_needing(own) for own in by_level if own]
    (n, first), *others = parts
    return "; ".join([f"{n} of {len(shown)} pipelines {first}", *map(" ".join, others)]) + "."


def _needing(own: Sequence[PipelineView]) -> tuple[str, str]:
    """Return how many there are, and what they need and who they are."""
    named = ", ".join(f"{_brief(p.name)} ({_brief(p.state.word)})" for p in own[:_NAMED])
    more = f" and {len(own) - _NAMED} more" if len(own) > _NAMED else ""
    return str(len(own)), f"{_NEEDS[own[0].state.level][len(own) > 1]}: {named}{more}"


def _brief(name: str) -> str:
    """Shorten a name, and keep the direction of its script to itself."""
    short = name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"
    return (
        short if short.isascii() else f"\N{FIRST STRONG ISOLATE}{short}\N{POP DIRECTIONAL ISOLATE}"
    )


def _until(shown: Sequence[PipelineView]) -> datetime | None:
    known = [p.queryable_until for p in shown if p.queryable_until]
    return min(known) if len(known) == len(shown) else None


def _weight(value: float | None) -> float:
    return float("inf") if value is None else value


def _group(source: str, own: Sequence[PartitionView]) -> Group:
    lags = [p.lag for p in own if p.lag is not None]
    late = [p.lag_seconds for p in own if p.lag_seconds is not None]
    until = [p.queryable_until for p in own if p.queryable_until is not None]
    return Group(
        source,
        len(own),
        sum(lags) if len(lags) == len(own) else None,
        max(late) if len(late) == len(own) else None,
        min(until) if len(until) == len(own) else None,
    )


def _minutes(
    start: float, own: Sequence[tuple[float, float | None, float | None, float | None]]
) -> Minutes:
    _, rates, lags, late = (
        [v for v in column if v is not None] for column in zip(*own, strict=True)
    )
    return Minutes(
        datetime.fromtimestamp(start, UTC),
        sum(rates) / len(rates) if rates else None,
        max(lags, default=None),
        max(late, default=None),
    )
