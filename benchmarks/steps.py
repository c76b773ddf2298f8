"""Run `pinpip consume` and note when each of its steps is done for the first time."""

import json
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

STEPS = ("interpreter", "imports", "connect", "join", "positions", "records", "commit")


def noting(note: Callable[[str], None], owner: type, name: str, step: str) -> None:
    """Make the method `name` note `step` when it returns, a poll only when it has records."""
    call = getattr(owner, name)

    @wraps(call)
    def noted(*arguments: Any, **named: Any) -> Any:
        returned = call(*arguments, **named)
        if name != "poll" or returned is not None:
            note(step)
        return returned

    setattr(owner, name, noted)


def watch(note: Callable[[str], None]) -> None:
    """Import a consumer's modules, and instrument its calls."""
    import prometheus_client  # noqa: F401, PLC0415  # as `pinpip consume` does

    from consumers.kafka.source import KafkaSource  # noqa: PLC0415
    from pinpip import pipelines  # noqa: F401, PLC0415
    from sinks.delta.sink import DeltaSink  # noqa: PLC0415

    note("imports")
    noting(note, KafkaSource, "open", "connect")
    positions = DeltaSink.positions

    def joined(*arguments: Any) -> Any:
        note("join")  # the first call after an assignment
        found = positions(*arguments)
        note("positions")
        return found

    DeltaSink.positions = joined  # type: ignore[method-assign,assignment]
    noting(note, KafkaSource, "poll", "records")
    noting(note, DeltaSink, "write", "commit")


def main(config: Path) -> None:
    """Consume the pipeline `user`; write each step as a JSON line to the file `steps`."""
    noted: set[str] = set()

    def note(step: str) -> None:
        if step not in noted:
            noted.add(step)
            with (config.parent / "steps").open("a", encoding="utf-8") as out:
                out.write(json.dumps([step, time.monotonic()]) + "\n")

    note("interpreter")
    watch(note)
    from pinpip import cli  # noqa: PLC0415

    sys.argv = ["pinpip", "--config", str(config), "consume", "user"]
    cli.main()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
