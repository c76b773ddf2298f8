"""The names of a table's types as Delta and Spark write them: `long`, `array<string>`."""

import polars as pl
from deltalake import Schema
from deltalake.schema import ArrayType, MapType, PrimitiveType, StructType, VariantType


def type_names(columns: pl.Schema) -> dict[str, str]:
    """Return each column's type in Delta; every column has one (see `transforms.columns`)."""
    return {field.name: _name(field.type) for field in Schema.from_arrow(columns).fields}


def _name(dtype: PrimitiveType | ArrayType | MapType | StructType | VariantType) -> str:
    if isinstance(dtype, ArrayType):
        return f"array<{_name(dtype.element_type)}>"
    if isinstance(dtype, MapType):
        return f"map<{_name(dtype.key_type)}, {_name(dtype.value_type)}>"
    if isinstance(dtype, StructType):
        return f"struct<{', '.join(f'{f.name}: {_name(f.type)}' for f in dtype.fields)}>"
    return str(dtype.type) if isinstance(dtype, PrimitiveType) else str(dtype)
