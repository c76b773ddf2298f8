"""Tables whose integers are narrower than the pipeline's: earlier versions made them.

They gave a column of unsigned integers the signed type of the same width. Today it gets the next
wider one (see `transforms.columns`); a table that exists goes on with the type that it has.
"""

from collections.abc import Mapping

import polars as pl
from deltalake import DeltaTable, Schema
from deltalake.schema import PrimitiveType

from core.errors import SinkError

_WIDER = {"byte": "short", "short": "integer", "integer": "long"}
_TYPES: Mapping[str, pl.DataType] = {"byte": pl.Int8(), "short": pl.Int16(), "integer": pl.Int32()}


def agreed(wanted: Mapping[str, str], held: Mapping[str, str]) -> dict[str, str]:
    """Return `wanted` with the table's type where that is the next narrower one."""
    return {n: held[n] if _WIDER.get(held.get(n, "")) == t else t for n, t in wanted.items()}


def kept(table: DeltaTable, schema: pl.Schema) -> dict[str, tuple[str, str]]:
    """Return the columns whose type stays narrower than in `schema`: (the table's, the wanted).

    Their numbers are written as the table's type, and one that does not fit stops the consumer.
    """
    wanted = {f.name: f.type for f in Schema.from_arrow(schema).fields}
    pairs = {f.name: (f.type, wanted.get(f.name)) for f in table.schema().fields}
    return {
        name: (held.type, asked.type)
        for name, (held, asked) in pairs.items()
        if isinstance(held, PrimitiveType)
        and isinstance(asked, PrimitiveType)
        and _WIDER.get(held.type) == asked.type
    }


def casts(table: DeltaTable, schema: pl.Schema) -> dict[str, pl.DataType]:
    """Return the table's type of each column of `schema` that is wider there."""
    held = {f.name: f.type.type for f in table.schema().fields if isinstance(f.type, PrimitiveType)}
    types = {name: _TYPES[t] for name, t in held.items() if t in _TYPES and name in schema}
    return {name: dtype for name, dtype in types.items() if schema[name] != dtype}


def fit(rows: pl.DataFrame, types: Mapping[str, pl.DataType], uri: str) -> pl.DataFrame:
    """Cast columns of the rows; raise SinkError for a number that the table cannot hold."""
    try:
        return rows.cast(dict(types)) if types else rows  # type: ignore[arg-type]  # by name
    except pl.exceptions.InvalidOperationError as error:
        said = " ".join(str(error).partition("\n\n")[0].split())
        raise SinkError(
            f"table {uri} was made for smaller numbers: {said}",
            "name another table in config.yaml; no row of this batch was written",
        ) from error
