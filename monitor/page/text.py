"""Numbers and times as people read them: thousands separated, with units, rounded.

The page's script formats only what it draws: the ticks and tooltips of the charts.
"""

import math
from datetime import datetime

UNKNOWN = "—"

_TIGHT = "\N{NO-BREAK SPACE}"  # between a number and its unit: no line ends there

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_STEP = 1000
_ONE_DECIMAL = 9.95  # below it a number keeps one decimal, and never reads "10.0"
_TINY = 0.05
_ALL = 100


def count(n: int | None) -> str:
    """Return 1,234,567; a dash for what is not known."""
    return UNKNOWN if n is None else f"{n:,}"


def counted(n: int | None, one: str, many: str = "") -> str:
    """Return "1 record", "1,234 records"; a dash for what is not known."""
    return UNKNOWN if n is None else f"{n:,} {one if n == 1 else many or one + 's'}"


def number(value: float | None) -> str:
    """Return a measured number: 0, <0.1, 1.2, 12, 1,234."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if 0 < value < _TINY:
        return "<0.1"
    if abs(value) < _ONE_DECIMAL:
        return f"{round(value, 1) + 0.0:.1f}".removesuffix(".0")
    return f"{value:,.0f}"


def rate(value: float | None) -> str:
    """Return "1,234 records/s"."""
    return _with_unit(number(value), "records/s")


def duration(seconds: float | None) -> str:
    """Return "<0.1 s", "1.2 s", "12 s", "3 min 20 s", "2 h 5 min", "3 d 4 h"; 0 s at the least."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    whole = round(max(seconds, 0))
    if whole < _MINUTE:
        return _with_unit(number(max(seconds, 0)), "s")
    if whole < _HOUR:
        return _two(whole, _MINUTE, "min", "s")
    minutes = round(whole / _MINUTE)
    if minutes * _MINUTE < _DAY:
        return _two(minutes, _HOUR // _MINUTE, "h", "min")
    return _two(round(whole / _HOUR), _DAY // _HOUR, "d", "h")


def ago(at: datetime, now: datetime) -> str:
    """Return "3 s ago", in whole seconds."""
    return f"{duration(round((now - at).total_seconds()))} ago"


def elapsed(since: datetime, now: datetime) -> str:
    """Return how long it has been, in whole seconds: "3 min 20 s"."""
    return duration(round((now - since).total_seconds()))


def size(value: float | None) -> str:
    """Return "0 B", "512 B", "1.4 MB", by thousands."""
    if value is None:
        return UNKNOWN
    scaled, unit = float(value), 0
    while scaled >= _STEP - 0.5 and unit < len(_UNITS) - 1:
        scaled, unit = scaled / _STEP, unit + 1
    return _with_unit(number(scaled), _UNITS[unit])


def share(part: int, whole: int) -> str:
    """Return "20 %" for the part of the whole; 0 % of nothing, 100 % of nothing but all."""
    percent = 100 * part / whole if whole else 0
    return _with_unit(">99" if part < whole and round(percent) == _ALL else number(percent), "%")


def clock(at: datetime, now: datetime) -> str:
    """Return "12:03:04 UTC", with the date in front unless it is that of `now`."""
    form = "%H:%M:%S UTC" if at.date() == now.date() else "%Y-%m-%d %H:%M:%S UTC"
    return at.strftime(form)


def full(at: datetime) -> str:
    """Return "2026-11-27 12:03:04 UTC"."""
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")


def machine(at: datetime) -> str:
    """Return the time as the attribute `datetime` takes it, in whole seconds."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def sentence(words: str) -> str:
    """Return the words with a capital and a full stop; a URI or a name in front stays as it is."""
    first = words.split(" ", 1)[0]
    whole = words[:1].upper() + words[1:] if first.isalpha() else words
    return whole if whole.endswith((".", "!", "?", "`")) else f"{whole}."


def _two(whole: int, per: int, large: str, small: str) -> str:
    """Return "3 min 20 s" of 200 seconds; the small unit is left out when it is 0."""
    most, rest = divmod(whole, per)
    first = _with_unit(f"{most:,}", large)
    return f"{first}{_TIGHT}{_with_unit(str(rest), small)}" if rest else first


def _with_unit(value: str, unit: str) -> str:
    return value if value == UNKNOWN else f"{value}{_TIGHT}{unit}"
