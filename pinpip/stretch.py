"""What a replay reads."""

import hashlib
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Stretch:
    """What is to be replayed: of Kafka by offsets or timestamps, of Kinesis by arrival."""

    first: int | None
    last: int | None
    since: datetime | None
    until: datetime | None

    @property
    def unbounded(self) -> bool:
        """Whether it is all that the source holds now."""
        return (self.first, self.last, self.since, self.until) == (None, None, None, None)

    @property
    def label(self) -> str:
        """A name for positions: two stretches never share a table's."""
        if self.unbounded:
            return "all"
        bounds = (self.first, self.last, self.since, self.until)
        return hashlib.sha256(repr(bounds).encode()).hexdigest()[:12]
