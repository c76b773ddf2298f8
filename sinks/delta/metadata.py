"""What a pipeline sets in a Delta table's metadata, in its first entry or in a later one.

The log says for which columns its files have bounds (`delta.dataSkippingStatsColumns`): delta-rs's
Arrow readers find no row by any other column in a file that has bounds of some. Source: Delta
transaction protocol, "Change Metadata"; delta-rs, `filestats_to_expression_next`.
"""

import re
from collections.abc import Iterable, Sequence

from deltalake import DeltaTable, Field, Schema
from deltalake.schema import PrimitiveType

from sinks.delta.deltalog import Action
from sinks.delta.rows import COLUMN

_PLAIN = re.compile(r"[A-Za-z_]\w*", re.ASCII)
BOUNDED = "delta.dataSkippingStatsColumns"


def configuration(bounded: Iterable[str]) -> dict[str, str]:
    """The properties of a table whose files have bounds for these columns."""
    return {BOUNDED: ",".join(map(_quoted, bounded))}


def amendment(table: DeltaTable, bounded: Sequence[str], *, names_life: bool) -> list[Action]:
    """The `metaData` action that the next entry must carry, if the table lacks what it sets.

    What another hand has set stays. `names_life`: the rows have the column of `sinks.delta.lives`.
    """
    held = table.metadata()
    fields = table.schema().fields
    lacks = names_life and COLUMN not in {field.name for field in fields}
    if BOUNDED in held.configuration and not lacks:
        return []
    added = [Field(COLUMN, PrimitiveType("string"))] if lacks else []
    return [
        {
            "metaData": {
                "id": held.id,
                "name": held.name,
                "description": held.description,
                "format": {"provider": "parquet", "options": {}},
                "schemaString": Schema([*fields, *added]).to_json(),
                "partitionColumns": held.partition_columns,
                "configuration": configuration(bounded) | held.configuration,
                "createdTime": held.created_time,
            }
        }
    ]


def bounds(table: DeltaTable, own: Sequence[str]) -> Sequence[str]:
    """The columns to write bounds of: the `own`, or none when the table's readers expect others."""
    told = table.metadata().configuration.get(BOUNDED, "")
    named = {name.strip() for name in told.split(",")}
    ours = told == configuration(own)[BOUNDED] or named <= {*own, *map(_quoted, own), ""}
    return own if ours else []


def _quoted(name: str) -> str:
    """The column as SQL spells it."""
    return name if _PLAIN.fullmatch(name) else "`" + name.replace("`", "``") + "`"
