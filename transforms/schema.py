"""What is on the wire: the fields of one record type."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl

from core.batch import RESCUED
from core.errors import ConfigError
from transforms.coerce import Coerce, coercer
from transforms.wire import ROW, Reading, readings

WIRE_TYPES = (
    pl.Int64(),
    pl.Float64(),
    pl.String(),
    pl.Boolean(),
    pl.Float32(),
    pl.Date(),
    pl.Binary(),
)
_KEY_TYPES = (pl.Int64(), pl.Float64(), pl.String(), pl.Date(), pl.Decimal)
_KNOWN = (
    "declare pl.Int64(), pl.Float64(), pl.Float32(), pl.String(), pl.Boolean(), pl.Date(),"
    " pl.Decimal(precision, scale), pl.Binary(), or pl.List(…) and pl.Struct({…}) of these, and"
    " names without a leading '_'"
)


@dataclass(frozen=True)
class Schema:
    """The JSON fields of a record, in wire order, and the one that no record may lack.

    What each type takes: docs/transforms.md. A value that its field does not take is in `_rescued`.
    `whole_floats`: an Int64 takes a float that is a whole number below 2^53, as `4.0`; False is how
    version 0.1 read. Raises ConfigError for another type, a name that is reserved (`_…`), or a key
    that is no field or of a type that no key has.
    """

    name: str
    key: str
    fields: Mapping[str, pl.DataType]
    whole_floats: bool = True

    def __post_init__(self) -> None:
        odd = {n: t for n, t in self.fields.items() if n.startswith("_") or not is_known(t)}
        if odd or self.key not in self.fields:
            wrong = f"unusable fields {odd}" if odd else f"no field for its key {self.key!r}"
            raise ConfigError(f"schema {self.name!r} has {wrong}", _KNOWN)
        if not any(self.fields[self.key] == dtype for dtype in _KEY_TYPES):
            raise ConfigError(
                f"schema {self.name!r} has a key of type {self.fields[self.key]}",
                "a key is an Int64, Float64, String, Date or Decimal",
            )

    @cached_property
    def coercers(self) -> Mapping[str, Coerce]:
        """From the JSON value of each field to its value."""
        own = self.whole_floats
        return {name: coercer(dtype, whole_floats=own) for name, dtype in self.fields.items()}

    @cached_property
    def readings(self) -> tuple[Reading, ...]:
        """How a batch is read at once: as it is, then with integers as floats."""
        return readings(self.fields, self.key, whole_floats=self.whole_floats)

    @cached_property
    def no_rows(self) -> pl.DataFrame:
        """A frame with the columns of decoded rows: `ROW`, the fields, `_rescued`."""
        return pl.DataFrame(schema={ROW: pl.UInt32(), **self.fields, RESCUED: pl.String()})

    @cached_property
    def has_decimals(self) -> bool:
        """Whether the text of each number is needed."""
        return any(map(self.is_decimal, self.fields))

    def is_decimal(self, name: str) -> bool:
        """Whether the field is, or contains, a Decimal."""
        return any(dtype == pl.Decimal for dtype in _leaves(self.fields[name]))


def is_known(dtype: Any) -> bool:
    """Whether a field, or a part of one, may have the type."""
    if isinstance(dtype, pl.List):
        return is_known(dtype.inner)
    if isinstance(dtype, pl.Struct):
        return bool(dtype.fields) and all(is_known(field.dtype) for field in dtype.fields)
    return isinstance(dtype, pl.Decimal) or dtype in WIRE_TYPES


def _leaves(dtype: Any) -> Iterator[Any]:
    if isinstance(dtype, pl.List):
        yield from _leaves(dtype.inner)
    elif isinstance(dtype, pl.Struct):
        for field in dtype.fields:
            yield from _leaves(field.dtype)
    else:
        yield dtype
