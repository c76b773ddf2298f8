"""Writes one version of the latest table: successors of some of its leaves, or of all.

The files are uploaded as they are made; nobody sees them before the entry. What a crash or a faster
follower leaves uploaded is an orphan.
"""

from collections.abc import Iterable, Iterator

import polars as pl
from deltalake import DeltaTable, Schema
from deltalake.transaction import AddAction

from core.errors import StalePosition
from core.protocols import Options
from sinks.delta import data_file, rewrite
from sinks.delta.commit_log import Action, Committed, Version
from sinks.delta.log import DeltaLog
from sinks.delta.scan import TableReader
from sinks.latest.candidates import Candidates
from sinks.latest.leaves import Leaf, bounded, cut, leaves, owners
from sinks.latest.mark import Mark
from sinks.latest.view import GONE, HELD, View
from sinks.storage.protocol import Store

KEY = "pinpipLatest"  # what a commit says of it
_LEAF = "__leaf"


class Writer:
    """One entry after the version `latest`; `schema`: the columns to write."""

    def __init__(
        self,
        view: View,
        store: Store,
        latest: DeltaTable,
        options: Options,
        schema: pl.Schema,
        now_ms: int,
    ) -> None:
        self._view = view
        self._store = store
        self._latest = latest
        self._reader = TableReader(latest, options)
        self._schema = schema
        self._now_ms = now_ms
        self._removed: list[tuple[str, int]] = []
        self._added: list[AddAction] = []

    @property
    def files(self) -> int:
        """How many files were written."""
        return len(self._added)

    def merge(self, found: Candidates) -> Iterator[None]:
        """Write the leaves that have keys of the candidates; pause after each."""
        held = leaves(self._reader.files, self._view.key)
        keys = found.keys
        of = keys.with_columns(owners(held, keys[self._view.key]).alias(_LEAF))
        for (number,), own in of.partition_by(_LEAF, as_dict=True, include_key=False).items():
            leaf = held[int(number)] if held else Leaf(None, ())
            some = found.rows.join(own, on=self._view.key, how="semi")
            self._merge(leaf, some, found.again)
            yield

    def replace_all(self, parts: Iterable[pl.DataFrame]) -> Iterator[None]:
        """Write these rows instead of all that are there; pause after each part."""
        self._removed = list(self._reader.files.select("path", "size_bytes").iter_rows())
        for part in parts:
            self._upload(part)
            yield

    def commit(self, mark: Mark, rebuilt: str | None) -> Committed | None:
        """Put the entry; None: another writer has put one since the version that was read."""
        removed = [rewrite.removal(path, size, self._now_ms) for path, size in self._removed]
        shown = {"table": mark.version, "quarantine": mark.quarantine_version, "rebuilt": rebuilt}
        entry = Version(
            "",
            self._now_ms,
            txns=mark.txns(self._now_ms),
            files=self._added,
            metadata=self._metadata(),
            removed=removed,
            about={KEY: shown},
        )
        try:
            done = DeltaLog(self._store, self._latest.version(), lambda _: None).append(entry)
        except StalePosition:  # the log was cleaned up meanwhile
            return None
        return done if isinstance(done, Committed) else None

    def _merge(self, leaf: Leaf, fresh: pl.DataFrame, again: pl.DataFrame) -> None:
        """Write the leaf with the winners among its rows and the fresh ones, if any of these won.

        The held rows of `again` take no part: the fresh ones are all that there is of their keys.
        """
        held = self._rows(leaf)
        kept = held.join(again, on=self._view.key, how="anti")
        both = [_marked(kept, held=True), _marked(fresh, held=False)]
        won = self._view.newest(pl.concat(both, how="diagonal"))
        if kept.height == held.height and won[HELD].all():
            return
        self._removed += leaf.files
        self._upload(won.remove(pl.col(GONE)))

    def _rows(self, leaf: Leaf) -> pl.DataFrame:
        rows = self._reader.scan([path for path, _ in leaf.files]).collect()
        return rows.with_columns(pl.lit(value=False).alias(GONE))

    def _upload(self, rows: pl.DataFrame) -> None:
        for part in cut(rows, self._view.key):
            written = pl.concat([pl.DataFrame(schema=self._schema), part], how="diagonal")
            file, body = data_file.made(
                written.select(self._schema.names()), bounded(self._view), "", self._now_ms
            )
            self._store.put_new(file.path, body, {})
            self._added.append(file)

    def _metadata(self) -> list[Action]:
        """Return the action that gives the table the append table's columns, if it has others."""
        own = self._latest.metadata()
        if dict(self._reader.schema) == dict(self._schema):
            return []
        return [
            {
                "metaData": {
                    "id": own.id,
                    "name": own.name,
                    "description": own.description,
                    "format": {"provider": "parquet", "options": {}},
                    "schemaString": Schema.from_arrow(self._schema).to_json(),
                    "partitionColumns": [],
                    "configuration": own.configuration,
                    "createdTime": own.created_time,
                }
            }
        ]


def _marked(rows: pl.DataFrame, *, held: bool) -> pl.DataFrame:
    return rows.with_columns(pl.lit(value=held).alias(HELD))
