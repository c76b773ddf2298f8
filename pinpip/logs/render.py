"""One line of the log, for programs or for people: escaped, shortened, without secrets."""

import json
import re
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from pinpip.configfile.words import SECRET

Form = Literal["json", "text", "terminal"]
MAX_TEXT = 1000  # characters of one value
MAX_ITEMS = 20  # of one list
HIDDEN = "**********"
SHORTEST_SECRET = 6  # shorter ones are words that any line may hold
_RESET, _BOLD, _DIM, _CYAN = "\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[36m"
_LEVELS = {"debug": _DIM, "info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[1;31m"}
_PLAIN = re.compile(r"[^\s\"'=\\]+")
_SIGNED = re.compile(
    r"(?P<name>://[^/@\s:]*:|\b(?:X-Amz-Security-Token|X-Amz-Signature|X-Amz-Credential|Signature)=)"
    r"[^&@\s\"',]+",
    re.IGNORECASE,
)


class Hider:
    """Takes secrets out of texts: those named to it, and what looks like one."""

    def __init__(self, secrets: Collection[str] = ()) -> None:
        known = sorted({s for s in secrets if len(s) >= SHORTEST_SECRET}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, text: str) -> str:
        """Return the text with asterisks for secrets."""
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        return _SIGNED.sub(lambda found: found["name"] + HIDDEN, text)


def cleaned(event: Mapping[str, Any], hide: Hider) -> dict[str, Any]:
    """Return the fields that are known as JSON types, each shortened and without secrets."""
    return {
        key: HIDDEN if SECRET.search(key) else _value(value, hide)
        for key, value in event.items()
        if value is not None
    }


def _value(value: object, hide: Hider) -> object:
    if isinstance(value, bool | int):
        return value
    if isinstance(value, float) and value - value == 0:
        return round(value, 3)
    if isinstance(value, list | tuple | set | frozenset):
        items = list(value)
        more = [f"… {len(items) - MAX_ITEMS} more"] if len(items) > MAX_ITEMS else []
        return [_shortened(_said(item), hide) for item in items[:MAX_ITEMS]] + more
    return _shortened(_said(value), hide)


def _said(value: object) -> str:
    try:
        return value if isinstance(value, str) else str(value)
    except Exception as error:  # noqa: BLE001  # a value that cannot be shown is no fault of the line
        return f"({type(value).__name__} without a text: {type(error).__name__})"


def _shortened(text: str, hide: Hider) -> str:
    kept = hide(text[: MAX_TEXT + 200])  # a secret may lie across the cut
    if len(text) <= MAX_TEXT:
        return kept
    return f"{kept[:MAX_TEXT]}… ({len(text):,} characters)"


def as_json(fields: Mapping[str, Any], now: datetime) -> str:
    """Return the fields as one JSON object; what no terminal should see is escaped."""
    stamp = now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return printable(json.dumps({"timestamp": stamp, **fields}, ensure_ascii=False))


def as_text(fields: Mapping[str, Any], now: datetime, *, terminal: bool, colours: bool) -> str:
    """Return time, level, event in words and the fields; on a terminal with its local time."""
    own = dict(fields)
    level, event = str(own.pop("level")), str(own.pop("event")).replace("_", " ")
    stamp = (
        now.astimezone().strftime("%H:%M:%S")
        if terminal
        else now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    )
    colour = _painter(colours=colours)
    pairs = [f"{colour(_CYAN, key)}={_pair(value)}" for key, value in own.items()]
    words = [
        colour(_DIM, stamp),
        colour(_LEVELS.get(level, ""), f"{level:<7}"),
        colour(_BOLD, printable(event)),
    ]
    return " ".join([*words, *pairs])


def _painter(*, colours: bool) -> Callable[[str, str], str]:
    def paint(code: str, text: str) -> str:
        return f"{code}{text}{_RESET}" if colours and code else text

    return paint


def _pair(value: object) -> str:
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN.fullmatch(value) and value.isprintable():
        return value
    return printable(json.dumps(value, ensure_ascii=False))


def printable(text: str) -> str:
    """Return the text with an escape for each character that steers a terminal or breaks a line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
