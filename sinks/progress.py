"""How far a sink is in one partition."""

from dataclasses import dataclass, field

from pinpip.batch import Position
from sinks.ledger import Range


@dataclass
class Progress:
    """How far one partition is: `held` in the table, `seen` with what was put off."""

    held: Position | None
    seen: Position | None
    put_off: list[Range] = field(default_factory=list)
