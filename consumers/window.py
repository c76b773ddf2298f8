"""The stretch of time that the bounded sources of both kinds share."""

from datetime import datetime

import polars as pl

TIME = "_timestamp"


def between(rows: pl.DataFrame, since: datetime | None, until: datetime | None) -> pl.DataFrame:
    """The rows whose `_timestamp` is in [since, until); None leaves that side open."""
    if since is not None:
        rows = rows.filter(pl.col(TIME) >= since)
    if until is not None:
        rows = rows.filter(pl.col(TIME) < until)
    return rows
