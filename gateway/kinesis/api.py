"""Kinesis routes: records into streams, and the streams themselves.

Bodies are those of Kinesis, so that API Gateway's service integration of the same routes looks the
same. The status is 400 for what Kinesis refuses, but 404 for an unknown stream, 429 when it
throttled everything and 503 when it refuses the gateway's own credentials: nothing was stored, and
the caller may try again.
"""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from core.clock import Clock, SystemClock
from gateway.http.content_negotiation import demand
from gateway.http.limits import RETRY_LATER, refuse_more
from gateway.http.responses import JSON, Handler, Refusal, Routes, reply
from gateway.kinesis.records import (
    KinesisRecord,
    invalid,
    kinesis_object,
    kinesis_record,
    kinesis_records,
)
from gateway.kinesis.streams import THROUGHPUT, Streams

AMZ_JSON = "application/x-amz-json-1.1"
PUT_RECORDS = 500
PUT_BYTES = 5 * 1024 * 1024
SENDING_SECONDS = 5.0  # a call may take 23, and API Gateway gives up after 29
PAGE = 10_000
SHARDS = 10_000  # the most that UpdateShardCount takes
NEW_STREAM = ("Tags", "WarmThroughputMiBps", "MaxRecordSizeInKiB", "RecordDistributionStrategy")
"""What CreateStream takes besides; botocore and Kinesis check it."""
PROVISIONED = "PROVISIONED"
ON_DEMAND = "ON_DEMAND"
_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")
_DIGITS = re.compile(r"[0-9]{1,5}")
_NOT_SENT = {"ErrorCode": THROUGHPUT, "ErrorMessage": "not sent: the calls before took too long"}


def routes(kinesis: Streams, max_records: int, clock: Clock | None = None) -> Routes:
    """The routes; the path's stream wins over a body's."""
    put_records = partial(_put_records, kinesis, max_records, clock or SystemClock())
    return {
        "/streams": {"GET": partial(_list, kinesis)},
        "/streams/{stream}": {
            "GET": partial(_describe, kinesis),
            "POST": partial(_json, partial(_create, kinesis)),
            "DELETE": partial(_delete, kinesis),
        },
        "/streams/{stream}/record": {"PUT": partial(_json, partial(_put_record, kinesis))},
        "/streams/{stream}/records": {"PUT": partial(_json, put_records)},
    }


async def _json(handler: Handler, request: Request, body: bytes) -> Response:
    """What `handler` answers; raises HTTPException 415 for a body that is not declared as JSON."""
    demand(request, JSON, AMZ_JSON)
    return await handler(request, body)


async def _put_record(kinesis: Streams, request: Request, body: bytes) -> Response:
    stream, record = _stream(request), kinesis_record(body)
    return reply(await kinesis.call("put_record", StreamName=stream, **record.members))


async def _put_records(
    kinesis: Streams, max_records: int, clock: Clock, request: Request, body: bytes
) -> Response:
    """Chunk after chunk while there is time; raises Refusal 429 when all were throttled."""
    stream, records = _stream(request), kinesis_records(body)
    refuse_more(len(records), max_records)
    results, start = list[dict[str, Any]](), clock.monotonic()
    for chunk in chunks(records):
        if clock.monotonic() - start > SENDING_SECONDS:
            results += [_NOT_SENT] * len(chunk)
        else:
            results += await _put_chunk(kinesis, stream, chunk, first=not results)
    failed = [result for result in results if result.get("ErrorCode")]
    if len(failed) == len(results) and all(f["ErrorCode"] == THROUGHPUT for f in failed):
        raise Refusal(429, THROUGHPUT, failed[0]["ErrorMessage"], RETRY_LATER)
    return reply({"FailedRecordCount": len(failed), "Records": results})


async def _put_chunk(
    kinesis: Streams, stream: str, chunk: Sequence[KinesisRecord], *, first: bool
) -> list[dict[str, Any]]:
    """One result per record; a refusal fails them all, but goes on to the caller for the first."""
    entries = [record.members for record in chunk]
    try:
        answer = await kinesis.call("put_records", StreamName=stream, Records=entries)
    except Refusal as refusal:
        if first:
            raise
        return [_entry(refusal)] * len(chunk)
    results: list[dict[str, Any]] = answer["Records"]
    return results


def _entry(refusal: Refusal) -> dict[str, Any]:
    """A failed entry has one of two codes: surely not stored, or perhaps."""
    code = THROUGHPUT if refusal.headers else "InternalFailure"
    return {"ErrorCode": code, "ErrorMessage": f"{refusal.code}: {refusal.message}"}


def chunks(records: Sequence[KinesisRecord]) -> Iterator[Sequence[KinesisRecord]]:
    """`records` in order, in as many PutRecords calls as Kinesis's limits ask for.

    A record above PUT_BYTES, which some streams take, gets a call of its own.
    """
    start = size = 0
    for n, record in enumerate(records):
        if n > start and (n - start == PUT_RECORDS or size + record.size > PUT_BYTES):
            yield records[start:n]
            start, size = n, 0
        size += record.size
    yield records[start:]


async def _list(kinesis: Streams, request: Request, _body: bytes) -> Response:
    page = _page(request, "ExclusiveStartStreamName", "NextToken")
    return reply(await kinesis.call("list_streams", **page))


async def _describe(kinesis: Streams, request: Request, _body: bytes) -> Response:
    page = _page(request, "ExclusiveStartShardId")
    return reply(await kinesis.call("describe_stream", StreamName=_stream(request), **page))


def _page(request: Request, *names: str) -> dict[str, Any]:
    """Kinesis's own paging, from the query: `Limit`, and where to start by one of `names`."""
    query = request.query_params
    page: dict[str, Any] = {name: query[name] for name in names if name in query}
    if "Limit" not in query:
        return page
    if not _DIGITS.fullmatch(query["Limit"]) or not 1 <= int(query["Limit"]) <= PAGE:
        raise invalid("Limit", f"must be an integer from 1 to {PAGE}")
    return page | {"Limit": int(query["Limit"])}


async def _create(kinesis: Streams, request: Request, body: bytes) -> Response:
    """CreateStream: `ShardCount` or `StreamModeDetails` with ON_DEMAND, and NEW_STREAM's."""
    stream, tree = _stream(request), kinesis_object(body)
    mode = _mode(tree["StreamModeDetails"]) if "StreamModeDetails" in tree else None
    wanted: dict[str, Any] = {"StreamModeDetails": {"StreamMode": mode}} if mode else {}
    if mode != ON_DEMAND or "ShardCount" in tree:
        wanted["ShardCount"] = _shards(tree.get("ShardCount"))
    wanted |= {name: tree[name] for name in NEW_STREAM if name in tree}
    return reply(await kinesis.call("create_stream", StreamName=stream, **wanted))


def _shards(count: Any) -> int:
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= SHARDS:
        raise invalid("ShardCount", f"must be an integer from 1 to {SHARDS}")
    return count


def _mode(details: Any) -> str:
    mode = details.get("StreamMode") if isinstance(details, dict) else None
    if mode not in (PROVISIONED, ON_DEMAND):
        raise invalid("StreamModeDetails.StreamMode", f"must be {PROVISIONED} or {ON_DEMAND}")
    return str(mode)


async def _delete(kinesis: Streams, request: Request, _body: bytes) -> Response:
    return reply(await kinesis.call("delete_stream", StreamName=_stream(request)))


def _stream(request: Request) -> str:
    stream: str = request.path_params["stream"]
    if not _NAME.fullmatch(stream):
        raise invalid("StreamName", "must satisfy regular expression pattern: [a-zA-Z0-9_.-]+")
    return stream
