"""Run one of chaos' own processes: a server or a proxy of a round."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from core import interpreter


@contextmanager
def child(
    arguments: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> "Iterator[subprocess.Popen[bytes]]":
    """Run Python with `arguments` while the block runs; its standard error goes to `log`.

    `environment`: its variables; the own ones by default.
    """
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603  # our own command
            [*interpreter.command(), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=out,
            env=environment,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()
