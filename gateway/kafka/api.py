"""Kafka REST Proxy v2: produce to topics and partitions, and the reads of metadata.

Routes, bodies and codes are those of kafka-rest 8.5.0 (resources/v2, entities/v2, Errors.java) and
rest-utils' exception mappers. Exceptions follow its API reference and kafka-rest 5.x:

- An unknown topic or partition is 404 40401 or 40402 at once. 8.5 waits a minute, then fails each
  record with 50003; its code for the read of an unknown topic is 40403.
- `application/json` is accepted as a content type (binary) and as a response type, and the content
  type of a read is ignored. 8.5 responds with 415 and 406.
- 406 has an error body; Jersey sends none. 503 with Retry-After replaces 8.5's 500 50003.
"""

import re
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response

from gateway.http.endpoint import check_count
from gateway.http.request_codec import PARTITION_MAX, KafkaRecord, essence, kafka_records
from gateway.http.responses import (
    ANYTHING,
    JSON,
    KAFKA_JSON,
    Handler,
    Refusal,
    Routes,
    accepted,
    reply,
)
from gateway.kafka.cluster import (
    PARTITION_NOT_FOUND,
    TOPIC_NOT_FOUND,
    KafkaCluster,
    PartitionReplicas,
)
from gateway.kafka.producer import FORBIDDEN, UNAUTHENTICATED, Outcome, Stored

JSON_FORMAT = "application/vnd.kafka.json.v2+json"
BINARY_FORMAT = "application/vnd.kafka.binary.v2+json"
UNVERSIONED = "application/vnd.kafka+json"
BINARY_FORMATS = {BINARY_FORMAT, KAFKA_JSON, UNVERSIONED, JSON, "application/octet-stream"}
SCHEMA_FORMATS = {
    f"application/vnd.kafka.{name}.v2+json": name for name in ("avro", "jsonschema", "protobuf")
}
RESPONSE_TYPES = (KAFKA_JSON, UNVERSIONED, JSON)
"""The media types of responses, the preferred one first."""
_STATUS = {UNAUTHENTICATED: 401, FORBIDDEN: 403}
_DIGITS = re.compile(r"[0-9]{1,10}")

Read = Callable[[KafkaCluster, Request], Awaitable[Any]]


class Port(Protocol):
    """The producer that the routes need; KafkaProducer implements it."""

    async def open(self) -> None:
        """Start."""
        ...

    async def close(self) -> None:
        """Wait for records in flight, then stop."""
        ...

    async def knows(self, topic: str) -> bool:
        """Whether the cluster has this topic."""
        ...

    def fault(self) -> str | None:
        """Return why the cluster does not respond, or None; may block for seconds."""
        ...

    async def produce(self, topic: str, records: Sequence[KafkaRecord]) -> list[Outcome]:
        """Store `records`; return their outcomes in order."""
        ...


def routes(kafka: Port, cluster: KafkaCluster, served: Collection[str], max_records: int) -> Routes:
    """Return the routes; known topics are `served` and those in the cluster's metadata."""
    produce = partial(_produce, kafka, cluster, frozenset(served), max_records)
    topic, partition = "/topics/{topic}", "/topics/{topic}/partitions/{partition}"
    table: dict[str, dict[str, Handler]] = {
        "/": {"GET": partial(_respond, _root, cluster)},
        "/brokers": {"GET": partial(_respond, _brokers, cluster)},
        "/topics": {"GET": partial(_respond, _topics, cluster)},
        topic: {"GET": partial(_respond, _topic, cluster), "POST": produce},
        f"{topic}/partitions": {"GET": partial(_respond, _partitions, cluster)},
        partition: {"GET": partial(_respond, _partition, cluster), "POST": produce},
        f"{partition}/offsets": {"GET": partial(_respond, _offsets, cluster)},
    }
    return {
        path: {method: partial(_negotiated, handler) for method, handler in methods.items()}
        for path, methods in table.items()
    }


async def _negotiated(handler: Handler, request: Request, body: bytes) -> Response:
    """Return the response of `handler` in the media type that the client accepts."""
    accept = ",".join(request.headers.getlist("accept")) or ANYTHING
    media_type = accepted(accept, RESPONSE_TYPES)
    if media_type is None:
        raise Refusal(406, 406, "HTTP 406 Not Acceptable")
    try:
        response = await handler(request, body)
    except Refusal as refusal:
        refusal.media_type = media_type
        raise
    response.headers["content-type"] = media_type
    return response


async def _produce(
    kafka: Port,
    cluster: KafkaCluster,
    served: Collection[str],
    max_records: int,
    request: Request,
    body: bytes,
) -> Response:
    """ProduceToTopicAction and ProduceToPartitionAction: a record's own partition wins."""
    topic: str = request.path_params["topic"]
    number = _number(request) if "partition" in request.path_params else None
    records = kafka_records(body, binary=_is_binary(request))
    check_count(len(records), max_records)
    if topic not in served and not await kafka.knows(topic):
        raise Refusal(404, TOPIC_NOT_FOUND, "Topic not found.")
    if number is not None:
        if await cluster.lacks(topic, number):
            raise Refusal(404, PARTITION_NOT_FOUND, "Partition not found.")
        records = [
            r if r.partition is not None else KafkaRecord(r.key, r.value, number) for r in records
        ]
    return _produced(await kafka.produce(topic, records))


def _is_binary(request: Request) -> bool:
    """Whether the body has the binary format, not the JSON format.

    Raises Refusal 415 for other media types, among them those that need no CORS preflight.
    """
    content_type = essence(request.headers.get("content-type", ""))
    if content_type == JSON_FORMAT or content_type in BINARY_FORMATS:
        return content_type != JSON_FORMAT
    message = "HTTP 415 Unsupported Media Type:"
    if content_type in SCHEMA_FORMATS:
        message += f" {SCHEMA_FORMATS[content_type]} needs a schema registry, there is none;"
    raise Refusal(415, 415, f"{message} send {JSON_FORMAT} or {BINARY_FORMAT}")


def _number(request: Request) -> int:
    """Return the partition of the path; raises Refusal 404, as JAX-RS does, if it is no int."""
    text: str = request.path_params["partition"]
    if not _DIGITS.fullmatch(text) or int(text) > PARTITION_MAX:
        raise Refusal(404, 404, "HTTP 404 Not Found")
    return int(text)


def _produced(outcomes: Sequence[Outcome]) -> Response:
    """Return the ProduceResponse: 200, but 401 or 403 when Kafka denied access to a record."""
    codes = (outcome.code for outcome in outcomes if not isinstance(outcome, Stored))
    status = next((_STATUS[code] for code in codes if code in _STATUS), 200)
    offsets = [_entry(outcome) for outcome in outcomes]
    return reply({"offsets": offsets, "key_schema_id": None, "value_schema_id": None}, status)


def _entry(outcome: Outcome) -> Any:
    if isinstance(outcome, Stored):
        return outcome
    code, error = outcome
    return {"partition": None, "offset": None, "error_code": code, "error": error}


async def _respond(read: Read, cluster: KafkaCluster, request: Request, _body: bytes) -> Response:
    return reply(await read(cluster, request))


async def _root(_cluster: KafkaCluster, _request: Request) -> dict[str, Any]:
    return {}


async def _brokers(cluster: KafkaCluster, _request: Request) -> dict[str, Any]:
    return {"brokers": await cluster.brokers()}


async def _topics(cluster: KafkaCluster, _request: Request) -> list[str]:
    return await cluster.topics()


async def _topic(cluster: KafkaCluster, request: Request) -> dict[str, Any]:
    name: str = request.path_params["topic"]
    partitions = await _partitions(cluster, request)
    return {"name": name, "configs": await cluster.configs(name), "partitions": partitions}


async def _partitions(cluster: KafkaCluster, request: Request) -> list[dict[str, Any]]:
    return [_described(p) for p in await cluster.partitions(request.path_params["topic"])]


async def _partition(cluster: KafkaCluster, request: Request) -> dict[str, Any]:
    number = _number(request)
    return _described(await cluster.partition(request.path_params["topic"], number))


async def _offsets(cluster: KafkaCluster, request: Request) -> dict[str, int]:
    number = _number(request)
    first, end = await cluster.offsets(request.path_params["topic"], number)
    return {"beginning_offset": first, "end_offset": end}


def _described(partition: PartitionReplicas) -> dict[str, Any]:
    """Return the GetPartitionResponse."""
    replicas = [
        {"broker": n, "leader": n == partition.leader, "in_sync": n in partition.in_sync}
        for n in partition.replicas
    ]
    return {"partition": partition.number, "leader": partition.leader, "replicas": replicas}
