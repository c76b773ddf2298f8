"""The table of latest rows under verify, of a pipeline with `mode: upsert`."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pinpip.verify.verdict import Discrepancy, LatestCounts, OpenQuestion

if TYPE_CHECKING:
    from audit.latest import Watch
    from core.config import Config


@dataclass(frozen=True)
class LatestExamined:
    """What was found; no `counts` without such a table."""

    counts: LatestCounts | None = None
    findings: list[Discrepancy] = field(default_factory=list)
    unknown: list[OpenQuestion] = field(default_factory=list)


def examine_latest(config: "Config", name: str, watch: "Watch") -> LatestExamined:
    """Compare the table of latest rows of the pipeline `name`, if it has one."""
    if not config.pipeline(name).is_upsert:
        return LatestExamined()
    from audit.latest import compare
    from core.pipeline import latest_of
    from pinpip.latest import view_of
    from pinpip.pipelines import tables_of

    own = tables_of(config, name)
    found = compare(view_of(config.pipeline(name)), own, latest_of(own.clean), watch)
    return LatestExamined(
        LatestCounts(rows=found.rows, version=found.version, behind=found.behind),
        [
            Discrepancy(kind=str(one.kind), where=f"latest {one.key}", detail=one.detail)
            for one in found.findings
        ],
        [OpenQuestion(where="latest", detail=found.unknown)] if found.unknown else [],
    )
