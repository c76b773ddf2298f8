"""Run `pinpip consume pin` with the folder's configuration; note only the first read."""

import sys
from pathlib import Path
from typing import Any

from benchmarks.contestants import note, task
from pinpip import cli
from pinpip.runtime import tune_allocators


def note_first_read(folder: Path) -> None:
    """Note when the source returns its first records; later calls are not instrumented."""
    from consumers.kafka.source import KafkaSource  # noqa: PLC0415  # it imports polars

    poll = KafkaSource.poll

    def noted(self: KafkaSource, *arguments: Any, **named: Any) -> Any:
        records = poll(self, *arguments, **named)
        if records is not None:
            note(folder, "first")
            KafkaSource.poll = poll  # type: ignore[method-assign]
        return records

    KafkaSource.poll = noted  # type: ignore[method-assign]


if __name__ == "__main__":
    tune_allocators()
    folder = task().folder
    note_first_read(folder)
    sys.argv = ["pinpip", "--config", str(folder / "config.yaml"), "consume", "pin"]
    cli.main()
