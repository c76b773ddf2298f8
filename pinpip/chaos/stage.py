"""What a round of `pinpip chaos` plays on: your pipeline over a topic and tables of its own."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml

from chaos.content import Content
from chaos.disk import SmallDisk, release, small_disk
from chaos.fleet import FleetSetup
from chaos.stage import BrokerControl, Progress, Stage
from chaos.storage import KEYS, Storage, faulty_s3
from chaos.topic import fresh_topic
from core.batch import Position
from core.clock import Clock, SystemClock
from core.config import Config
from pinpip import configfile
from pinpip.connectors import connector_of
from pinpip.folders import writing
from pinpip.pipelines import archives, process_of, sinks_of, tables_of
from sinks.delta.table import find

FOLDER = Path(".pinpip/chaos")
BUCKET = "chaos"


@dataclass(frozen=True)
class Ground:
    """What all rounds of a run share.

    `kafka`: how to reach the broker. `session`: seconds until a silent member is given up.
    """

    config: Config
    pipeline: str
    content: Content
    kafka: Mapping[str, Any]
    session: float
    broker: BrokerControl | None
    mock: bool
    consumers: int
    rate: int
    fault_rate: float


@contextmanager
def staged(ground: Ground, seed: int, lake: str) -> Iterator[Stage]:
    """Set the stage of one round; keep its folder when the round ends with an error."""
    folder, clock = (FOLDER / str(seed)).absolute(), SystemClock()
    release(folder / "disk")
    with writing(folder):
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
    topic = f"pinpip-chaos-{uuid4().hex[:10]}"
    with ExitStack() as parts:
        parts.enter_context(fresh_topic(ground.kafka, topic, clock, mock=ground.mock))
        place: Storage | SmallDisk | None
        if lake == "s3":
            place = parts.enter_context(faulty_s3(folder, seed, BUCKET, clock))
            root = f"s3://{BUCKET}"
        else:
            place = parts.enter_context(small_disk(folder / "disk"))
            root = str(folder / "disk")
        path = folder / "config.yaml"
        _write(path, _tree(ground, topic, root, place))
        yield _stage(ground, topic, path, place, clock)
    shutil.rmtree(folder)


def _tree(ground: Ground, topic: str, root: str, place: Any) -> dict[str, Any]:
    """Put this round's topic, group and tables into the user's configuration."""
    tree = ground.config.model_dump(mode="json", by_alias=True, exclude_none=True)
    pipeline = tree["pipelines"][ground.pipeline]
    own = pipeline["source"] | {"topics": [topic], "group": topic, "start": "earliest"}
    sinks = [_moved(sink, f"{root}/archive{n}") for n, sink in enumerate(pipeline["sinks"])]
    return {
        "id": tree["id"],
        "kafka": _member(ground),
        "aws": {"endpoint_url": place.direct, **KEYS} if isinstance(place, Storage) else {},
        "lake": {"root": f"{root}/lake"},
        "batching": tree["batching"],
        "pipelines": {ground.pipeline: pipeline | {"source": own, "sinks": sinks}},
    }


def _member(ground: Ground) -> dict[str, Any]:
    """Return the settings of the group's members; with KIP-848 the broker sets the session."""
    given = {k: v for k, v in ground.kafka.items() if k != "group.instance.id"}
    if given.get("group.protocol") == "consumer":
        return given
    session = int(ground.session * 1000)
    return {"session.timeout.ms": session, "heartbeat.interval.ms": session // 10} | given


def _moved(sink: dict[str, Any], uri: str) -> dict[str, Any]:
    return sink | {"parquet": uri} if "parquet" in sink else {"delta": "table"}


def _write(path: Path, tree: Mapping[str, Any]) -> None:
    """For this user's eyes: it may hold the broker's password."""
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(dict(tree), sort_keys=False), encoding="utf-8")


def _stage(
    ground: Ground,
    topic: str,
    path: Path,
    place: Storage | SmallDisk | None,
    clock: Clock,
) -> Stage:
    config = configfile.load(path, {})
    tables = tables_of(config, ground.pipeline)
    # PINPIP_… of the user's would lead the processes to the user's own tables.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PINPIP_")}
    own = {"PINPIP_AWS__ENDPOINT_URL": place.faulty} if isinstance(place, Storage) else {}
    chains = archives(config.pipeline(ground.pipeline))
    return Stage(
        home=FleetSetup(path.parent, path, ground.pipeline, environment, own),
        kafka=ground.kafka,
        topic=topic,
        content=ground.content,
        consumers=ground.consumers,
        rate=ground.rate,
        fault_rate=ground.fault_rate,
        transactions=not ground.mock,
        tables=(tables.clean, tables.quarantine),
        archives=tuple(chain.parquet for chain in chains if chain.stage == "raw"),
        options=tables.options,
        progress=_progress(config, ground.pipeline, clock),
        broker=ground.broker,
        storage=place if isinstance(place, Storage) else None,
        disk=place if isinstance(place, SmallDisk) else None,
        clock=clock,
    )


def _progress(config: Config, name: str, clock: Clock) -> Callable[[], Progress]:
    """Return a function that reads the sinks' progress; a quarantine defers empty commits."""
    process = process_of(config.pipeline(name), keep_values=False)
    sinks = [s for s in sinks_of(config, name, process, clock) if s.name != "quarantine"]
    tables = tables_of(config, name)
    connector = connector_of(config, name, clock)

    def look() -> Progress:
        ends = connector.ends()
        held = [sink.positions(list(ends)) for sink in sinks]
        behind = max(sum(_missing(end, own[p]) for p, end in ends.items()) for own in held)
        found = [find(uri, tables.options) for uri in (tables.clean, tables.quarantine)]
        return Progress(behind, sum(int(table.count()) for table in found if table is not None))

    return look


def _missing(end: Position | None, held: Position | None) -> int:
    return (end.number if end else 0) - (held.number if held else 0)
