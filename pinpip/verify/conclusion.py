"""What verify concludes: its exit code, and the verdict in one line."""

from collections import Counter
from collections.abc import Iterator, Sequence

from pinpip.verify.verdict import Verdict

DIFFERENCE = 3
NOT_KNOWN = 4
_NAMES = {
    "left_out": "not taken by `where`",
    "expired": "expired unread (accepted)",
    "accepted_gaps": "stretches of shards may have expired unread (accepted)",
    "held_back": "held back behind an open transaction",
    "waiting": "not read yet",
}


def exit_code(verdicts: Sequence[Verdict]) -> int:
    """Return 0 for exactly once, as far as was asked; a difference outweighs what is not known."""
    if any(verdict.findings for verdict in verdicts):
        return DIFFERENCE
    return NOT_KNOWN if any(verdict.unknown for verdict in verdicts) else 0


def conclusion(verdicts: Sequence[Verdict]) -> str:
    """Return the verdict in one line, with the counts that explain it."""
    return "; ".join([_result(verdicts), *_beside(verdicts)])


def _result(verdicts: Sequence[Verdict]) -> str:
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
        if verdict.unarchived:
            pace = f"written every {max(verdict.flushed, default=0.0):g} s"
            yield f"{verdict.unarchived:,} of {verdict.pipeline} not in the archive yet ({pace})"
        late = [chain for chain in verdict.archives if chain.begins_late]
        if late:
            first = f"{late[0].partition} before {late[0].start}"
            more = f" and {len(late) - 1} others" if late[1:] else ""
            yield f"the archive of {verdict.pipeline} no longer has: {first}{more} (not known)"
        if verdict.latest and verdict.latest.version is not None:
            shown, behind = verdict.latest, f", {verdict.latest.behind:,} commits behind"
            yield f"{shown.rows:,} latest rows of {verdict.pipeline}{behind * bool(shown.behind)}"
        if verdict.former_where:
            yield f"earlier commits of {verdict.pipeline} took {', '.join(verdict.former_where)}"
    filtered: Counter[str] = Counter()
    for verdict in verdicts:
        filtered[verdict.transform] += verdict.filtered - verdict.left_out
    yield from (
        f"{total:,} filtered by {transform}" for transform, total in filtered.items() if total
    )
