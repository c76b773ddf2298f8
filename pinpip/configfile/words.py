"""What is wrong with a configuration, in our words: where it is, which key, and what would do."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from core import config as models
from core.config import nearest
from core.config_types import BOOLEAN, Misplaced
from pinpip.configfile.document import Document, Keys, Place, spelled

SECRET = re.compile(
    r"password|secret|token|private|api_key|access_key|\.key$|\.pem$", re.IGNORECASE
)
_TAGS = {"source": {"kafka", "kinesis"}, "sinks": {"delta", "parquet"}}
_ALWAYS = {"[key]", "one text", "several texts", "a test"}  # never a key of the file
_UNIT = re.compile(r"[\d.]+ ?(us|ms|s|sec|m|min|h|d)", re.IGNORECASE)
_LONGEST = 60
Words = Callable[[Mapping[str, Any], object], str]


def explained(details: Iterable[ErrorDetails], document: Document) -> str:
    """Return pydantic's errors in one line, each once."""
    # A list counts as empty, too, when each of its items is refused.
    own = (d for d in details if d["type"] != "too_short" or not d["input"])
    return "; ".join(dict.fromkeys(_explain(detail, document) for detail in own))


def _explain(detail: ErrorDetails, document: Document) -> str:
    """Return one error of pydantic's as `place: key: what is wrong`."""
    keys = _keys(detail["loc"], document)
    error = detail.get("ctx", {}).get("error")
    if isinstance(error, Misplaced):
        keys = (*keys, *error.at)
    place = document.place(keys)
    if place is None:
        return f"{spelled(keys)}: {_said(detail)}"
    if detail["type"] == "extra_forbidden":
        return f"{place.key}: {_unknown(keys)}"
    names = ", ".join(f"${{{name}}}" for name in place.variables)
    by = f" (the value of {names})" if names else ""
    wrong = _said(detail)
    shown = "" if place.text and repr(place.text) in wrong else _shown(place, keys)
    said = f"{shown} {wrong}{by}".lstrip()
    return f"{place.at}: {spelled(keys)}: {said}" if keys else f"{place.at}: {said}"


def _keys(loc: tuple[str | int, ...], document: Document) -> Keys:
    """Return the keys of the file for pydantic's location, which names its own unions, too."""
    keys: list[str | int] = []
    before: str | int = ""
    for part in loc:
        union = "sinks" if isinstance(before, int) else before
        if part not in _ALWAYS and part not in _TAGS.get(str(union), ()):
            keys.append(part)
        before = part
    if len(keys) > 1 and keys[-1] == 0 and document.places.get(tuple(keys)) is None:
        keys.pop()  # a list of one, written without brackets
    return tuple(keys)


def _unknown(keys: Keys) -> str:
    own, known = str(keys[-1]), _known_keys()
    guess = " (a key of another section)" if own in known else nearest(own, known)
    return f"unknown key {spelled(keys)!r}{guess}"


def _known_keys() -> list[str]:
    """Every key that some section knows: enough to guess what a misspelt one meant."""
    sections = [
        s for s in vars(models).values() if isinstance(s, type) and issubclass(s, BaseModel)
    ]
    return [f.alias or name for s in sections for name, f in s.model_fields.items()]


def _shown(place: Place, keys: Keys) -> str:
    """Return the text of the file between backticks, if it is short and no secret."""
    text, secret = place.text, any(SECRET.search(str(key)) for key in keys)
    shows = text and not secret and not place.variables and len(text) <= _LONGEST
    return f"`{text}`" if shows else ""


def _said(detail: ErrorDetails) -> str:
    """Return what is wrong with the value; never in pydantic's words."""
    given, about = detail["input"], detail.get("ctx", {})
    if isinstance(about.get("error"), ValueError):
        return str(about["error"])
    if given is None and detail["type"] != "missing":
        return "has no value"
    own = _SAID.get(detail["type"])
    return own(about, given) if own else "cannot be used here"


def _text(_about: Mapping[str, Any], given: object) -> str:
    if isinstance(given, bool):
        return BOOLEAN
    if isinstance(given, (int, float)):
        return "is read as a number: quote it"
    return "must be one text, not a list or mapping"


def _number(_about: Mapping[str, Any], given: object) -> str:
    text = str(given)
    if isinstance(given, str) and _UNIT.fullmatch(text):
        return "has a unit: write a number of seconds"
    try:
        whole = isinstance(given, str) and float(text).is_integer()
    except (ValueError, OverflowError):
        whole = False
    return f"is no whole number: write {int(float(text))}" if whole else "is no number"


def _literal(about: Mapping[str, Any], given: object) -> str:
    known = re.findall(r"'([^']*)'", str(about.get("expected", "")))
    return f"is none of {', '.join(known)}{nearest(str(given), known)}"


_SAID: dict[str, Words] = {
    "missing": lambda _, __: "is missing",
    "string_type": _text,
    "int_type": _number,
    "int_parsing": _number,
    "int_parsing_size": lambda _, __: "is too large",
    "int_from_float": lambda _, __: "is no whole number",
    "float_type": _number,
    "float_parsing": _number,
    "finite_number": lambda _, __: "is no finite number",
    "greater_than": lambda about, _: f"must be more than {about['gt']:g}",
    "greater_than_equal": lambda about, _: f"must be at least {about['ge']:g}",
    "less_than": lambda about, _: f"must be less than {about['lt']:g}",
    "less_than_equal": lambda about, _: f"must be at most {about['le']:g}",
    "literal_error": _literal,
    "byte_size": lambda _, __: "is no size: write bytes, or a size such as 32MiB",
    "byte_size_unit": lambda _, __: "is no size: write bytes, or a size such as 32MiB",
    "too_short": lambda _, __: "is empty",
    "tuple_type": lambda _, __: "must be a list",
    "dict_type": lambda _, __: "must be a mapping of keys",
    "model_type": lambda _, __: "must be a mapping of keys",
    "model_attributes_type": lambda _, __: "must be a mapping of keys",
    "union_tag_not_found": lambda _, __: "must be a mapping of keys",
    "union_tag_invalid": lambda _, __: "must be a mapping of keys",
}
