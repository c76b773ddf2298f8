"""`python -m benchmarks [COMMAND]`: measure throughput and cost of pinpip on a real broker."""

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
from benchmarks import memory as peaks
from benchmarks import monitor as watching
from benchmarks import s3 as buckets
from benchmarks import scaling as scales
from benchmarks import starts as beginnings
from benchmarks.memory import Case, grid
from benchmarks.plot import drawn
from benchmarks.results import FOLDER, BenchmarkResult, publish
from core.errors import PinpipError
from pinpip.cli.shared import complain
from pinpip.local.java import real_kafka

app = typer.Typer(help="Measure pinpip.", add_completion=False)
Json = Annotated[bool, typer.Option("--json", help="Print the whole result as JSON.")]
Keep = Annotated[bool, typer.Option(help="Keep the result in benchmarks/results.")]
Records = Annotated[int, typer.Option(min=1000, help="Records on the topic.")]


@contextmanager
def _setup() -> Iterator[contest.BenchmarkSetup]:
    """Start a broker and create a folder; both are removed at the end."""
    with tempfile.TemporaryDirectory() as name, real_kafka(Path(name) / "kafka") as kafka:
        yield contest.BenchmarkSetup(kafka.bootstrap, kafka.pid, Path(name))


@app.callback(invoke_without_command=True)
def compare(
    context: typer.Context,
    records: Records = 2_000_000,
    partitions: Annotated[int, typer.Option(min=1)] = 4,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    only: Annotated[str, typer.Option(help="Run only these, comma-separated: drain,pinpip.")] = "",
    with_peers: Annotated[
        bool, typer.Option("--peers", help="Also Quix Streams and Spark, downloaded on first use.")
    ] = False,
    as_json: Json = False,
    keep: Keep = True,
) -> None:
    """Without a command: run the same work with pinpip and with other programs, interleaved."""
    if context.invoked_subcommand:
        return
    entered = [*contest.OWN, *(peers.peers() if with_peers else [])]
    names = only.split(",") if only else [c.name for c in entered]
    unknown = set(names) - {c.name for c in entered}
    if unknown:
        raise typer.BadParameter(f"no contestant is called {', '.join(sorted(unknown))}")
    chosen = [c for c in entered if c.name in names]
    with _setup() as setup:
        found = comparison.compare(
            setup, chosen, records=records, partitions=partitions, rounds=rounds
        )
    size = found.parameters["mean_bytes"]
    title = f"{records:,} pins of {size} bytes, {partitions} partitions, medians of {rounds}"
    publish(found, title, as_json=as_json, keep=keep)


@app.command()
def latency(
    rates: Annotated[str, typer.Option(help="Records per second.")] = "1000,5000,10000",
    seconds: Annotated[float, typer.Option(min=2)] = 60.0,
    minutes: Annotated[
        float, typer.Option(help="Instead of seconds, to see whether memory grows.")
    ] = 0.0,
    max_wait: Annotated[
        float | None, typer.Option(help="batching.max_wait; by default pinpip's.")
    ] = None,
    as_json: Json = False,
    keep: Keep = True,
) -> None:
    """Measure the time from broker timestamp to visible row, and memory, at steady rates."""
    wanted = [int(rate) for rate in rates.split(",")]
    with _setup() as setup:
        found = freshness.latency(setup, wanted, seconds=60 * minutes or seconds, max_wait=max_wait)
    waits = found.parameters["max_wait"]
    publish(found, f"broker to reader, max_wait {waits}", as_json=as_json, keep=keep)


@app.command()
def scaling(
    records: Records = 1_000_000,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    as_json: Json = False,
    keep: Keep = True,
) -> None:
    """Measure 1, 4, 16 partitions; 1, 2 processes; records of 200 bytes to 1 MB."""
    with _setup() as setup:
        found = scales.scaling(setup, records=records, rounds=rounds)
    publish(found, f"medians of {rounds}", as_json=as_json, keep=keep)


@app.command()
def starts(
    partitions: Annotated[str, typer.Option(help="Partitions of each topic.")] = "1,50,600,2000",
    as_json: Json = False,
    keep: Keep = True,
) -> None:
    """Measure the start up to the first row, SIGTERM up to the exit, `status` and `verify`."""
    wanted = [int(number) for number in partitions.split(",")]
    with _setup() as setup:
        found = beginnings.starts(setup, partitions=wanted)
    publish(found, "seconds by the number of partitions", as_json=as_json, keep=keep)


@app.command()
def monitor(
    records: Records = 2_000_000,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    as_json: Json = False,
    keep: Keep = True,
) -> None:
    """Measure what an open status page and a scraper cost a consumer at full speed."""
    with _setup() as setup:
        found = watching.monitor(setup, records=records, rounds=rounds)
    publish(found, f"{records:,} pins, medians of {rounds}", as_json=as_json, keep=keep)


@app.command()
def memory(
    megabytes: Annotated[int, typer.Option(min=1, help="Of records, for each case.")] = 1000,
    budget: Annotated[str, typer.Option(help="batching.memory.")] = "256MiB",
    only: Annotated[
        str, typer.Option(help="Cases like 1000000x4x1: size, partitions, pipelines.")
    ] = "",
    as_json: Json = False,
    keep: Keep = True,
) -> None:
    """Measure the peak memory of a consumer by record size, partitions and pipelines."""
    wanted = [Case(*map(int, one.split("x"))) for one in only.split(",") if one] or grid()
    with _setup() as setup:
        found = peaks.memory(setup, wanted, megabytes=megabytes, budget=budget)
    publish(found, f"peak resident memory, batching.memory {budget}", as_json=as_json, keep=keep)


@app.command()
def age(
    commits: Annotated[int, typer.Option(min=100)] = 100_000,
    plot: Annotated[Path | None, typer.Option(help="Draw the result into this SVG.")] = None,
    as_json: Json = False,
    keep: Keep = True,
) -> None:
    """Measure a table's log, commit, memory, restart, status and verify as its commits grow."""

    def watch(found: BenchmarkResult) -> None:
        publish(found, "by the table's age", as_json=as_json, keep=False)
        if plot is not None:
            plot.write_text(drawn(found), encoding="utf-8")

    with tempfile.TemporaryDirectory() as name:
        found = ages.age(Path(name), commits=commits, watch=watch)
    if keep:
        found.save(FOLDER)


@app.command()
def kinesis(records: Records = 100_000, as_json: Json = False, keep: Keep = True) -> None:
    """Measure reading a Kinesis stream (moto)."""
    with tempfile.TemporaryDirectory() as name:
        found = cloud.kinesis(Path(name), records=records)
    publish(found, "Kinesis (moto) to this disk", as_json=as_json, keep=keep)


@app.command()
def s3(
    records: Records = 2_000_000,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    delays: Annotated[
        str, typer.Option(help="Medians of the store's small requests, in ms; 0: no delay.")
    ] = "0,40,100",
    slow_down: Annotated[
        float, typer.Option(min=0, max=1, help="Share of requests that get a 503.")
    ] = 0.0,
    archive: Annotated[bool, typer.Option(help="Write the raw archive, too.")] = True,
    only: Annotated[str, typer.Option(help="Run only these: disk,0,40.")] = "",
    as_json: Json = False,
    keep: Keep = True,
) -> None:
    """Measure a table on S3, modelled with latencies, beside a table on this disk."""
    chosen = buckets.places([float(delay) for delay in delays.split(",")], slow_down)
    if only:
        chosen = buckets.chosen(chosen, only.split(","))
    with _setup() as setup:
        found = buckets.s3(setup, chosen, records=records, rounds=rounds, archive=archive)
    title = f"{records:,} pins, medians of {rounds}"
    publish(found, title, as_json=as_json, keep=keep)


@app.command()
def gateway(
    seconds: Annotated[float, typer.Option(min=1, help="Seconds per load.")] = 20.0,
    as_json: Json = False,
    keep: Keep = True,
) -> None:
    """Measure the gateway: requests and records per second, latency at a steady load."""
    with _setup() as setup:
        found = front.gateway(setup, seconds=seconds)
    publish(found, "one gateway process", as_json=as_json, keep=keep)


def main() -> None:
    """Run a command; print a PinpipError without a traceback."""
    try:
        app()
    except PinpipError as error:
        complain(error)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
