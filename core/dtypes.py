"""Types of polars, which gives an inner type as a class where it has no parameters."""

from typing import Any

import polars as pl


def instance(dtype: Any) -> pl.DataType:
    """Return the type as an instance: `pl.Int64()` also for `pl.Int64`."""
    made: pl.DataType = dtype() if isinstance(dtype, type) else dtype
    return made
