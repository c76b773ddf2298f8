"""Keeps a table of the latest row per key beside an append table, by following its log.

One step: (1) read which files were added or replaced since the versions that the latest table has
stored, (2) find the candidates in them, (3) read the leaves of their keys and upload what becomes
of them, (4) put one entry that removes those leaves, adds their successors and stores the new
versions, as the entry after the one that was read. If another follower put that entry first,
nothing was done. So each version of the latest table is the view of one version of the append table
and the quarantine, and it needs no other memory.
"""

import polars as pl
from deltalake import DeltaTable, Schema

from core.clock import Clock
from core.errors import TransientError
from sinks.delta import rewrite, setup
from sinks.delta import table as tables
from sinks.delta.commit_log import LONGEST_COMMIT
from sinks.delta.target import Tables
from sinks.latest.leaves import bounded
from sinks.latest.step import Attempt, IsOver, Step
from sinks.latest.view import View
from sinks.storage.protocol import Store

KEPT = {"delta.deletedFileRetentionDuration": "interval 1 hours"}  # each step replaces files


class Follower:
    """Follows the tables of one pipeline into the table at `uri`, whose files are in `store`."""

    def __init__(self, view: View, own: Tables, uri: str, store: Store, clock: Clock) -> None:
        self._view = view
        self._own = own
        self._uri = uri
        self._store = store
        self._clock = clock

    def step(self, is_over: IsOver = lambda: False, rest: float = 0.0) -> Step:
        """Follow what was committed meanwhile, or a part of it; nothing at all once `is_over`.

        `rest`: do nothing if another follower did something within so many seconds.

        Raises ConfigError when the append table lacks the key or the order, SinkError when a table
        cannot be read or written, TransientError when a store does not answer.
        """
        clean = tables.find_own(self._own.clean, self._own.options, self._own.coordinates)
        if clean is None:
            return Step()
        self._view.check(pl.Schema(clean.schema()))
        latest, began = self._latest(clean), self._clock.now()

        def ends() -> bool:
            # Upkeep takes a file that nobody named for so long for an orphan (`delta.vacuum`).
            return is_over() or self._clock.now() - began >= LONGEST_COMMIT

        attempt = Attempt(self._view, self._own, self._store, latest, self._now_ms(), ends)
        return attempt.run(clean, round(rest * 1000))

    def _latest(self, clean: DeltaTable) -> DeltaTable:
        found = tables.find_to_write(self._uri, self._own.options)
        if found is None:
            self._store.prove()
            schema = pl.Schema(clean.schema())
            properties = setup.configuration(bounded(self._view)) | KEPT
            setup.create(self._store, Schema.from_arrow(schema), properties, self._now_ms())
            found = tables.find(self._uri, self._own.options)
        if found is None:
            raise TransientError(f"table {self._uri} was made but cannot be seen yet")
        rewrite.refuse(found, self._uri)
        return found

    def _now_ms(self) -> int:
        return int(self._clock.now().timestamp() * 1000)
