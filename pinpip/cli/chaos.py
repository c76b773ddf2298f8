"""`pinpip chaos`: inject faults into consumers, broker and storage, then verify the tables."""

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from core.errors import ConfigError, FatalError
from pinpip.cli.shared import settings_of, stopping_on_signals
from pinpip.cli.tables import show

if TYPE_CHECKING:
    from chaos.environment import Environment
    from chaos.round import RoundStatus
    from core.config import Config
    from pinpip.chaos.environment import ChaosSettings

EXIT_DIFFERENCE = 3
FAULT_RATE = 0.12  # of the requests to S3
SESSION_TIMEOUT_S = {"real": 3.0, "mock": 4.5, "config": 6.0}  # each broker's minimum
KIP848_SESSION_TIMEOUT_S = 45.0


class BrokerChoice(StrEnum):
    """The broker of the rounds: one that chaos starts, or the one of config.yaml."""

    REAL = "real"
    MOCK = "mock"
    CONFIG = "config"


class LakeChoice(StrEnum):
    """Where the rounds' tables are; `both` alternates."""

    S3 = "s3"
    FOLDER = "folder"
    BOTH = "both"


def chaos(
    context: typer.Context,
    pipeline: Annotated[
        str | None,
        typer.Argument(help="A Kafka pipeline of config.yaml; default: the first."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the first round; it grows by one per round.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Number of rounds.")] = 1,
    seconds: Annotated[float, typer.Option(min=5, help="Seconds of faults per round.")] = 40,
    rate: Annotated[int, typer.Option(min=1, help="Records per second.")] = 2000,
    consumers: Annotated[int, typer.Option(min=2, max=4, help="Consumers in the group.")] = 3,
    kafka: Annotated[
        BrokerChoice,
        typer.Option(help="real: a new Apache Kafka (Java); config: your broker."),
    ] = BrokerChoice.REAL,
    brokers: Annotated[
        Literal["1", "3"],
        typer.Option(help="3: a cluster whose leaders, brokers and network are broken."),
    ] = "1",
    lake: Annotated[
        LakeChoice, typer.Option(help="Where the tables are; both: alternating.")
    ] = LakeChoice.BOTH,
    s3_latency: Annotated[
        str, typer.Option(help="Median time of an S3 request, like 40ms; log-normal, p99 5 times.")
    ] = "0ms",
    payloads: Annotated[
        Path | None, typer.Option(help="Send the lines of this file instead of emulated records.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Break consumers, broker and storage under load, then verify that each record is stored once.

    Uses your pipeline's schema, transform and batching, with separate topics and tables.
    Exit code 3 when a difference is found. Example: pinpip chaos pin --rounds 3
    or, on a cluster: pinpip chaos pin --brokers 3 --seconds 120
    """
    from pinpip import logs

    settings = settings_of(context)
    settings.log(logs.first_settings())
    config = settings.config() if kafka is BrokerChoice.CONFIG else _loaded(settings.config_path)
    name = pipeline or _first(config)
    first = random.randrange(10**6) if seed is None else seed
    given = f"--seconds {seconds:g} --rate {rate} --consumers {consumers} --kafka {kafka}"
    given += f" --brokers {brokers}" if brokers != "1" else ""
    latency = _seconds(s3_latency, lake)
    given += f" --s3-latency {s3_latency}" if latency else ""
    given += f" --payloads {payloads}" if payloads else ""
    rows = []
    with (
        stopping_on_signals(_interrupt),
        _chaos_settings(config, name, kafka, int(brokers), payloads, consumers, rate) as made,
    ):
        shared = replace(made, latency=latency)
        for number in range(rounds):
            place = list(LakeChoice)[number % 2] if lake is LakeChoice.BOTH else lake
            again = f"pinpip chaos {name} --seed {first + number} --lake {place} {given}"
            rows.append(_round(shared, first + number, place, seconds, again))
    _tell(rows, as_json=as_json)
    if any(row["differences"] for row in rows):
        raise typer.Exit(EXIT_DIFFERENCE)


def _seconds(text: str, lake: LakeChoice) -> float:
    """Return the seconds of a time like 40ms."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s)", text)
    if found is None:
        raise ConfigError(f"--s3-latency {text} is not a time", "write it like 40ms")
    seconds = float(found[1]) / (1000 if found[2] == "ms" else 1)
    if seconds and lake is LakeChoice.FOLDER:
        raise ConfigError("--s3-latency is for tables on S3", "write --lake s3, or leave it out")
    return seconds


def _interrupt() -> None:
    raise KeyboardInterrupt


def _loaded(path: Path) -> "Config":
    from pinpip import configfile

    return configfile.load(path)


def _first(config: "Config") -> str:
    """Return the first pipeline that reads Kafka."""
    for name, pipeline in config.pipelines.items():
        if pipeline.source.topics:
            return name
    raise ConfigError("no pipeline of config.yaml reads Kafka", "chaos is for Kafka pipelines")


@contextmanager
def _chaos_settings(
    config: "Config",
    name: str,
    kafka: BrokerChoice,
    brokers: int,
    payloads: Path | None,
    consumers: int,
    rate: int,
) -> "Iterator[ChaosSettings]":
    """Build what the rounds share; starts brokers unless config.yaml's is chosen."""
    from pinpip.chaos.brokers import brokers_of
    from pinpip.chaos.content import content_of
    from pinpip.chaos.environment import ChaosSettings

    if not config.pipeline(name).source.topics:
        raise ConfigError(f"pipeline {name} reads no Kafka", "name one that does")
    content = content_of(config, name, payloads)
    with brokers_of(config, kafka.value, brokers) as found:
        yield ChaosSettings(
            config=config,
            pipeline=name,
            content=content,
            kafka=found.properties,
            session=_session(kafka, found.properties),
            broker=found.broker,
            cluster=found.cluster,
            mock=kafka is BrokerChoice.MOCK,
            consumers=consumers,
            rate=rate,
            fault_rate=FAULT_RATE,
        )


def _session(kafka: BrokerChoice, properties: "Mapping[str, Any]") -> float:
    """Return the session timeout in seconds."""
    kip848 = properties.get("group.protocol") == "consumer"
    return KIP848_SESSION_TIMEOUT_S if kip848 else SESSION_TIMEOUT_S[kafka]


def _round(
    shared: "ChaosSettings", seed: int, lake: LakeChoice, seconds: float, again: str
) -> dict[str, Any]:
    """Run one round and return its row; prints the seed first, for the case of an error."""
    from chaos.run import run
    from chaos.schedule import RoundSettings, draw
    from pinpip.chaos.environment import KEEP, round_environment

    typer.echo(f"seed {seed} on {lake}", err=True)
    try:
        with (
            round_environment(shared, seed, lake) as environment,
            _watching(f"seed {seed}", int(seconds * shared.rate)) as watch,
        ):
            settings = RoundSettings(
                seconds,
                shared.session,
                brokers=_breakable(environment),
                storage=environment.storage is not None,
                disk=environment.disk is not None,
                upsert=shared.config.pipeline(shared.pipeline).is_upsert,
            )
            result = run(draw(seed, settings), environment, watch)
            if result.differences:
                (environment.launch.folder / KEEP).write_text(json.dumps(result.differences))
    except FatalError as error:
        raise FatalError(error.message, f"{error.hint}\nrun it again: {again}") from error
    told = f"{result.records:,} records, {len(result.differences)} differences"
    typer.echo(f"seed {seed}: {told}", err=True)
    return {"lake": str(lake), "again": again, **asdict(result)}


def _breakable(environment: "Environment") -> int:
    """Return how many brokers the round may break."""
    if environment.cluster is not None:
        return len(environment.cluster.nodes)
    return int(environment.broker is not None)


@contextmanager
def _watching(title: str, total: int) -> "Iterator[Callable[[RoundStatus], None]]":
    """Show a progress bar of the records produced, and the counts."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = [*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn()]
    counts = TextColumn("{task.fields[status]}")
    with Progress(*columns, counts, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=total, status="")

        def watch(status: "RoundStatus") -> None:
            lag = "" if status.lag is None else f"{status.lag:,} unread; "
            counts = ", ".join(f"{n} {what}" for what, n in status.counts.most_common())
            bar.update(task, completed=status.produced, status=lag + counts)

        yield watch


def _tell(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print a line per round and their sum, then every difference and how to reproduce it."""
    if as_json:
        typer.echo(json.dumps(rows))
        return
    lines = [_line(row) for row in rows]
    total = {name: sum(line[name] for line in lines) for name in list(lines[0])[2:]}
    show("Chaos", [*lines, {"seed": "all", "lake": "", **total}], as_json=False)
    show("Happened", _happened(rows), as_json=False)
    show("Seconds to commit again after a kill", _recovered(rows), as_json=False)
    for row in rows:
        for message in row["differences"]:
            typer.echo(f"seed {row['seed']}: {message}\n  again: {row['again']}")
    bad = sum(len(row["differences"]) for row in rows)
    good = f"exactly once: {total['records']:,} records, none lost, none doubled, none changed"
    typer.echo(f"{bad} differences" if bad else good)


def _line(row: dict[str, Any]) -> dict[str, Any]:
    from chaos.schedule import CLUSTER, ONE_BROKER

    counts = Counter(row["counts"])
    return {
        "seed": row["seed"],
        "lake": row["lake"],
        "records": row["records"],
        **{what: counts[what] for what in ("kills", "zombies")},
        "broker": sum(counts[f"{kind}s"] for kind in (*ONE_BROKER, *CLUSTER)),
        "S3": sum(row["storage"].values()),
        "lost": row["lost"],
        "twice": row["doubled"],
    }


def _happened(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sum up the counts of all rounds by name."""
    counts = sum((Counter(row["counts"]) for row in rows), Counter[str]())
    points = sum((Counter(row["points"]) for row in rows), Counter[str]())
    faults = sum((Counter(row["storage"]) for row in rows), Counter[str]())
    gateway = sum((Counter(row["gateway"]) for row in rows), Counter[str]())
    kinds = {"": counts, "by the gateway: ": gateway, "at crash point: ": points, "S3: ": faults}
    found = {f"{kind}{what}": n for kind, own in kinds.items() for what, n in own.most_common()}
    aborted = sum(row["aborted"] for row in rows)
    return [{"what": k, "times": n} for k, n in (found | {"records aborted": aborted}).items()]


def _recovered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    from chaos.recovery import median_and_p95

    found = []
    for kind in ("static", "dynamic"):
        seconds = [s for row in rows for s in row["recovery"][kind]]
        median, p95 = median_and_p95(seconds) or (None, None)
        found.append({"member": kind, "times": len(seconds), "median": median, "p95": p95})
    return found
