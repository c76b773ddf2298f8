"""Record types: which fields a row has, and which of them is its key."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class RecordType:
    """The fields of the rows that go to one target, their types, and the key among them.

    `longest_key`: characters that the target takes of a key, and at least one; None: no limit.
    """

    name: str
    key: str
    fields: Mapping[str, pl.DataType]
    longest_key: int | None = None
