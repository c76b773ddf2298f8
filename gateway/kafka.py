"""Kafka REST Proxy v2: `POST /topics/{topic}`."""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response

from gateway.answers import KAFKA_JSON, Refusal, Routes, reply
from gateway.envelope import KafkaRecord, kafka_records
from gateway.producer import FORBIDDEN, UNAUTHENTICATED, Outcome, Stored

JSON_FORMAT = "application/vnd.kafka.json.v2+json"
BINARY_FORMATS = {
    "application/vnd.kafka.binary.v2+json",
    "application/json",
    "application/octet-stream",
}


class Port(Protocol):
    """What the routes ask of Kafka; gateway.producer has the real one."""

    def open(self) -> None:
        """Start."""
        ...

    def close(self) -> None:
        """Finish what is under way."""
        ...

    async def knows(self, topic: str) -> bool:
        """Whether the cluster has this topic."""
        ...

    def fault(self) -> str | None:
        """What keeps the cluster from answering, or None; may block for seconds."""
        ...

    async def produce(self, topic: str, records: Sequence[KafkaRecord]) -> list[Outcome]:
        """Store `records`; outcomes in their order."""
        ...


def routes(kafka: Port, served: Collection[str]) -> Routes:
    """The routes; a topic is known when it is one of `served` or in the cluster's metadata."""
    return {"/topics/{topic}": {"POST": partial(_produce, kafka, frozenset(served))}}


async def _produce(kafka: Port, served: Collection[str], request: Request, body: bytes) -> Response:
    binary = _is_binary(request)
    topic = request.path_params["topic"]
    if topic not in served and not await kafka.knows(topic):
        raise Refusal(404, 40401, "Topic not found.")
    records = kafka_records(body, binary=binary)
    return _answer(await kafka.produce(topic, records))


def _is_binary(request: Request) -> bool:
    content_type = request.headers.get("content-type", "application/octet-stream")
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type != JSON_FORMAT and media_type not in BINARY_FORMATS:
        raise Refusal(415, 415, "HTTP 415 Unsupported Media Type")
    return media_type != JSON_FORMAT


def _answer(outcomes: Sequence[Outcome]) -> Response:
    """kafka-rest's ProduceResponse: 200 whatever failed, unless Kafka let no one in."""
    codes = {outcome.code for outcome in outcomes if not isinstance(outcome, Stored)}
    status = 401 if UNAUTHENTICATED in codes else 403 if FORBIDDEN in codes else 200
    offsets = [_entry(outcome) for outcome in outcomes]
    body = {"offsets": offsets, "key_schema_id": None, "value_schema_id": None}
    return reply(body, status, KAFKA_JSON)


def _entry(outcome: Outcome) -> dict[str, Any]:
    stored = isinstance(outcome, Stored)
    partition, offset = outcome if stored else (None, None)
    code, error = (None, None) if stored else outcome
    return {"partition": partition, "offset": offset, "error_code": code, "error": error}
