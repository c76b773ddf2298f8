"""What a batch brings to one Delta table: its data file, uploaded before any entry names it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl
from deltalake.transaction import AddAction

from core.batch import Note, Partition, Rejects
from core.merge import noted
from sinks.delta import data_file
from sinks.delta.ledger import CommitRange
from sinks.storage.protocol import Store


class Upload:
    """The rows of a batch on their way to a data file that nothing refers to yet.

    `bounded`: the columns of which the log keeps bounds; `folder`: where the file goes.
    """

    def __init__(
        self, store: Store, rows: pl.DataFrame, bounded: Sequence[str], folder: str, now_ms: int
    ) -> None:
        self.file: AddAction | None = None
        self._store = store
        self._rows: pl.DataFrame | None = rows
        self._body = b""
        self._place = bounded, folder, now_ms
        self.nbytes = int(rows.estimated_size())

    def run(self) -> None:
        """Encode the rows once, and put the file; a repeat after a fault puts the same file."""
        if self._rows is not None:
            self.file, self._body = data_file.made(self._rows, *self._place)
            self._rows, self.nbytes = None, len(self._body)
        if self.file is not None and self._body:
            self._store.put_new(self.file.path, self._body, {})  # "exists": our own first try
            self._body, self.nbytes = b"", 0


@dataclass(frozen=True)
class Prepared:
    """What one batch moves and stores in one table; `rows` is None when it has none.

    `waits`: whether it may wait for a commit with rows when it has none. `gaps` are those that
    `ranges` tell of, for all sinks. `made_by`: the version of the transform, and the window of
    rejects. `form`: the `Setup.form` of the rows.
    """

    ranges: Sequence[CommitRange]
    rows: Upload | None
    notes: Mapping[Partition, Note]
    waits: bool
    gaps: Mapping[Partition, range] = field(default_factory=dict)
    event_time: tuple[datetime, datetime] | None = None
    made_by: tuple[str, Rejects | None] = ("", None)
    form: object = None

    @property
    def nbytes(self) -> int:
        """Bytes of the rows, later of their file's body, in the end none."""
        return self.rows.nbytes if self.rows else 0

    @property
    def is_news(self) -> bool:
        """Whether it cannot wait for a commit with rows."""
        return bool(self.rows or self.gaps) or not self.waits

    @property
    def files(self) -> list[AddAction]:
        """The data file, once it is uploaded."""
        return [self.rows.file] if self.rows and self.rows.file else []

    def upload(self) -> None:
        """Make the rows durable and invisible. Raises TransientError: call it again."""
        if self.rows is not None:
            self.rows.run()


@dataclass(frozen=True)
class Due:
    """What one commit moves and stores: that of consecutive batches, and what was deferred."""

    ranges: Sequence[CommitRange]
    parts: Sequence[Prepared]
    now_ms: int

    @property
    def notes(self) -> Mapping[Partition, Note]:
        """What the parts note, joined."""
        found: dict[Partition, Note] = {}
        for part in self.parts:
            found |= {p: noted(found.get(p), note) for p, note in part.notes.items()}
        return found

    @property
    def gaps(self) -> Mapping[Partition, range]:
        """The gaps of the parts; one of them at most has some, see `groups`."""
        return {p: gap for part in self.parts for p, gap in part.gaps.items()}

    @property
    def files(self) -> list[AddAction]:
        """The data files of the parts."""
        return [file for part in self.parts for file in part.files]

    @property
    def event_time(self) -> tuple[datetime, datetime] | None:
        """The first and last broker timestamp of the rows."""
        times = [part.event_time for part in self.parts if part.event_time is not None]
        return (min(t[0] for t in times), max(t[1] for t in times)) if times else None


def groups(parts: Sequence[Prepared]) -> Iterator[list[Prepared]]:
    """Yield the parts of one commit after the other: a commit stores one gap of a partition."""
    held: list[Prepared] = []
    for part in parts:
        if part.gaps and any(one.gaps for one in held):
            yield held
            held = []
        held.append(part)
    if held:
        yield held
