"""`pinpip chaos`: consumers are killed, frozen and cut off until the proof holds or a bug shows."""

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import ConfigError, FatalError
from pinpip.cli.shared import settings_of, show, stopping_on_signals

if TYPE_CHECKING:
    from chaos.play import Live
    from chaos.stage import BrokerControl
    from core.config import Config
    from pinpip.chaos.stage import Ground

DIFFERENCE = 3
FAULT_RATE = 0.12  # of the requests to S3
SESSION = {"real": 3.0, "mock": 4.5, "config": 6.0}  # seconds: as short as that broker allows
KIP848_SESSION = 45.0
_LOW_SESSIONS = {"group.min.session.timeout.ms": "1000"}


class Kafka(StrEnum):
    """Which broker the rounds run on: one of their own, or the one in config.yaml."""

    REAL = "real"
    MOCK = "mock"
    CONFIG = "config"


class Lake(StrEnum):
    """Where the rounds' tables are; `both` takes turns."""

    S3 = "s3"
    FOLDER = "folder"
    BOTH = "both"


def chaos(
    context: typer.Context,
    pipeline: Annotated[
        str | None, typer.Argument(help="A Kafka pipeline of config.yaml; the first one if none.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the first round; each next one's is one higher.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, each with its own seed.")] = 1,
    seconds: Annotated[float, typer.Option(min=5, help="Seconds of faults per round.")] = 40,
    rate: Annotated[int, typer.Option(min=1, help="Records a second.")] = 2000,
    consumers: Annotated[int, typer.Option(min=2, max=4, help="Processes in the group.")] = 3,
    kafka: Annotated[
        Kafka, typer.Option(help="real: Apache Kafka of its own (Java); config: your broker.")
    ] = Kafka.REAL,
    lake: Annotated[Lake, typer.Option(help="The tables' place; both: in turn.")] = Lake.BOTH,
    payloads: Annotated[
        Path | None, typer.Option(help="A file of lines to send, instead of emulated records.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Break consumers, broker and storage under load, then prove each record is there once.

    Works on your pipeline's schema, transform and batching, with topics and tables of its own.
    Exit code 3 when a difference is found. Example: pinpip chaos pin --rounds 3
    """
    settings = settings_of(context)
    settings.quiet_logs()
    config = settings.config() if kafka is Kafka.CONFIG else _loaded(settings.config_path)
    name = pipeline or _first(config)
    first = random.randrange(10**6) if seed is None else seed
    given = f"--seconds {seconds:g} --rate {rate} --consumers {consumers} --kafka {kafka}"
    given += f" --payloads {payloads}" if payloads else ""
    rows = []
    with (
        stopping_on_signals(_interrupt),
        _ground(config, name, kafka, payloads, consumers, rate) as ground,
    ):
        for number in range(rounds):
            place = list(Lake)[number % 2] if lake is Lake.BOTH else lake
            again = f"pinpip chaos {name} --seed {first + number} --lake {place} {given}"
            rows.append(_round(ground, first + number, place, seconds, again))
    _tell(rows, as_json=as_json)
    if any(row["differences"] for row in rows):
        raise typer.Exit(DIFFERENCE)


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
def _ground(
    config: "Config", name: str, kafka: Kafka, payloads: Path | None, consumers: int, rate: int
) -> "Iterator[Ground]":
    """Start what the rounds share: a separate broker, unless config.yaml's is wanted."""
    from pinpip.chaos.content import content_of
    from pinpip.chaos.stage import Ground

    if not config.pipeline(name).source.topics:
        raise ConfigError(f"pipeline {name} reads no Kafka", "name one that does")
    content = content_of(config, name, payloads)
    with _broker(config, kafka) as (properties, broker):
        yield Ground(
            config=config,
            pipeline=name,
            content=content,
            kafka=properties,
            session=_session(kafka, properties),
            broker=broker,
            mock=kafka is Kafka.MOCK,
            consumers=consumers,
            rate=rate,
            fault_rate=FAULT_RATE,
        )


@contextmanager
def _broker(
    config: "Config", kafka: Kafka
) -> "Iterator[tuple[dict[str, Any], BrokerControl | None]]":
    """How to reach the broker, and the broker itself when it may be broken."""
    from core.kafka import properties
    from pinpip.chaos.stage import FOLDER
    from pinpip.local.embedded import embedded_kafka
    from pinpip.local.java import SOON_BACK, real_kafka

    if kafka is Kafka.CONFIG:
        yield properties(config), None
    elif kafka is Kafka.MOCK:
        with embedded_kafka() as bootstrap:
            yield {"bootstrap.servers": bootstrap}, None
    else:
        shutil.rmtree(FOLDER / "kafka", ignore_errors=True)
        with real_kafka(FOLDER / "kafka", properties=SOON_BACK | _LOW_SESSIONS) as broker:
            yield {"bootstrap.servers": broker.bootstrap}, broker


def _session(kafka: Kafka, properties: "Mapping[str, Any]") -> float:
    """Seconds after which the group gives a silent member up."""
    kip848 = properties.get("group.protocol") == "consumer"
    return KIP848_SESSION if kip848 else SESSION[kafka]


def _round(ground: "Ground", seed: int, lake: Lake, seconds: float, again: str) -> dict[str, Any]:
    """One round as a row; its seed is told before anything can go wrong."""
    from chaos.run import run
    from chaos.schedule import Setting, draw
    from pinpip.chaos.stage import staged

    typer.echo(f"seed {seed} on {lake}", err=True)
    try:
        with (
            staged(ground, seed, lake) as stage,
            _watching(f"seed {seed}", int(seconds * ground.rate)) as watch,
        ):
            setting = Setting(
                seconds,
                ground.session,
                broker=stage.broker is not None,
                storage=stage.storage is not None,
                disk=stage.disk is not None,
            )
            result = run(draw(seed, setting), stage, watch)
    except FatalError as error:
        raise FatalError(error.message, f"{error.hint}\nplay it again: {again}") from error
    return {"lake": str(lake), "again": again, **asdict(result)}


@contextmanager
def _watching(title: str, total: int) -> "Iterator[Callable[[Live], None]]":
    """Show a bar that fills with the records, and the counts beside it."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    people = Console(stderr=True)
    columns = [*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn()]
    counts = TextColumn("{task.fields[said]}")
    with Progress(*columns, counts, console=people, disable=not people.is_terminal) as bar:
        task = bar.add_task(title, total=total, said="")

        def watch(live: "Live") -> None:
            left = "" if live.behind is None else f"{live.behind:,} unread; "
            counts = ", ".join(f"{n} {what}" for what, n in live.counts.most_common())
            bar.update(task, completed=live.produced, said=left + counts)

        yield watch


def _tell(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print a line per round and their sum, then each difference with the way to reproduce it."""
    if as_json:
        typer.echo(json.dumps(rows))
        return
    lines = [_line(row) for row in rows]
    total = {name: sum(line[name] for line in lines) for name in list(lines[0])[2:]}
    show("Chaos", [*lines, {"seed": "all", "lake": "", **total}], as_json=False)
    show("Happened", _happened(rows), as_json=False)
    show("Seconds to commit again after a kill", _recovered(rows), as_json=False)
    for row in rows:
        for said in row["differences"]:
            typer.echo(f"seed {row['seed']}: {said}\n  again: {row['again']}")
    bad = sum(len(row["differences"]) for row in rows)
    good = f"exactly once: {total['records']:,} records, none lost, none doubled, none changed"
    typer.echo(f"{bad} differences" if bad else good)


def _line(row: dict[str, Any]) -> dict[str, Any]:
    counts = Counter(row["counts"])
    return {
        "seed": row["seed"],
        "lake": row["lake"],
        "records": row["records"],
        **{what: counts[what] for what in ("kills", "zombies")},
        "broker": counts["broker restarts"] + counts["broker kills"],
        "S3": sum(row["storage"].values()),
        "lost": row["lost"],
        "twice": row["doubled"],
    }


def _happened(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sum by name what happened in all rounds."""
    counts = sum((Counter(row["counts"]) for row in rows), Counter[str]())
    points = sum((Counter(row["points"]) for row in rows), Counter[str]())
    faults = sum((Counter(row["storage"]) for row in rows), Counter[str]())
    kinds = {"": counts, "at crash point: ": points, "S3: ": faults}
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
