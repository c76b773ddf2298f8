"""The whole embedded stack for `pinpip local up` and the demo."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import requests
from botocore.config import Config as BotoConfig
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from pinpip import aws
from pinpip.clock import Clock, SystemClock
from pinpip.config import Config, KafkaSource, KinesisSource, ParquetSink
from pinpip.configfile import STATE_FILE, resolve
from pinpip.errors import ConfigError, FatalError
from pinpip.local.embedded import embedded_aws, embedded_kafka
from pinpip.local.java import real_kafka

PARTITIONS = 4
SHARDS = 2
GATEWAY_STARTUP = 30.0
GATEWAY_SHUTDOWN = 15.0
_BOTO = BotoConfig(retries={"mode": "standard"})


@dataclass(frozen=True)
class Stack:
    """Addresses of a running stack, and the process that runs it: what the state file holds."""

    kafka: str
    aws: str
    pid: int


@contextmanager
def local_stack(
    config: Config, *, kafka: Literal["mock", "real"] = "mock", state: Path = STATE_FILE
) -> Iterator[Stack]:
    """Kafka and AWS with the configured topics, streams and buckets, named in `state`.

    A real Kafka keeps its topics beside `state`. Raises ConfigError when another stack runs there.
    """
    state.parent.mkdir(parents=True, exist_ok=True)
    _refuse_second(state)
    with _kafka(kafka, state.parent / "kafka") as bootstrap, embedded_aws() as endpoint:
        stack = Stack(bootstrap, endpoint, os.getpid())
        fresh = state.with_suffix(f".{stack.pid}")
        fresh.write_text(json.dumps(asdict(stack)), encoding="utf-8")
        _provide(resolve(config, fresh), real=kafka == "real")
        fresh.replace(state)  # whoever sees it finds everything ready
        try:
            yield stack
        finally:
            state.unlink(missing_ok=True)


@contextmanager
def gateway_process(path: Path, config: Config, clock: Clock | None = None) -> Iterator[str]:
    """The gateway as a process of its own, once it answers; its URL with the stage.

    Raises FatalError when it ends or stays silent.
    """
    own = config.gateway
    command = [sys.executable, "-m", "pinpip", "--config", str(path), "gateway"]
    process = subprocess.Popen(command, start_new_session=True)  # noqa: S603  # our own command
    try:
        _await_health(f"http://{own.host}:{own.port}/health", process, clock or SystemClock())
        yield f"http://{own.host}:{own.port}/{own.stage}"
    finally:
        process.terminate()
        try:
            process.wait(GATEWAY_SHUTDOWN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_health(url: str, process: "subprocess.Popen[bytes]", clock: Clock) -> None:
    deadline = clock.monotonic() + GATEWAY_STARTUP
    while not _is_up(url):
        if process.poll() is not None:
            raise FatalError(
                f"the gateway ended with code {process.returncode}",
                "its own message is above; is its port taken? set gateway.port",
            )
        if clock.monotonic() > deadline:
            raise FatalError(f"the gateway did not answer at {url}", "set another gateway.port")
        clock.sleep(0.05)


def _is_up(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False


@contextmanager
def _kafka(kind: str, folder: Path) -> Iterator[str]:
    if kind == "mock":
        with embedded_kafka() as bootstrap:
            yield bootstrap
    else:
        with real_kafka(folder) as broker:
            yield broker.bootstrap


def _refuse_second(state: Path) -> None:
    try:
        pid = int(json.loads(state.read_text(encoding="utf-8"))["pid"])
        os.kill(pid, 0)
    except (OSError, ValueError, KeyError):  # no stack, or one that was killed
        return
    raise ConfigError(
        f"an embedded stack already runs here: process {pid}",
        f"use it, or stop it first: kill {pid}",
    )


def _provide(config: Config, *, real: bool) -> None:
    sources = [pipeline.source for pipeline in config.pipelines.values()]
    streams = {s.stream for s in sources if isinstance(s, KinesisSource)}
    _create_streams(aws.client(config.aws, "kinesis", _BOTO), streams)
    s3 = aws.client(config.aws, "s3", _BOTO)
    for bucket in sorted(buckets(config)):
        s3.create_bucket(Bucket=bucket)
    if real:  # on the mock cluster a topic appears when it is first produced to
        topics = {t for s in sources if isinstance(s, KafkaSource) for t in s.topics}
        _create_topics(config.kafka.bootstrap_servers, topics)


def _create_streams(kinesis: Any, streams: set[str]) -> None:
    for stream in sorted(streams):
        kinesis.create_stream(StreamName=stream, ShardCount=SHARDS)
        kinesis.get_waiter("stream_exists").wait(StreamName=stream, WaiterConfig={"Delay": 1})


def _create_topics(bootstrap: str, topics: set[str]) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    wanted = [NewTopic(topic, PARTITIONS, 1) for topic in sorted(topics)]
    for made in admin.create_topics(wanted).values() if wanted else ():
        try:
            made.result(30)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise


def buckets(config: Config) -> set[str]:
    """The S3 buckets that the lake and the sinks of `config` name."""
    sinks = [sink for pipeline in config.pipelines.values() for sink in pipeline.sinks]
    parquet = [sink.parquet for sink in sinks if isinstance(sink, ParquetSink)]
    uris = [config.lake.uri(path) for path in ("", *parquet)]
    return {uri.removeprefix("s3://").split("/")[0] for uri in uris if uri.startswith("s3://")}
