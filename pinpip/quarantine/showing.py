"""One rejected record whole, and what becomes of it today."""

import json
from io import BytesIO
from typing import Any

import polars as pl

from core.batch import VALUE
from core.config import Config
from core.errors import FatalError
from pinpip.export.formats import Format
from pinpip.export.rows import write
from pinpip.inspection import record_of
from pinpip.pipelines import tables_of
from pinpip.quarantine.again import WHY, Judged, judge_of
from pinpip.quarantine.export import tree
from pinpip.quarantine.rows import DETAIL, REASON, VERSIONS, opened


def shown(config: Config, name: str, record: str) -> dict[str, Any]:
    """Return the row of a record as JSON can say it, with what `today` says.

    `headers` is null: the quarantine does not have them. Raises ValueError for a `record` that
    names none, FatalError for one that is not in the quarantine.
    """
    tables = tables_of(config, name)
    partition, stretch = record_of(config, name, record, tables.coordinates)
    found = opened(config, name)
    rows = pl.DataFrame() if found is None else found.one(partition, stretch)
    if found is None or rows.is_empty():
        raise FatalError(
            f"{partition}:{record.rpartition(':')[2]} is not in {tables.quarantine}",
            f"pinpip inspect {name} --offset {record} tells where it is",
        )
    if rows.height > 1:
        sub = rows.row(0, named=True)[str(tables.coordinates.sub)]
        raise FatalError(
            f"{rows.height} records in the quarantine have this sequence number",
            f"name one by its sub-sequence: {record}.{sub}",
        )
    names = [*tables.coordinates.metadata, REASON, DETAIL, *VERSIONS, VALUE]
    row = rows.select(names).row(0, named=True)
    today = _said(judge_of(config, name, tables)(rows))
    return tree(row) | {"bytes": len(row[VALUE] or b""), "headers": None, "today": today}


def _said(judged: Judged) -> dict[str, Any]:
    """Return whether the record passes today, and its row of the clean table or what is wrong."""
    if judged.clean.height:
        told = BytesIO()
        write(Format.JSON, judged.clean.schema, [judged.clean], told)
        return {"passes": True, "row": json.loads(told.getvalue())[0]}
    if judged.rejected.height:
        row = judged.rejected.row(0, named=True)
        return {"passes": False, "reason": row[REASON], "detail": row[DETAIL]}
    return {"passes": False, "reason": "left out", "detail": judged.left.item(0, WHY)}
