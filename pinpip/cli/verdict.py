"""What verify says: the counts, each difference, what is not known, and the verdict in one line."""

from collections.abc import Iterable, Sequence
from typing import Any

import typer

from pinpip.cli.tables import show
from pinpip.verify.conclusion import conclusion
from pinpip.verify.verdict import Discrepancy, OpenQuestion, Verdict

_COLUMNS = ("pipeline", "read", "clean", "quarantined", "filtered", "expired", "held_back")
_RARE = ("filtered", "expired", "held_back", "accepted_gaps", "gaps")  # columns
Row = dict[str, Any]


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
    typer.echo(conclusion(verdicts))


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
