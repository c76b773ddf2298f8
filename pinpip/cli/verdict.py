"""What verify says: the counts, each difference, what is not known, and the verdict in one line."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import typer

from pinpip.cli.tables import show
from pinpip.verify.verdict import Discrepancy, OpenQuestion, Verdict

DIFFERENCE = 3
NOT_KNOWN = 4
_COLUMNS = ("pipeline", "read", "clean", "quarantined", "filtered", "expired", "held_back")
_NAMES = {
    "left_out": "not taken by `where`",
    "expired": "expired unread (accepted)",
    "accepted_gaps": "stretches of shards may have expired unread (accepted)",
    "held_back": "held back behind an open transaction",
    "waiting": "not read yet",
}
_RARE = ("filtered", "expired", "held_back", "accepted_gaps", "gaps")  # columns
Row = dict[str, Any]


def exit_code(verdicts: Sequence[Verdict]) -> int:
    """Return 0 for exactly once, as far as was asked; a difference outweighs what is not known."""
    if any(verdict.findings for verdict in verdicts):
        return DIFFERENCE
    return NOT_KNOWN if any(verdict.unknown for verdict in verdicts) else 0


def print_verdict(verdicts: Sequence[Verdict], *, partitions: bool = False) -> None:
    """Print the tables that have rows, and the verdict."""
    show("Verify", [_counts(verdict) for verdict in verdicts], as_json=False, rare=_RARE)
    if partitions:
        _show("Partitions", (p.model_dump() for v in verdicts for p in v.by_partition))
        _show("Archives", (chain.model_dump() for v in verdicts for chain in v.archives))
    again = ({"pipeline": v.pipeline, **v.reread.model_dump()} for v in verdicts if v.reread)
    _show("Read again", again)
    _show("Differences", (row for v in verdicts for row in _grouped(v.pipeline, v.findings)))
    _show("Not known", (row for v in verdicts for row in _grouped(v.pipeline, v.unknown)))
    typer.echo("; ".join([_conclusion(verdicts), *_beside(verdicts)]))


def _show(title: str, rows: Iterable[Row]) -> None:
    if found := list(rows):
        show(title, found, as_json=False, rare=_RARE)


def _counts(verdict: Verdict) -> Row:
    counts = {name: getattr(verdict, name) for name in (*_COLUMNS, "partitions")}
    return counts | {"differences": len(verdict.findings), "not known": len(verdict.unknown)}


def _grouped(pipeline: str, found: Iterable[Discrepancy | OpenQuestion]) -> list[Row]:
    """Return one row for each thing that is said, with its first place and how many others."""
    places: dict[tuple[str, str], list[str]] = {}
    for one in found:
        kind = one.kind if isinstance(one, Discrepancy) else ""
        places.setdefault((kind, one.detail), []).append(one.where)
    return [
        {"pipeline": pipeline}
        | ({"kind": kind} if kind else {})
        | {"where": _places(where), "detail": detail}
        for (kind, detail), where in places.items()
    ]


def _places(where: Sequence[str]) -> str:
    return where[0] if len(where) == 1 else f"{where[0]} and {len(where) - 1} more"


def _conclusion(verdicts: Sequence[Verdict]) -> str:
    """Call nothing complete of which something is not known."""
    findings = sum(len(verdict.findings) for verdict in verdicts)
    unknown = sum(len(verdict.unknown) for verdict in verdicts)
    kept = sum(verdict.kept for verdict in verdicts)
    if findings:
        more = f", {unknown} things are not known" if unknown else ""
        return f"{findings} differences found{more}"
    if unknown:
        return f"not known whether any are missing: {kept:,} rows, none twice"
    if any(verdict.offline for verdict in verdicts):
        unread = "whether the source holds unread records is not known (--offline)"
        return f"the tables agree: {kept:,} rows, none twice; {unread}"
    return f"exactly once: {kept:,} rows, none missing, none twice"


def _beside(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """Explain the counts, where there are any."""
    again = [verdict.reread for verdict in verdicts if verdict.reread]
    if again and not any(verdict.findings for verdict in verdicts):
        rows = sum(counts.rows for counts in again)
        yield f"{rows:,} compared with the source, none different"
    for name, said in _NAMES.items():
        total = sum(getattr(verdict, name) for verdict in verdicts)
        if total:
            yield f"{total:,} {said}"
    for verdict in verdicts:
        if verdict.former_where:
            yield f"earlier commits of {verdict.pipeline} took {', '.join(verdict.former_where)}"
    filtered: Counter[str] = Counter()
    for verdict in verdicts:
        filtered[verdict.transform] += verdict.filtered - verdict.left_out
    yield from (
        f"{total:,} filtered by {transform}" for transform, total in filtered.items() if total
    )
