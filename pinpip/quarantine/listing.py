"""What is in a quarantine: by reason, or its newest records. Payloads are read of samples only."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl

from consumers.window import TIME
from core.batch import VALUE
from monitor.rejects import SHOWN_BYTES, place, printable
from pinpip.quarantine.rows import DETAIL, FILE, REASON, Choice, Quarantine
from sinks.delta.table import sorted_errors

Tell = Callable[[int, int], None]  # groups of files that were read, of so many
_START = 120  # bytes of a payload that a list shows


@dataclass
class ReasonSummary:
    """The rows with one reason: how many, the first and last broker time, and the newest one."""

    reason: str
    rows: int
    first_seen: datetime | None
    last_seen: datetime | None
    record: str = ""
    detail: str = ""
    value: str = ""

    def tree(self) -> dict[str, Any]:
        """Return it as JSON can say it."""
        return {n: v.isoformat() if isinstance(v, datetime) else v for n, v in vars(self).items()}


def by_reason(
    quarantine: Quarantine, choice: Choice, tell: Tell = lambda _done, _of: None
) -> list[ReasonSummary]:
    """Sum the chosen rows up by reason, that of most rows first."""
    where = [FILE, *quarantine.coordinates.identity]
    counted, newest = [], []
    for rows in _narrow(quarantine, choice, tell):
        by = rows.group_by(REASON)
        counted.append(by.agg(pl.len().alias("n"), low=pl.col(TIME).min(), high=pl.col(TIME).max()))
        newest.append(rows.sort(TIME, nulls_last=False).group_by(REASON).agg(pl.all().last()))
    if not counted:
        return []
    times = [pl.col("low").min(), pl.col("high").max()]
    whole = pl.concat(counted).group_by(REASON).agg(pl.col("n").sum(), *times)
    last = pl.concat(newest).sort(TIME, nulls_last=False).group_by(REASON).agg(pl.all().last())
    order = whole.sort("n", REASON, descending=[True, False])
    shown = _with_texts(quarantine, last.select(REASON, TIME, *where))
    samples = {row[REASON]: row for row in shown.iter_rows(named=True)}
    return [
        ReasonSummary(
            printable((own or "").encode()), n, low, high, **_said(quarantine, samples[own])
        )
        for own, n, low, high in order.select(REASON, "n", "low", "high").iter_rows()
    ]


def newest(
    quarantine: Quarantine, choice: Choice, most: int, tell: Tell = lambda _done, _of: None
) -> list[dict[str, Any]]:
    """Return the newest `most` of the chosen rows: metadata, reason, detail, start of the value."""
    top = pl.DataFrame()
    for rows in _narrow(quarantine, choice, tell):
        top = pl.concat([top, rows] if top.height else [rows])
        top = top.sort(TIME, descending=True, nulls_last=True, maintain_order=True).head(most)
    if top.is_empty():
        return []
    names = [TIME, *quarantine.coordinates.identity, REASON, DETAIL]
    shown = _with_texts(quarantine, top).select(*names, value=pl.col(VALUE).bin.slice(0, _START))
    return [
        row | {"value": (row["value"] or b"").decode(errors="replace")}
        for row in shown.iter_rows(named=True)
    ]


def _narrow(quarantine: Quarantine, choice: Choice, tell: Tell) -> Iterator[pl.DataFrame]:
    """Yield reason, time, coordinates and file of the chosen rows, a group of files at a time."""
    columns = [REASON, TIME, FILE, *quarantine.coordinates.identity]
    groups = quarantine.groups(choice)
    for done, paths in enumerate(groups, 1):
        with sorted_errors(quarantine.tables.quarantine):
            found = quarantine.scan(paths, choice).select(columns).collect(engine="streaming")
        tell(done, len(groups))
        if found.height:
            yield found


def _with_texts(quarantine: Quarantine, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with detail and the start of the value, in their order."""
    own = quarantine.coordinates.identity
    files, known = rows[FILE].unique(), quarantine.reader.files["path"].to_list()
    paths = [path for path in known if files.str.ends_with(path).any()]
    start = pl.col(VALUE).bin.slice(0, SHOWN_BYTES + 1)
    with sorted_errors(quarantine.tables.quarantine):
        found = quarantine.scan(paths, Choice()).join(rows.lazy(), on=own, how="semi")
        held = found.select(*own, DETAIL, start).collect(engine="streaming").unique(own)
    return rows.join(held, on=own, how="left", maintain_order="left")


def _said(quarantine: Quarantine, row: Mapping[str, Any]) -> dict[str, str]:
    return {
        "record": place(row, quarantine.coordinates),
        "detail": printable((row[DETAIL] or "").encode()),
        "value": printable(row[VALUE]),
    }
