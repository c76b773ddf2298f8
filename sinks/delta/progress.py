"""How far a sink is in one partition."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from core.batch import Note, Partition, Position
from sinks.delta.ledger import Range


@dataclass
class Progress:
    """How far one partition is: `held` in the table, `seen` with what was put off."""

    held: Position | None
    seen: Position | None
    put_off: list[Range] = field(default_factory=list)


@dataclass(frozen=True)
class Due:
    """What one commit moves and keeps; `gaps` are those that `ranges` tell of, for all sinks."""

    ranges: list[Range]
    notes: Mapping[Partition, Note]
    now_ms: int
    gaps: Mapping[Partition, range] = field(default_factory=dict)
