"""Kinesis routes: put records into streams; list, describe, create and delete streams.

Bodies are those of Kinesis, as in API Gateway's service integration of the same routes. The status
is 400 for a request that Kinesis refuses, but 404 for an unknown stream, 429 when Kinesis throttled
all records and 503 when it refuses the gateway's own credentials. After 429 and 503 nothing is
stored and the client may retry.
"""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from core.clock import Clock, SystemClock
from gateway.http.endpoint import check_count
from gateway.http.request_codec import check_media_type
from gateway.http.responses import JSON, RETRY_LATER, Handler, Refusal, Routes, reply
from gateway.kinesis.records import (
    KinesisRecord,
    invalid,
    kinesis_object,
    kinesis_record,
    kinesis_records,
)
from gateway.kinesis.streams import THROUGHPUT, Streams

AMZ_JSON = "application/x-amz-json-1.1"
MAX_PUT_RECORDS = 500
MAX_PUT_BYTES = 5 * 1024 * 1024
PUT_TIMEOUT_S = 5.0  # for the start of the last call: it may take 23 s, and API Gateway waits 29 s
MAX_PAGE = 10_000
MAX_SHARDS = 10_000  # the limit of UpdateShardCount
NEW_STREAM = ("Tags", "WarmThroughputMiBps", "MaxRecordSizeInKiB", "RecordDistributionStrategy")
"""Further parameters of CreateStream; botocore and Kinesis check them."""
PROVISIONED = "PROVISIONED"
ON_DEMAND = "ON_DEMAND"
_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")
_DIGITS = re.compile(r"[0-9]{1,5}")
_NOT_SENT = {"ErrorCode": THROUGHPUT, "ErrorMessage": "not sent: the calls before took too long"}


def routes(kinesis: Streams, max_records: int, clock: Clock | None = None) -> Routes:
    """Return the routes; the stream of the path overrides one in the body."""
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
    """Return the response of `handler`; raises HTTPException 415 if the body is not JSON."""
    check_media_type(request, JSON, AMZ_JSON)
    return await handler(request, body)


async def _put_record(kinesis: Streams, request: Request, body: bytes) -> Response:
    stream, record = _stream(request), kinesis_record(body)
    return reply(await kinesis.call("put_record", StreamName=stream, **record.members))


async def _put_records(
    kinesis: Streams, max_records: int, clock: Clock, request: Request, body: bytes
) -> Response:
    """Put chunks until PUT_TIMEOUT_S; raises Refusal 429 when all records were throttled."""
    stream, records = _stream(request), kinesis_records(body)
    check_count(len(records), max_records)
    results, start = list[dict[str, Any]](), clock.monotonic()
    for chunk in chunks(records):
        if clock.monotonic() - start > PUT_TIMEOUT_S:
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
    """Return one result per record; a refusal of the `first` chunk is raised."""
    entries = [record.members for record in chunk]
    try:
        response = await kinesis.call("put_records", StreamName=stream, Records=entries)
    except Refusal as refusal:
        if first:
            raise
        return [_entry(refusal)] * len(chunk)
    results: list[dict[str, Any]] = response["Records"]
    return results


def _entry(refusal: Refusal) -> dict[str, Any]:
    """Return the result of a failed record: throttled means not stored, else it is unknown."""
    code = THROUGHPUT if refusal.headers else "InternalFailure"
    return {"ErrorCode": code, "ErrorMessage": f"{refusal.code}: {refusal.message}"}


def chunks(records: Sequence[KinesisRecord]) -> Iterator[Sequence[KinesisRecord]]:
    """Yield `records`, in order, in chunks within the limits of one PutRecords call.

    A record above MAX_PUT_BYTES, which some streams accept, is a chunk by itself.
    """
    start = size = 0
    for n, record in enumerate(records):
        if n > start and (n - start == MAX_PUT_RECORDS or size + record.size > MAX_PUT_BYTES):
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
    """Return the paging parameters of the query: `Limit`, and those of `names`, the start."""
    query = request.query_params
    page: dict[str, Any] = {name: query[name] for name in names if name in query}
    if "Limit" not in query:
        return page
    if not _DIGITS.fullmatch(query["Limit"]) or not 1 <= int(query["Limit"]) <= MAX_PAGE:
        raise invalid("Limit", f"must be an integer from 1 to {MAX_PAGE}")
    return page | {"Limit": int(query["Limit"])}


async def _create(kinesis: Streams, request: Request, body: bytes) -> Response:
    """Create a stream with `ShardCount`, or ON_DEMAND in `StreamModeDetails`, and NEW_STREAM."""
    stream, tree = _stream(request), kinesis_object(body)
    mode = _mode(tree["StreamModeDetails"]) if "StreamModeDetails" in tree else None
    wanted: dict[str, Any] = {"StreamModeDetails": {"StreamMode": mode}} if mode else {}
    if mode != ON_DEMAND or "ShardCount" in tree:
        wanted["ShardCount"] = _shards(tree.get("ShardCount"))
    wanted |= {name: tree[name] for name in NEW_STREAM if name in tree}
    return reply(await kinesis.call("create_stream", StreamName=stream, **wanted))


def _shards(count: Any) -> int:
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MAX_SHARDS:
        raise invalid("ShardCount", f"must be an integer from 1 to {MAX_SHARDS}")
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
