"""What verify's last verdict still says of the tables as they are now."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from core.errors import PinpipError
from monitor.view import Level, VerdictView
from pinpip.verify import record
from pinpip.verify.conclusion import DIFFERENCE, NOT_KNOWN
from pinpip.verify.record import FAILED, Record
from pinpip.verify.verdict import TableSeen
from sinks.delta.target import Tables
from sinks.storage.store import of_table

_SKEW = timedelta(minutes=5)  # between the clocks of two machines
_LEVELS: Mapping[int, Level] = {0: "ok", FAILED: "bad", DIFFERENCE: "bad", NOT_KNOWN: "unknown"}
NEVER = "never verified; next: pinpip verify"


def last_verdict(
    tables: Tables, now: Sequence[TableSeen], at: datetime, rows: int | None
) -> tuple[VerdictView | None, str]:
    """Return verify's last verdict on a pipeline's `tables`, or None and why there is none.

    `now`: the versions that the tables have at `at`; empty: not known. `rows`: how many rows both
    have then, those of other incarnations included; None: not known.
    """
    try:
        found = record.read(of_table(tables.clean, tables.options))
    except PinpipError as error:
        return None, f"{error.message}; next: {error.hint}"
    return (None, NEVER) if found is None else (view(found, tables.app, now, at, rows), "")


def view(
    last: Record, app: str, now: Sequence[TableSeen], at: datetime, rows: int | None
) -> VerdictView:
    """Return the verdict as the page and the report show it, with what it does not cover.

    `app`: the pipeline's incarnation; `now`, `at` and `rows` as in `last_verdict`. It is "ok" only
    where it covers every commit of both tables and the source.
    """
    gaps = list(_uncovered(last, app, now))
    if not gaps and None not in {rows, last.rows} and rows != last.rows:
        gaps.append(
            f"verify counted {last.rows:,} rows, the tables have {rows:,} with those of others"
        )
    gaps += _doubts(last, at)
    level: Level = _LEVELS.get(last.exit_code, "unknown")
    if level == "ok" and gaps:
        level = "unknown"
    findings = (*last.findings, *_more(last.findings_total, last.findings, "differences"))
    unknown = (*last.unknown, *_more(last.unknown_total, last.unknown, "things not known"))
    return VerdictView(last.at, level, "; ".join([last.verdict, *gaps]), (*findings, *unknown))


def _more(total: int, kept: Sequence[str], what: str) -> Iterator[str]:
    if total > len(kept):
        yield f"and {total - len(kept):,} more {what}"


def _uncovered(last: Record, app: str, now: Sequence[TableSeen]) -> Iterator[str]:
    """Yield what the tables hold now and verify did not see."""
    if last.app != app:
        yield f"this was {last.app}, and {app} was not verified yet"
        return
    before = {seen.table: seen for seen in last.tables}
    for stage in sorted(before.keys() - {table.table for table in now}):
        yield f"whether there were commits to the {stage} since is not known"
    for table in now:
        yield from _since(before.get(table.table), table)


def _since(before: TableSeen | None, now: TableSeen) -> Iterator[str]:
    commits = now.version + 1 if before is None else now.version - before.version
    if before is not None and before.id != now.id:
        yield f"the {now.table} was re-created since: it is not verified"
    elif commits < 0:
        yield f"verify read a later version of the {now.table} than this"
    elif commits:
        words = "1 commit" if commits == 1 else f"{commits:,} commits"
        yield f"not verified yet: the last {words} to the {now.table}"


def _doubts(last: Record, at: datetime) -> Iterator[str]:
    if last.options.offline:
        yield "a run with --offline is not a full proof"
    if last.at > at + _SKEW:
        yield f"its time is in the future of this machine's clock, {at:%Y-%m-%d %H:%M} UTC"
