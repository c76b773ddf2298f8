"""schemathesis against a separate gateway, with a real Kafka when there is one, and moto.

    python -m tests.contracts.openapi_contract --examples 10000

Prints what schemathesis did and found; the last line says how many requests that were. The exit
code is 1 when the gateway does anything that its document does not say.
"""

import json
import logging
import secrets
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import schemathesis
import structlog
import typer
from schemathesis.cli import schemathesis as command
from schemathesis.core.parameters import ParameterLocation

from core.config import Gateway
from core.web import hashed
from gateway.http import openapi
from gateway.server import kinesis_client
from pinpip.local.embedded import embedded_aws
from tests.support import brokers
from tests.support.aws import TestAws
from tests.support.gateways import running

KEY = "the-key-of-the-contract"
LAST_HASH_KEY = str(2**128 - 1)
TOPIC = "demo.pin"
STREAM = "streaming-demo-pin"


@contextmanager
def served() -> Iterator[tuple[str, Any]]:
    """Start a gateway with a topic and a stream; yield its URL and a client of its Kinesis."""
    settings = Gateway.model_validate({"api_keys": {"contract": hashed(KEY.encode())}})
    with (
        tempfile.TemporaryDirectory() as folder,
        brokers.best_broker(Path(folder) / "kafka") as broker,
        embedded_aws() as endpoint,
    ):
        aws = TestAws(endpoint)
        broker.produce(TOPIC, [b"{}"])
        aws.client("kinesis").create_stream(StreamName=STREAM, ShardCount=1)
        kinesis = kinesis_client(aws.config)
        with running(broker.properties, settings=settings, kinesis=kinesis) as url:
            yield url, aws.client("kinesis")


def fit_together(kinesis: Any) -> None:
    """Register what makes examples that are right by themselves right together.

    Most topics and streams are made ones that exist, an Idempotency-Key is never used twice, and
    a stream that is to be created does not exist yet.
    """

    @schemathesis.hook
    def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
        names, name = case.path_parameters or {}, case.operation.definition.raw["operationId"]
        if case.meta is None or not case.meta.is_negative_at(ParameterLocation.HEADER):
            _use_key_once(case.headers or {})
        if case.meta is None or case.meta.generation.mode.is_positive:
            _meet(names, name)
        if name in {"createStream", "deleteStream"} and names["stream"] == STREAM:
            names["stream"] = "another"
        if name == "createStream":
            make_room(kinesis, names["stream"])
        if name == "listStreams":
            _start_at_a_stream(case.query or {})
        if name in {"putRecord", "putRecords"}:
            _spare_the_last_hash_key(case.body)


def _use_key_once(headers: Any) -> None:
    headers.pop("Idempotency-Scope", None)
    if "Idempotency-Key" in headers:
        headers["Idempotency-Key"] = uuid4().hex


def _meet(names: Any, name: str) -> None:
    """Three of four random topics, and streams to put into, become the one that exists."""
    if "topic" in names and len(names["topic"]) % 4:
        names["topic"] = TOPIC
    if name in {"putRecord", "putRecords"} and len(names["stream"]) % 4:
        names["stream"] = STREAM


def _start_at_a_stream(query: Any) -> None:
    """Moto fails when a page is to begin elsewhere."""
    for name in ("ExclusiveStartStreamName", "NextToken"):
        if query.get(name):
            query[name] = STREAM


def _spare_the_last_hash_key(body: Any) -> None:
    """Moto fails at the end of the last shard's range."""
    tree = body if isinstance(body, dict) else {}
    members = tree["records"] if isinstance(tree.get("records"), list) else [tree]
    for member in members:
        for name in ("ExplicitHashKey", "explicit-hash-key"):
            if isinstance(member, dict) and str(member.get(name)) == LAST_HASH_KEY:
                member[name] = "0"


def make_room(kinesis: Any, stream: Any) -> None:
    """Delete `stream`, and the oldest of too many: moto cannot hold thousands of shards often."""
    known = kinesis.list_streams(Limit=10_000)["StreamNames"]
    others = [name for name in known if name not in {STREAM, stream}]
    for name in others[:-20] + [name for name in known if name == stream]:
        kinesis.delete_stream(StreamName=name)


def run(examples: int, seed: int) -> int:
    """Make about `examples` random requests, and as many more as border cases and sequences take.

    The exit code: 1 when something was found.
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    methods = [each for path in openapi.document()["paths"].values() for each in path.values()]
    varied = sum("parameters" in operation for operation in methods)
    with served() as (url, kinesis), tempfile.TemporaryDirectory() as folder:
        fit_together(kinesis)
        report, settings = Path(folder) / "report.json", Path(folder) / "schemathesis.toml"
        settings.write_text("cache.enabled = false\n", encoding="utf-8")
        options = [
            f"--header=x-api-key:{KEY}",
            f"--max-examples={-(-examples // varied)}",
            f"--seed={seed}",
            f"--report-json-path={report}",
            "--generation-database=none",
            "--suppress-health-check=all",
            "--request-timeout=60",
        ]
        code = _exit_code([f"--config-file={settings}", "run", f"{url}/openapi.json", *options])
        found = json.loads(report.read_text(encoding="utf-8"))["test_cases"]
    typer.echo(f"{found['generated']} requests, {found['unique_failures']} failures, seed {seed}")
    return code


def _exit_code(arguments: list[str]) -> int:
    try:
        command(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def main() -> int:
    """Run the command; return its exit code."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    given = parser.parse_args()
    return run(given.examples, given.seed)


if __name__ == "__main__":
    sys.exit(main())
