"""The rows of a Delta table, by incarnation: the data files of each lie in a folder of their own.

Two incarnations of a pipeline may hold rows with the same coordinates (a topic that was deleted
and created again counts from 0 anew), so that only the folder tells whose a row is.
"""

import polars as pl
from deltalake import DeltaTable

FIRST = "1"
_MARK = "incarnation="


def folder_of(incarnation: str) -> str:
    """Where an incarnation's files lie below the table: the first one's beside the log."""
    return "" if incarnation == FIRST else f"{_MARK}{incarnation}/"


def files(table: DeltaTable, folder: str) -> pl.DataFrame:
    """The data files of one incarnation with their statistics (`path`, `num_records`, `min.…`)."""
    found = pl.DataFrame(table.get_add_actions(flatten=True))
    path = pl.col("path")
    return found.filter(path.str.starts_with(folder) if folder else ~path.str.contains(_MARK))


def scan(table: DeltaTable, options: dict[str, str], folder: str) -> pl.LazyFrame:
    """The rows of one incarnation."""
    own = files(table, folder)["path"]
    if own.len() == len(table.file_uris()):
        return pl.scan_delta(table, storage_options=options)
    if own.is_empty():
        return pl.scan_delta(table, storage_options=options).head(0)
    root = table.table_uri.rstrip("/")
    return pl.scan_parquet([f"{root}/{path}" for path in own], storage_options=options)
