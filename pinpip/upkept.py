"""What `pinpip maintain` did to a table or an archive, or would do."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from sinks.delta.compaction import Compacted

Tell = Callable[[int], None]  # files that were merged


@dataclass
class Upkeep:
    """What was done to one table, or would be: `merged` files of `merged_bytes` became `made`.

    Of an archive: `table` is its URI, `files` its objects, `removed` those that were kept for long
    enough; nothing is merged.
    `rows` and `made` are 0 for a plan. `version`: of the table, at the start; None: no table.
    `removed`: files that nobody needs any more. `checkpoint`: whether one was due. `notes`: what
    was left, and why.
    """

    pipeline: str
    table: str
    version: int | None
    files: int = 0
    small: int = 0
    merged: int = 0
    merged_bytes: int = 0
    rows: int = 0
    made: int = 0
    made_bytes: int = 0
    commits: int = 0
    removed: int = 0
    checkpoint: bool = False
    sorted_by: Sequence[str] = ()
    notes: list[str] = field(default_factory=list)
    kind: Literal["table", "archive"] = "table"

    def count(self, done: Compacted) -> None:
        """Count what one commit did."""
        self.merged += done.files
        self.merged_bytes += done.bytes
        self.rows += done.rows
        self.made += done.new_files
        self.made_bytes += done.new_bytes
        self.commits += 1

    def tree(self) -> dict[str, Any]:
        """Return it as JSON can say it."""
        return asdict(self)
