"""What verify says: the counts, each difference, what is not known, and the verdict in one line."""

from collections.abc import Iterator, Sequence
from typing import Any

import typer

from pinpip.cli.shared import show

DIFFERENCE = 3
NOT_KNOWN = 4
_COLUMNS = ("pipeline", "read", "clean", "quarantined", "filtered", "expired", "held_back")
Tree = dict[str, Any]


def exit_code(trees: Sequence[Tree]) -> int:
    """0: exactly once, as far as was asked; a difference outweighs what is not known."""
    if any(tree["findings"] for tree in trees):
        return DIFFERENCE
    return NOT_KNOWN if any(tree["unknown"] for tree in trees) else 0


def print_verdict(trees: Sequence[Tree], *, partitions: bool = False) -> None:
    """Print the tables that have rows, and the verdict."""
    show("Verify", [_counts(tree) for tree in trees], as_json=False)
    for title, key in (("Partitions", "by_partition"), ("Archives", "archives")):
        rows = [row for tree in trees for row in tree[key]]
        if partitions and rows:
            show(title, rows, as_json=False)
    again = [{"pipeline": t["pipeline"], **t["reread"]} for t in trees if t["reread"]]
    if again:
        show("Read again", again, as_json=False)
    for title, key in (("Differences", "findings"), ("Not known", "unknown")):
        rows = [row for tree in trees for row in _grouped(tree, key)]
        if rows:
            show(title, rows, as_json=False)
    typer.echo("; ".join([_verdict(trees), *_beside(trees)]))


def _counts(tree: Tree) -> Tree:
    shown = {key: tree[key] for key in (*_COLUMNS, "partitions")}
    return shown | {"differences": len(tree["findings"]), "not known": len(tree["unknown"])}


def _grouped(tree: Tree, key: str) -> list[Tree]:
    """One row for each thing that is said, with the first place and how many others."""
    places: dict[tuple[str, str], list[str]] = {}
    for row in tree[key]:
        places.setdefault((row.get("kind", ""), row["detail"]), []).append(row["where"])
    return [
        {"pipeline": tree["pipeline"]}
        | ({"kind": kind} if kind else {})
        | {"where": _places(where), "detail": detail}
        for (kind, detail), where in places.items()
    ]


def _places(where: Sequence[str]) -> str:
    return where[0] if len(where) == 1 else f"{where[0]} and {len(where) - 1} more"


def _verdict(trees: Sequence[Tree]) -> str:
    """Nothing is called complete of which something is not known."""
    findings, unknown = (sum(len(tree[key]) for tree in trees) for key in ("findings", "unknown"))
    kept = sum(tree["clean"] + tree["quarantined"] for tree in trees)
    if findings:
        more = f", {unknown} things are not known" if unknown else ""
        return f"{findings} differences found{more}"
    if unknown:
        return f"not known whether any are missing: {kept:,} rows, none twice"
    if any(tree["offline"] for tree in trees):
        unread = "whether the source holds unread records is not known (--offline)"
        return f"the tables agree: {kept:,} rows, none twice; {unread}"
    return f"exactly once: {kept:,} rows, none missing, none twice"


def _beside(trees: Sequence[Tree]) -> Iterator[str]:
    """Explain the counts that are not zero."""
    again = [tree["reread"] for tree in trees if tree["reread"]]
    different = any(tree["findings"] for tree in trees)
    if again and not different:
        rows = sum(row["rows"] for row in again)
        yield f"{rows:,} compared with the source, none different"
    for key, said in _NAMES.items():
        total = sum(tree[key] for tree in trees)
        if total:
            yield f"{total:,} {said}"
    filtered = {tree["transform"]: tree["filtered"] for tree in trees if tree["filtered"]}
    for transform, total in filtered.items():
        yield f"{total:,} filtered by {transform}"


_NAMES = {
    "expired": "expired unread (accepted)",
    "accepted_gaps": "stretches of shards may have expired unread (accepted)",
    "held_back": "held back behind an open transaction",
    "waiting": "not read yet",
}
