"""What is on the wire: the fields of one record type."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from core.errors import ConfigError

WIRE_TYPES = (pl.Int64(), pl.Float64(), pl.String())


@dataclass(frozen=True)
class Schema:
    """The JSON fields of a record, in wire order, and the one that no record may lack.

    A String field takes text and numbers, a Float64 field any number, an Int64 field integers.
    Raises ConfigError for another type, a name of pinpip's own (`_…`), or a key that is no field.
    """

    name: str
    key: str
    fields: Mapping[str, pl.DataType]

    def __post_init__(self) -> None:
        odd = {n: t for n, t in self.fields.items() if t not in WIRE_TYPES or n.startswith("_")}
        if odd or self.key not in self.fields:
            wrong = f"unusable fields {odd}" if odd else f"no field for its key {self.key!r}"
            raise ConfigError(
                f"schema {self.name!r} has {wrong}",
                "declare pl.Int64(), pl.Float64() or pl.String() and names without a leading '_'",
            )
