"""What a report says of itself and of its data: how fresh they are, and whether verified."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

Level = Literal["ok", "unknown", "bad"]


@dataclass(frozen=True)
class TableFacts:
    """One pipeline's tables as they were read; None: not known, `unknown` may say why.

    `rows`, `quarantined`: of the table and its quarantine. `committed`: the newest commit's time.
    `newest`: the newest record's, at the broker. `verdict`: verify's last one, `level` what it is
    worth for these rows, `verified` its time. Times are UTC.
    """

    pipeline: str
    kind: str
    rows: int | None = None
    quarantined: int | None = None
    committed: datetime | None = None
    newest: datetime | None = None
    level: Level = "unknown"
    verdict: str = ""
    verified: datetime | None = None
    findings: Sequence[str] = ()
    unknown: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """The head of a report. `id`: the configuration's; `missing`: record types without a table."""

    id: str
    version: str
    made: datetime
    tables: Sequence[TableFacts]
    missing: Collection[str] = ()

    @property
    def level(self) -> Level:
        """The worst level of a table: the report is worth no more."""
        levels = {table.level for table in self.tables}
        if "bad" in levels:
            return "bad"
        return "ok" if levels == {"ok"} else "unknown"
