"""`python -m benchmarks [COMMAND]`: what pinpip takes and gives, on a real broker of its own."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import age as ages
from benchmarks import cloud, contest, peers
from benchmarks import compare as comparison
from benchmarks import gateway as front
from benchmarks import latency as freshness
from benchmarks import scaling as scales
from benchmarks import starts as beginnings
from benchmarks.plot import drawn
from benchmarks.results import FOLDER, Result, publish
from core.errors import PinpipError
from pinpip.cli.shared import complain
from pinpip.local.java import real_kafka

app = typer.Typer(help="Measure pinpip.", add_completion=False)
Json = Annotated[bool, typer.Option("--json", help="Print the whole result as JSON.")]
Keep = Annotated[bool, typer.Option(help="Keep the result in benchmarks/results.")]
Records = Annotated[int, typer.Option(min=1000, help="Records on the topic.")]


@contextmanager
def _stage() -> Iterator[contest.Stage]:
    """Start a broker and make a folder; remove both at the end."""
    with tempfile.TemporaryDirectory() as name, real_kafka(Path(name) / "kafka") as kafka:
        yield contest.Stage(kafka.bootstrap, kafka.pid, Path(name))


@app.callback(invoke_without_command=True)
def compare(
    context: typer.Context,
    records: Records = 2_000_000,
    partitions: Annotated[int, typer.Option(min=1)] = 4,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    only: Annotated[str, typer.Option(help="Run these alone, comma-separated: drain,pinpip.")] = "",
    with_peers: Annotated[
        bool, typer.Option("--peers", help="Quix Streams and Spark too, fetched on first use.")
    ] = False,
    as_json: Json = False,
    keep: Keep = True,
) -> None:
    """Without a command: the same work by pinpip and by other programs, in turn."""
    if context.invoked_subcommand:
        return
    entered = [*contest.OWN, *(peers.peers() if with_peers else [])]
    names = only.split(",") if only else [c.name for c in entered]
    unknown = set(names) - {c.name for c in entered}
    if unknown:
        raise typer.BadParameter(f"no contestant is called {', '.join(sorted(unknown))}")
    chosen = [c for c in entered if c.name in names]
    with _stage() as stage:
        found = comparison.compare(
            stage, chosen, records=records, partitions=partitions, rounds=rounds
        )
    size = found.parameters["mean_bytes"]
    title = f"{records:,} pins of {size} bytes, {partitions} partitions, medians of {rounds}"
    publish(found, title, as_json=as_json, keep=keep)


@app.command()
def latency(
    rates: Annotated[str, typer.Option(help="Records a second.")] = "1000,5000,10000",
    seconds: Annotated[float, typer.Option(min=2)] = 60.0,
    minutes: Annotated[float, typer.Option(help="Instead of seconds: is the memory flat?")] = 0.0,
    max_wait: Annotated[
        float | None, typer.Option(help="batching.max_wait; pinpip's default when left out.")
    ] = None,
    as_json: Json = False,
    keep: Keep = True,
) -> None:
    """From the broker's timestamp to the commit that shows the row, and memory, at steady rates."""
    wanted = [int(rate) for rate in rates.split(",")]
    with _stage() as stage:
        found = freshness.latency(stage, wanted, seconds=60 * minutes or seconds, max_wait=max_wait)
    waits = found.parameters["max_wait"]
    publish(found, f"broker to reader, max_wait {waits}", as_json=as_json, keep=keep)


@app.command()
def scaling(
    records: Records = 1_000_000,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    as_json: Json = False,
    keep: Keep = True,
) -> None:
    """Partitions 1, 4, 16; processes 1, 2; records of 200 bytes to 1 MB."""
    with _stage() as stage:
        found = scales.scaling(stage, records=records, rounds=rounds)
    publish(found, f"medians of {rounds}", as_json=as_json, keep=keep)


@app.command()
def starts(
    partitions: Annotated[str, typer.Option(help="Of each topic.")] = "1,50,600,2000",
    as_json: Json = False,
    keep: Keep = True,
) -> None:
    """From a start to the first row, from SIGTERM to the end, `status` and `verify`."""
    wanted = [int(number) for number in partitions.split(",")]
    with _stage() as stage:
        found = beginnings.starts(stage, partitions=wanted)
    publish(found, "seconds by the number of partitions", as_json=as_json, keep=keep)


@app.command()
def age(
    commits: Annotated[int, typer.Option(min=100)] = 100_000,
    plot: Annotated[Path | None, typer.Option(help="Draw the result into this SVG.")] = None,
    as_json: Json = False,
    keep: Keep = True,
) -> None:
    """Measure log, commit, memory, restart, status and verify up to a table's 100,000th commit."""

    def watch(found: Result) -> None:
        publish(found, "by the table's age", as_json=as_json, keep=False)
        if plot is not None:
            plot.write_text(drawn(found), encoding="utf-8")

    with tempfile.TemporaryDirectory() as name:
        found = ages.age(Path(name), commits=commits, watch=watch)
    if keep:
        found.save(FOLDER)


@app.command()
def kinesis(records: Records = 100_000, as_json: Json = False, keep: Keep = True) -> None:
    """From a Kinesis stream of moto's."""
    with tempfile.TemporaryDirectory() as name:
        found = cloud.kinesis(Path(name), records=records)
    publish(found, "Kinesis (moto) to this disk", as_json=as_json, keep=keep)


@app.command()
def s3(records: Records = 500_000, as_json: Json = False, keep: Keep = True) -> None:
    """Into a table on S3 of moto's."""
    with _stage() as stage:
        found = cloud.s3(stage, records=records)
    publish(found, "Kafka to S3 (moto)", as_json=as_json, keep=keep)


@app.command()
def gateway(
    seconds: Annotated[float, typer.Option(min=1, help="For each load.")] = 20.0,
    as_json: Json = False,
    keep: Keep = True,
) -> None:
    """Measure the gateway: requests and records a second, latency at 1,000 and 30,000 a second."""
    with _stage() as stage:
        found = front.gateway(stage, seconds=seconds)
    publish(found, "one gateway process", as_json=as_json, keep=keep)


def main() -> None:
    """Run a command; what is wrong is said without a traceback."""
    try:
        app()
    except PinpipError as error:
        complain(error)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
