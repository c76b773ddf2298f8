"""What the commands of `python -m benchmarks` share: options, the broker, the output."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import contest, pages
from benchmarks.results import BenchmarkResult, publish
from pinpip.local.java import real_kafka

Json = Annotated[bool, typer.Option("--json", help="Print the whole result as JSON.")]
Docs = Annotated[bool, typer.Option("--docs", help="Write the table into docs/benchmarks.md.")]
Keep = Annotated[bool, typer.Option(help="Keep the result in benchmarks/results.")]
Records = Annotated[int, typer.Option(min=1000, help="Records on the topic.")]
Rounds = Annotated[int, typer.Option(min=1)]


@contextmanager
def setup() -> Iterator[contest.BenchmarkSetup]:
    """Start a broker and create a folder; both are removed at the end."""
    with tempfile.TemporaryDirectory() as name, real_kafka(Path(name) / "kafka") as kafka:
        yield contest.BenchmarkSetup(kafka.bootstrap, kafka.pid, Path(name))


def published(found: BenchmarkResult, title: str, *, as_json: bool, keep: bool, docs: bool) -> None:
    """Print and store the result; write its table into the page if `docs`."""
    publish(found, title, as_json=as_json, keep=keep)
    if docs:
        pages.write(found)
