"""Build the environment of a `pinpip chaos` round: the pipeline on a new topic and new tables."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml

from chaos.cluster import Cluster
from chaos.content import Content
from chaos.disk import TmpfsDisk, release, tmpfs_disk
from chaos.environment import BrokerControl, Environment, SinkProgress
from chaos.fleet import FleetSetup
from chaos.storage import KEYS, Storage, faulty_s3
from chaos.topic import fresh_topic
from core.batch import Position
from core.clock import Clock, SystemClock
from core.config import Config
from pinpip import configfile
from pinpip.chaos.gateway import gateway_of
from pinpip.connectors import connector_of
from pinpip.folders import writing
from pinpip.local.java import free_port
from pinpip.pipelines import process_of, sinks_of, tables_of
from sinks.delta.table import find

FOLDER = Path(".pinpip/chaos")
BUCKET = "chaos"
KEEP = "keep"
FLUSH_S = 2.0


@dataclass(frozen=True)
class ChaosSettings:
    """What all rounds of a run share.

    `kafka`: the client properties of the broker. `session`: the session timeout in seconds.
    `latency`: the median of the seconds that S3 takes for a request.
    """

    config: Config
    pipeline: str
    content: Content
    kafka: Mapping[str, Any]
    session: float
    broker: BrokerControl | None
    cluster: Cluster | None
    mock: bool
    consumers: int
    rate: int
    fault_rate: float
    latency: float = 0.0


@contextmanager
def round_environment(settings: ChaosSettings, seed: int, lake: str) -> Iterator[Environment]:
    """Build the environment of one round.

    Its folder stays when the round ends with an error, or has a file KEEP.
    """
    folder, clock = (FOLDER / str(seed)).absolute(), SystemClock()
    release(folder / "disk")
    with writing(folder):
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
    topic = f"pinpip-chaos-{uuid4().hex[:10]}"
    with ExitStack() as parts:
        parts.enter_context(fresh_topic(settings.kafka, topic, clock, mock=settings.mock))
        storage: Storage | TmpfsDisk | None
        if lake == "s3":
            storage = parts.enter_context(faulty_s3(folder, seed, BUCKET, settings.latency))
            root = f"s3://{BUCKET}"
        else:
            storage = parts.enter_context(tmpfs_disk(folder / "disk"))
            root = str(folder / "disk")
        path = folder / "config.yaml"
        _write(path, _tree(settings, topic, root, storage))
        found = _environment(settings, topic, path, storage, clock)
        if settings.cluster is None:
            yield found
        else:
            config, variables = configfile.load(path, {}), found.launch.environment
            send = parts.enter_context(gateway_of(config, path, topic, variables, clock))
            yield replace(found, gateway=send)
    if not (folder / KEEP).exists():
        shutil.rmtree(folder)


def _tree(settings: ChaosSettings, topic: str, root: str, storage: Any) -> dict[str, Any]:
    """Return the user's configuration with this round's topic, group and tables."""
    tree = settings.config.model_dump(mode="json", by_alias=True, exclude_none=True)
    pipeline = tree["pipelines"][settings.pipeline]
    own = pipeline["source"] | {"topics": [topic], "group": topic, "start": "earliest"}
    own.pop("where", None)  # the keys of chaos are numbers
    sinks = [_relocated(sink, f"{root}/archive{n}") for n, sink in enumerate(pipeline["sinks"])]
    return {
        "id": tree["id"],
        "kafka": _consumer_properties(settings),
        "aws": {"endpoint_url": storage.direct, **KEYS} if isinstance(storage, Storage) else {},
        "lake": {"root": f"{root}/lake"},
        "gateway": {"port": free_port()},
        "batching": tree["batching"],
        "pipelines": {settings.pipeline: pipeline | {"source": own, "sinks": sinks}},
    }


def _consumer_properties(settings: ChaosSettings) -> dict[str, Any]:
    """Return the consumers' properties; with KIP-848 the broker sets the session timeout."""
    given = {k: v for k, v in settings.kafka.items() if k != "group.instance.id"}
    if given.get("group.protocol") == "consumer":
        return given
    session = int(settings.session * 1000)
    return {"session.timeout.ms": session, "heartbeat.interval.ms": session // 10} | given


def _relocated(sink: dict[str, Any], uri: str) -> dict[str, Any]:
    """Put the sink below the round's root; crashes must often meet an archive that holds rows."""
    if "parquet" not in sink:
        return {"delta": "table"}
    return sink | {"parquet": uri, "flush": sink["flush"] | {"seconds": FLUSH_S}}


def _write(path: Path, tree: Mapping[str, Any]) -> None:
    """Write the file with mode 600: it may hold the broker's password."""
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(dict(tree), sort_keys=False), encoding="utf-8")


def _environment(
    settings: ChaosSettings,
    topic: str,
    path: Path,
    storage: Storage | TmpfsDisk | None,
    clock: Clock,
) -> Environment:
    config = configfile.load(path, {})
    tables = tables_of(config, settings.pipeline)
    # The user's PINPIP_ variables would point the processes at the user's tables.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PINPIP_")}
    faulty = {"PINPIP_AWS__ENDPOINT_URL": storage.faulty} if isinstance(storage, Storage) else {}
    chains = config.pipeline(settings.pipeline).archives
    return Environment(
        launch=FleetSetup(path.parent, path, settings.pipeline, environment, faulty),
        kafka=settings.kafka,
        topic=topic,
        content=settings.content,
        consumers=settings.consumers,
        rate=settings.rate,
        fault_rate=settings.fault_rate,
        transactions=not settings.mock,
        tables=(tables.clean, tables.quarantine),
        archives=tuple(chain.parquet for chain in chains if chain.stage == "raw"),
        options=tables.options,
        progress=_progress(config, settings.pipeline, clock),
        gateway=None,
        broker=settings.broker,
        cluster=settings.cluster,
        storage=storage if isinstance(storage, Storage) else None,
        disk=storage if isinstance(storage, TmpfsDisk) else None,
        clock=clock,
    )


def _progress(config: Config, name: str, clock: Clock) -> Callable[[], SinkProgress]:
    """Read the sinks' positions, except the quarantine's: it may defer commits without rows."""
    process = process_of(config.pipeline(name), keep_values=False)
    sinks = [s for s in sinks_of(config, name, process, clock) if s.name != "quarantine"]
    tables = tables_of(config, name)
    connector = connector_of(config, name, clock)

    def read() -> SinkProgress:
        ends = connector.ends()
        held = [sink.positions(list(ends)) for sink in sinks]
        lag = max(sum(_missing(end, own[p]) for p, end in ends.items()) for own in held)
        found = [find(uri, tables.options) for uri in (tables.clean, tables.quarantine)]
        return SinkProgress(lag, sum(int(table.count()) for table in found if table is not None))

    return read


def _missing(end: Position | None, held: Position | None) -> int:
    return (end.number if end else 0) - (held.number if held else 0)
