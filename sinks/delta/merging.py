"""Columns of a pipeline's declaration that its table lacks: the next entry adds them.

The entry that names the first rows with the column also has the metadata with it, so there are
never rows without a column, nor a column of a writer that did not come to write. Files from before
lack the column: every reader returns null there. Source: Delta transaction protocol, "Change
Metadata", "Data Files".
"""

from collections.abc import Collection, Sequence

import polars as pl
from deltalake import Field, Schema

from core.batch import RESCUED
from core.errors import SinkError
from sinks.delta.target import DeltaTarget

MARK = "pinpip.pipeline"  # in the metadata of a column: the app id that added it


def missing(held: Collection[str], target: DeltaTarget) -> set[str]:
    """Return the columns to add to a table that has the columns `held`.

    Only the clean table gets some, and none of the metadata columns: a table without these is
    another's. Raises SinkError for a name that differs from one of the table's by case alone.
    """
    if target.stage != "clean":
        return set()
    added = set(target.schema) - set(held) - {*target.coordinates.metadata, RESCUED}
    names = {name.lower(): name for name in held}
    for name in sorted(added):
        if name.lower() in names:
            raise SinkError(
                f"table {target.uri} has the column {names[name.lower()]}: {name} cannot be added",
                "rename it in the transform: names in a Delta table do not differ by case alone",
            )
    return added


def merged(fields: Sequence[Field], target: DeltaTarget) -> list[Field]:
    """Return the table's fields with those to add, each where the declaration has it."""
    found = list(fields)
    added = missing([field.name for field in fields], target)
    before = ""
    for name in target.schema:
        if name in added:
            names = [field.name for field in found]
            found.insert(names.index(before) + 1 if before in names else 0, _field(name, target))
        before = name
    return found


def _field(name: str, target: DeltaTarget) -> Field:
    [own] = Schema.from_arrow(pl.Schema({name: target.schema[name]})).fields
    return Field(name, own.type, nullable=True, metadata={MARK: target.app})
