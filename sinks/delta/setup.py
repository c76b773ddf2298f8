"""What a sink's next entry carries for its table itself, once: its bounds, its column, its life."""

from collections.abc import Iterator, Sequence

import polars as pl
from deltalake import DeltaTable, Schema, Transaction

from sinks.delta import data_file, lives, metadata
from sinks.delta.deltalog import Action
from sinks.delta.rows import COLUMN
from sinks.delta.target import Target


class Setup:
    """The table's set-up as the next entry leaves it.

    `bounded`: the columns that get bounds. `actions`: the `metaData` action that is due, if any.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._own = data_file.bounded(target.schema, target.coordinates)
        self._begins = False
        self._names_life = False
        self.bounded: Sequence[str] = self._own
        self.actions: list[Action] = []

    def see(self, table: DeltaTable | None) -> None:
        """Find out whether this incarnation begins with the next entry, and whether rows name it.

        Call it when positions are read, and `learn` whenever the table is opened after that.
        """
        target = self._target
        if table is None:
            self._begins = target.begins or bool(target.folder)
            self._names_life = bool(target.folder)
            return
        begun = target.begins and table.transaction_version(target.app) is not None
        self._begins = target.begins and not begun
        self._names_life = lives.names(table, target.folder, begins=self._begins)

    def learn(self, table: DeltaTable) -> None:
        """Find out what this version of the table lacks."""
        self.bounded = metadata.bounds(table, self._own)
        self.actions = metadata.amendment(table, self._own, names_life=self._names_life)

    def schema(self) -> Schema:
        """The columns of a new table."""
        named: dict[str, pl.DataType] = {COLUMN: pl.String()} if self._names_life else {}
        return Schema.from_arrow(pl.Schema(dict(self._target.schema) | named))

    def configuration(self) -> dict[str, str]:
        """The properties of a new table."""
        return metadata.configuration(self._own)

    def named(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows as they are written."""
        return rows.with_columns(lives.column(self._target.folder)) if self._names_life else rows

    def begun(self, now_ms: int) -> Iterator[Transaction]:
        """The action that this incarnation began, if it does."""
        if self._begins:
            version = lives.NAMED if self._names_life else lives.UNNAMED
            yield Transaction(self._target.app, version, now_ms)

    def done(self) -> None:
        """Take note that the entry is in the log."""
        self._begins = False
        self.actions = []
