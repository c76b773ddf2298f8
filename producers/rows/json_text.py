"""Rows of a JSON text: an array of objects, or objects one after the other, as in JSON lines.

The text is decoded part by part, so its size does not matter. A key that is there twice is refused:
one of its values would be lost.
"""

import codecs
import json
from collections.abc import Iterator
from io import BufferedReader
from typing import Any

from producers.numbers import Literal
from producers.rows.inputs import MAX_ROW

PART = 256 * 1024
_EDGE = 16  # an error this near to the end of a part may be due to the end
_SPACE = " \t\r\n"

Numbered = Iterator[tuple[int | None, Any]]


def rows(stream: BufferedReader) -> Numbered:
    """Yield the line at which each element begins, and the element.

    Raises ValueError for a text that is not JSON; it names the line.
    """
    text = _Text(stream)
    if text.next() != "[":
        while text.next():
            yield text.line, text.value()
        return
    text.skip()
    while text.next() != "]":
        yield text.line, text.value()
        if text.next() == ",":
            text.skip()
        elif text.next() != "]":
            raise ValueError(f"line {text.line}: the array goes on without a comma, or ends early")
    text.skip()
    if text.next():
        raise ValueError(f"line {text.line}: more text after the array")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} is there more than once")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_float=Literal, parse_constant=float)


class _Text:
    """A part of the text, with a place in it; more is read when it is needed."""

    def __init__(self, stream: BufferedReader) -> None:
        self.line = 1
        self._read = stream.read1
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._part, self._at, self._ended = "", 0, False

    def next(self) -> str:
        """Return the next character that is not a space; empty text at the end."""
        while True:
            while self._at < len(self._part) and self._part[self._at] in _SPACE:
                self.skip()
            if self._at < len(self._part) or not self._more():
                return self._part[self._at : self._at + 1]

    def skip(self) -> None:
        """Go on to the character after the next one."""
        self.line += self._part[self._at] == "\n"
        self._at += 1

    def value(self) -> Any:
        """Return the JSON value at this place, and go on behind it."""
        while True:
            try:
                found, end = _DECODER.raw_decode(self._part, self._at)
            except json.JSONDecodeError as error:
                if not self._is_cut(error) or not self._more():
                    line = self.line + self._part.count("\n", self._at, error.pos)
                    raise ValueError(f"line {line}: not JSON: {error.msg}") from None
            except ValueError as error:  # a key that is there twice, an integer without end
                raise ValueError(f"line {self.line}: {error}") from None
            else:
                self.line += self._part.count("\n", self._at, end)
                self._at = end
                return found

    def _is_cut(self, error: json.JSONDecodeError) -> bool:
        """Whether the value may be right when the text goes on."""
        return error.msg.startswith("Unterminated") or error.pos >= len(self._part) - _EDGE

    def _more(self) -> bool:
        """Read on; False at the end of the text."""
        left = self._part[self._at :]
        if len(left) > MAX_ROW:
            raise ValueError(f"line {self.line}: a row of more than {MAX_ROW} characters")
        grown = ""
        while not grown and not self._ended:
            data = self._read(max(PART, len(left)))
            self._ended = not data
            grown = self._decoded(data)
        self._part, self._at = left + grown, 0
        return bool(grown)

    def _decoded(self, data: bytes) -> str:
        try:
            return self._decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            at = (
                self.line
                + self._part.count("\n", self._at)
                + error.object[: error.start].count(b"\n")
            )
            byte = error.object[error.start]
            raise ValueError(f"line {at}: byte 0x{byte:02x} is not UTF-8") from None
