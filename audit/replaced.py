"""Check that each replacement of rows is in the clean table and in its quarantine."""

from audit.invariants import Finding, FindingKind, Unknown
from audit.snapshot import Snapshot

# What one looks like that is in the clean table alone: records in both tables, or in neither.
EFFECTS = {FindingKind.DUPLICATE, FindingKind.MISSING, FindingKind.SURPLUS, FindingKind.BEHIND}


def check(clean: Snapshot, quarantine: Snapshot) -> tuple[list[Finding], list[Unknown]]:
    """Return what is unfinished, or was committed while the tables were opened."""
    if clean.replaced > quarantine.replaced:
        told = (entry.replacement for _, entry in clean.commits() if entry.replacement)
        detail = (
            f"{clean.name}: a replacement of rows ({next(told, 'its entry has expired')}) is not in"
            f" {quarantine.name} yet: run its command again, then verify; until then records may be"
            " in both tables or in neither"
        )
        return [Finding(FindingKind.UNFINISHED, None, detail)], []
    if clean.replaced < quarantine.replaced:
        detail = f"{clean.name}: rows were replaced while it was read: verify again"
        return [], [Unknown(None, detail)]
    return [], []
