"""Run the embedded stack of `pinpip local up`: Kafka, AWS, and a state file with addresses."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import requests
from botocore.config import Config as BotoConfig
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from core import aws, paths
from core.clock import Clock
from core.config import Aws, Config, Gateway
from core.errors import ConfigError, FatalError
from core.local import KEYS, running
from gateway.server import listen
from pinpip import child
from pinpip.child import Held
from pinpip.folders import writing
from pinpip.local.embedded import PARTITIONS, embedded_aws, embedded_kafka
from pinpip.local.java import real_kafka

SHARDS = 2
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 35.0  # the gateway waits 30 s for requests in flight


@dataclass(frozen=True)
class Stack:
    """The addresses: Kafka's bootstrap servers and the AWS endpoint URL.

    `check` raises FatalError when a part has ended by itself.
    """

    kafka: str
    aws: str
    check: Callable[[], None]


@contextmanager
def local_stack(
    config: Config, *, kafka: Literal["mock", "real"], state: Path, held: Held = nullcontext
) -> Iterator[Stack]:
    """Run Kafka and AWS with the topics, streams and buckets of `config` while the block runs.

    `held`: a block that no signal interrupts. The file `state` has the addresses. Raises
    ConfigError when another stack is running.
    """
    _refuse_second(state)
    with writing(state.parent):
        state.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as parts:
        check: Callable[[], None] = _nothing_to_check
        if kafka == "real":
            broker = parts.enter_context(real_kafka(state.parent / "kafka", held=held))
            bootstrap, check = broker.bootstrap, broker.check
        else:
            bootstrap = parts.enter_context(embedded_kafka())
        stack = Stack(bootstrap, parts.enter_context(embedded_aws(state.parent / "aws.log")), check)
        _create_topics(config, bootstrap, real=kafka == "real")
        _create_in_aws(config, stack.aws)
        parts.enter_context(_state_file(stack, state))
        yield stack


def _nothing_to_check() -> None:
    """Find nothing: the mock cluster lives and ends with this process."""


def _refuse_second(state: Path) -> None:
    found = running(state)
    if found:
        raise ConfigError(
            f"an embedded stack already runs here (process {found['pid']}, {state})",
            "use it, or stop it first with Ctrl-C in its terminal",
        )


@contextmanager
def _state_file(stack: Stack, state: Path) -> Iterator[None]:
    """Write the state file atomically; remove it at the end."""
    tree = {"kafka": stack.kafka, "aws": stack.aws, "pid": os.getpid()}
    draft = state.with_suffix(f".{os.getpid()}")
    with writing(state.parent):
        draft.write_text(json.dumps(tree), encoding="utf-8")
        draft.replace(state)
    try:
        yield
    finally:
        state.unlink(missing_ok=True)


def _create_topics(config: Config, bootstrap: str, *, real: bool) -> None:
    """Create every topic; a mock cluster creates one on a metadata request."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})
    topics = {topic for p in config.pipelines.values() for topic in p.source.plain_topics}
    if not real:
        for topic in topics:
            admin.list_topics(topic, timeout=10)
        return
    for topic, made in admin.create_topics([NewTopic(t, PARTITIONS, 1) for t in topics]).items():
        try:
            made.result(30)
        except KafkaException as error:
            if error.args[0].name() != "TOPIC_ALREADY_EXISTS":
                raise FatalError(f"topic {topic}: {error}", "see the broker's log") from error


def _create_in_aws(config: Config, endpoint: str) -> None:
    keys = dict(zip(("access_key_id", "secret_access_key"), KEYS, strict=True))
    own = Aws.model_validate({"region": config.aws.region, "endpoint_url": endpoint, **keys})
    kinesis, s3 = (aws.client(own, name, BotoConfig()) for name in ("kinesis", "s3"))
    for stream in {name for p in config.pipelines.values() for name in p.source.streams}:
        kinesis.create_stream(StreamName=stream, ShardCount=SHARDS)
    for bucket in _buckets(config):
        s3.create_bucket(Bucket=bucket)


def _buckets(config: Config) -> set[str]:
    archives = [archive for p in config.pipelines.values() for archive in p.archives]
    uris = [config.lake.root, *(archive.parquet for archive in archives)]
    return {parted[0] for uri in uris if (parted := paths.bucket(uri))}


@dataclass(frozen=True)
class GatewayProcess:
    """The gateway of the stack and its URL."""

    url: str
    process: "subprocess.Popen[bytes]"

    def check(self) -> None:
        """Raise FatalError when the gateway has ended by itself."""
        if self.process.poll() is not None:
            raise FatalError(
                f"the gateway at {self.url} ended with code {self.process.returncode}",
                "its own message is above; start the stack again",
            )


@contextmanager
def gateway_process(
    config_path: Path, config: Config, clock: Clock, held: Held = nullcontext
) -> Iterator[GatewayProcess]:
    """Run `pinpip gateway` as a separate process until the block ends; it responds from the start.

    `held`: a block that no signal interrupts. Raises FatalError when it does not start: another
    program may have its port.
    """
    own = config.gateway
    listen(own).close()  # or another server on its port would be taken for it
    with child.pinpip(
        config_path, ["gateway"], held, STOP_TIMEOUT_S, stdout=subprocess.DEVNULL
    ) as process:
        _await_health(own, process, clock)
        yield GatewayProcess(f"{own.url}/{own.stage}", process)


def _await_health(own: Gateway, process: "subprocess.Popen[bytes]", clock: Clock) -> None:
    trusted = own.tls.certificate if own.tls else True
    deadline = clock.monotonic() + START_TIMEOUT_S
    while clock.monotonic() < deadline:
        if process.poll() is not None:
            raise FatalError("the gateway did not start", "its own message is above")
        try:
            requests.get(f"{own.url}/health", timeout=2, verify=trusted).raise_for_status()
        except requests.RequestException:
            clock.sleep(0.1)
        else:
            return
    raise FatalError(f"the gateway at {own.url} does not answer", "check that the port is free")
