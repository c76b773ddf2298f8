"""Record types: which fields a row has, and which of them is its key."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl


@dataclass(frozen=True)
class RecordType:
    """The fields of the rows that go to one target, their types, and the key among them.

    `longest_key`: characters that the target takes of a key, and at least one; None: no limit.
    `sent_key` is sent in place of the row's key, `key_prefix` before it: a consumer tells the types
    of one topic apart by them.
    """

    name: str
    key: str
    fields: Mapping[str, pl.DataType]
    longest_key: int | None = None
    sent_key: str | None = None
    key_prefix: str = ""

    def key_of(self, row: Mapping[str, Any]) -> Any:
        """Return the key to send with the row."""
        if self.sent_key is not None:
            return self.sent_key
        key = row[self.key]
        return f"{self.key_prefix}{key}" if self.key_prefix else key
