"""`python -m benchmarks [COMMAND]`: measure throughput and cost of pinpip on a real broker."""

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import age as ages
from benchmarks import compare as comparison
from benchmarks import contest, on_aws, peers
from benchmarks import gateway as front
from benchmarks import in_place as beside
from benchmarks import latency as freshness
from benchmarks import memory as peaks
from benchmarks import monitor as watching
from benchmarks import scaling as scales
from benchmarks import starts as beginnings
from benchmarks import upkeep as tidying
from benchmarks import upkeep_run as runs
from benchmarks.memory import Case, grid
from benchmarks.options import Docs, Json, Keep, Records, published, setup
from benchmarks.plot import bars, drawn
from benchmarks.results import FOLDER, BenchmarkResult, publish
from core.errors import PinpipError
from pinpip.cli.shared import complain

app = typer.Typer(help="Measure pinpip.", add_completion=False)
for command in (on_aws.kinesis, on_aws.s3, on_aws.s3_group, on_aws.s3_freshness, on_aws.s3_costs):
    app.command()(command)


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
    with setup() as ready:
        found = comparison.compare(
            ready, chosen, records=records, partitions=partitions, rounds=rounds
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
    with setup() as ready:
        found = freshness.latency(ready, wanted, seconds=60 * minutes or seconds, max_wait=max_wait)
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
    with setup() as ready:
        found = scales.scaling(ready, records=records, rounds=rounds)
    publish(found, f"medians of {rounds}", as_json=as_json, keep=keep)


@app.command()
def starts(
    partitions: Annotated[str, typer.Option(help="Partitions of each topic.")] = "1,50,600,2000",
    as_json: Json = False,
    keep: Keep = True,
) -> None:
    """Measure the start up to the first row, SIGTERM up to the exit, `status` and `verify`."""
    wanted = [int(number) for number in partitions.split(",")]
    with setup() as ready:
        found = beginnings.starts(ready, partitions=wanted)
    publish(found, "seconds by the number of partitions", as_json=as_json, keep=keep)


@app.command()
def monitor(
    records: Records = 2_000_000,
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    as_json: Json = False,
    keep: Keep = True,
) -> None:
    """Measure what an open status page and a scraper cost a consumer at full speed."""
    with setup() as ready:
        found = watching.monitor(ready, records=records, rounds=rounds)
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
    with setup() as ready:
        found = peaks.memory(ready, wanted, megabytes=megabytes, budget=budget)
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
def gateway(
    seconds: Annotated[float, typer.Option(min=1, help="Seconds per load.")] = 20.0,
    as_json: Json = False,
    keep: Keep = True,
) -> None:
    """Measure the gateway: requests and records per second, latency at a steady load."""
    with setup() as ready:
        found = front.gateway(ready, seconds=seconds)
    publish(found, "one gateway process", as_json=as_json, keep=keep)


@app.command()
def in_place(
    rate: Annotated[int, typer.Option(min=1, help="Records per second.")] = 2000,
    seconds: Annotated[float, typer.Option(min=2, help="Of each of the three phases.")] = 40.0,
    max_wait: Annotated[float, typer.Option(help="batching.max_wait.")] = 0.2,
    as_json: Json = False,
    keep: Keep = True,
    docs: Docs = False,
) -> None:
    """Measure a live consumer's commits alone, beside replays into a table, and in place."""
    with setup() as ready:
        found = beside.in_place(ready, rate=rate, seconds=seconds, max_wait=max_wait)
    title = f"commits of a consumer at {rate:,} records/s, max_wait {max_wait}"
    published(found, title, as_json=as_json, keep=keep, docs=docs)


@app.command()
def upkeep(
    commits: Annotated[int, typer.Option(min=100)] = 5_000,
    plot: Annotated[Path | None, typer.Option(help="Draw the result into this SVG.")] = None,
    as_json: Json = False,
    keep: Keep = True,
    docs: Docs = False,
) -> None:
    """Measure a table of many small commits before and after `pinpip maintain`."""
    with tempfile.TemporaryDirectory() as name:
        found = tidying.upkeep(Path(name), commits=commits)
    published(found, f"{commits:,} small commits", as_json=as_json, keep=keep, docs=docs)
    if plot is not None:
        plot.write_text(bars(found), encoding="utf-8")


@app.command()
def upkeep_run(
    commits: Annotated[int, typer.Option(min=100)] = 10_000,
    minutes: Annotated[float, typer.Option(help="From one commit to the next.")] = 10.0,
    plot: Annotated[Path | None, typer.Option(help="Draw the result into this SVG.")] = None,
    as_json: Json = False,
    keep: Keep = True,
    docs: Docs = False,
) -> None:
    """Measure the writer's memory, files and log over many commits under upkeep."""
    with tempfile.TemporaryDirectory() as name:
        step = timedelta(minutes=minutes)
        found = runs.upkeep_run(Path(name), commits=commits, step=step)
    published(
        found, f"under upkeep, {minutes:g} minutes apart", as_json=as_json, keep=keep, docs=docs
    )
    if plot is not None:
        plot.write_text(drawn(found, float), encoding="utf-8")


def main() -> None:
    """Run a command; print a PinpipError without a traceback."""
    try:
        app()
    except PinpipError as error:
        complain(error)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
