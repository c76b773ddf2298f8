"""Values as people read them: numbers with separators, times in UTC, texts that do nothing."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

# Control characters are no text, and marks of direction could turn the text around them.
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SCALES = ((10**9, "B"), (10**6, "M"), (10**3, "k"))
_SHORT = 100_000  # numbers below it have at most six characters
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_NAMED = 3


def plain(text: str) -> str:
    """Return a record's text in one line, control characters and marks of direction replaced."""
    return _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", " ".join(text.split()))


def exact(value: Any, name: str = "") -> str:
    """Return a value of an answer as its table shows it; years have no separators."""
    if value is None:
        return ""
    if isinstance(value, str):
        return plain(value)
    if name.endswith("year"):
        return str(value)
    whole = int(value) if value == int(value) else value
    return f"{whole:,}"


def short(value: float) -> str:
    """Return a number in six characters or so, for a chart: 12,500, 136k, 12.3M."""
    if abs(value) < _SHORT:
        return exact(value)
    for scale, letter in _SCALES:
        if abs(value) >= scale * 0.9995:  # 999,600 is 1M
            scaled = value / scale
            digits = max(0, 2 - (len(f"{abs(scaled):.0f}") - 1))
            rounded = f"{scaled:.{digits}f}"
            return (rounded.rstrip("0").rstrip(".") if digits else rounded) + letter
    return exact(value)


def width(text: str) -> int:
    """Return how many columns a text takes: two for a wide character."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def cut(text: str, columns: int) -> str:
    """Return the text, ended by an ellipsis when it takes more columns."""
    if width(text) <= columns:
        return text
    kept, room = "", columns - 1
    for character in text:
        room -= width(character)
        if room < 0:
            break
        kept += character
    return kept.rstrip() + "…"


def listed(names: Iterable[str]) -> str:
    """Return names as a list in a sentence: three at most, and how many others."""
    all_: Sequence[str] = list(names)
    if len(all_) > _NAMED + 1:
        return f"{', '.join(all_[:_NAMED])} and {len(all_) - _NAMED:,} more"
    return " and ".join(filter(None, [", ".join(all_[:-1]), *all_[-1:]]))


def counted(number: int, word: str, plural: str = "") -> str:
    """Return a number with its noun: 1 country, 2,047 countries."""
    return f"{number:,} {word if number == 1 else plural or f'{word}s'}"


def time(at: datetime) -> str:
    """Return a time to the second."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def age(at: datetime, now: datetime) -> str:
    """Return how long ago a time was, in its largest unit."""
    seconds = int((now - at).total_seconds())
    if seconds < 0:
        return "in the future"
    for unit, word in ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute")):
        if seconds >= unit:
            return f"{counted(seconds // unit, word)} ago"
    return f"{counted(seconds, 'second')} ago"
