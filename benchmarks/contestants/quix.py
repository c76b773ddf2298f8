"""Run Quix Streams with a hand-written sink that appends once per checkpoint."""

from typing import Any

from quixstreams import Application
from quixstreams.sinks import BaseSink

from benchmarks.contestants import BATCH, Task, note, task
from benchmarks.contestants.loop import append


class QuixDeltaSink(BaseSink):  # type: ignore[misc]  # not installed here
    """Buffers the rows of all partitions since the last checkpoint; at least once."""

    def __init__(self, given: Task) -> None:
        super().__init__()
        self._given = given
        self._rows: list[dict[str, Any]] = []
        self._first = True

    def add(self, value: Any, *_: Any, partition: int, offset: int, **_named: Any) -> None:
        """Buffer a row."""
        if self._first:
            self._first = False
            note(self._given.folder, "first")
        self._rows.append({**value, "_partition": partition, "_offset": offset})

    def flush(self) -> None:
        """Append the buffered rows; the framework then commits the offsets."""
        if self._rows:
            append(self._given.table, self._rows)
            self._rows = []

    def on_paused(self) -> None:
        """Drop the buffered rows: they are read again."""
        self._rows = []


def run(given: Task) -> None:
    """Consume until killed."""
    app = Application(
        broker_address=given.bootstrap,
        consumer_group=given.folder.name,
        auto_offset_reset="earliest",
        auto_create_topics=False,
        commit_every=BATCH,
        commit_interval=2.0,
        loglevel="WARNING",
    )
    pins = app.topic(given.topic, value_deserializer="json")
    app.dataframe(pins).sink(QuixDeltaSink(given))
    app.run()


if __name__ == "__main__":
    run(task())
