"""The commands that measure pinpip on the models of AWS."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import kinesis as streams
from benchmarks import s3 as buckets
from benchmarks import s3_steady
from benchmarks.options import Docs, Json, Keep, Records, Rounds, published, setup

Archive = Annotated[bool, typer.Option(help="Write the raw archive, too.")]
Delay = Annotated[float, typer.Option(min=0, help="Median of the store's small requests in ms.")]
Loads = Annotated[
    str, typer.Option(help="Records per second of a pipeline x pipelines of one process.")
]


def kinesis(
    shards: Annotated[str, typer.Option(help="Numbers of shards.")] = "1,4,16",
    records: Annotated[int, typer.Option(min=1000, help="Backlog of each shard.")] = 100_000,
    seconds: Annotated[float, typer.Option(min=5, help="Of the steady load.")] = 30.0,
    as_json: Json = False,
    keep: Keep = True,
    docs: Docs = False,
) -> None:
    """Measure reading Kinesis, modelled with latencies and limits, by its number of shards."""
    numbers = [int(number) for number in shards.split(",")]
    with tempfile.TemporaryDirectory() as name:
        found = streams.kinesis(Path(name), shards=numbers, records=records, seconds=seconds)
    title = f"{records:,} pins a shard, then {streams.RATE:,} a second and shard"
    published(found, title, as_json=as_json, keep=keep, docs=docs)


def s3(
    records: Records = 2_000_000,
    rounds: Rounds = 3,
    delays: Annotated[
        str, typer.Option(help="Medians of the store's small requests, in ms; 0: no delay.")
    ] = "0,40,100",
    slow_down: Annotated[
        float, typer.Option(min=0, max=1, help="Share of requests that get a 503.")
    ] = 0.0,
    archive: Archive = True,
    only: Annotated[str, typer.Option(help="Run only these: disk,0,40.")] = "",
    as_json: Json = False,
    keep: Keep = True,
    docs: Docs = False,
) -> None:
    """Measure a table on S3, modelled with latencies, beside a table on this disk."""
    chosen = buckets.places([float(delay) for delay in delays.split(",")], slow_down)
    if only:
        chosen = buckets.chosen(chosen, only.split(","))
    with setup() as ready:
        found = buckets.s3(ready, chosen, records=records, rounds=rounds, archive=archive)
    title = f"{records:,} pins, medians of {rounds}"
    published(found, title, as_json=as_json, keep=keep, docs=docs)


def s3_group(
    records: Records = 2_000_000,
    rounds: Rounds = 3,
    delay: Delay = 300.0,
    archive: Archive = True,
    as_json: Json = False,
    keep: Keep = True,
    docs: Docs = False,
) -> None:
    """Measure two consumers of one group beside one, on one table in the model of S3."""
    with setup() as ready:
        found = buckets.group(ready, delay, records=records, rounds=rounds, archive=archive)
    title = f"{records:,} pins, p50 {delay:g} ms, medians of {rounds}"
    published(found, title, as_json=as_json, keep=keep, docs=docs)


def s3_freshness(
    loads: Loads = "10000x1,1000x6",
    seconds: Annotated[float, typer.Option(min=5)] = 60.0,
    max_wait: Annotated[float, typer.Option(help="batching.max_wait.")] = 0.5,
    delay: Delay = 40.0,
    as_json: Json = False,
    keep: Keep = True,
    docs: Docs = False,
) -> None:
    """Measure freshness, memory and requests of pipelines on the model of S3."""
    cases = [s3_steady.case(load, max_wait, delay) for load in loads.split(",")]
    with setup() as ready:
        found = s3_steady.freshness(ready, cases, seconds=seconds)
    title = f"broker to reader on S3, max_wait {max_wait}, p50 {delay:g} ms"
    published(found, title, as_json=as_json, keep=keep, docs=docs)


def s3_costs(
    loads: Loads = "1000x1,100x6,50x20",
    waits: Annotated[str, typer.Option(help="Values of batching.max_wait.")] = "0.5,1,10",
    seconds: Annotated[float, typer.Option(min=5)] = 120.0,
    delay: Delay = 40.0,
    as_json: Json = False,
    keep: Keep = True,
    docs: Docs = False,
) -> None:
    """Count requests on the model of S3, and compute a month at AWS's list prices."""
    cases = [
        s3_steady.case(load, float(wait), delay)
        for load in loads.split(",")
        for wait in waits.split(",")
    ]
    with setup() as ready:
        found = s3_steady.costs(ready, cases, seconds=seconds)
    published(found, "requests of a month, us-east-1", as_json=as_json, keep=keep, docs=docs)
