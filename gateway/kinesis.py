"""Kinesis routes: records into streams, and the streams themselves.

Bodies are those of Kinesis, so that API Gateway's service integration of the same routes looks the
same. The status is 400 for what Kinesis refuses, but 404 for an unknown stream and 429 when it
throttled everything: nothing was stored, and the caller may try again.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ParamValidationError,
)
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from gateway.answers import Refusal, Routes, reply
from gateway.envelope import (
    KinesisRecord,
    invalid,
    kinesis_object,
    kinesis_record,
    kinesis_records,
)
from gateway.limits import RETRY_LATER, refuse_more
from pinpip.clock import Clock, SystemClock

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

PUT_RECORDS = 500
PUT_BYTES = 5 * 1024 * 1024
SENDING_SECONDS = 5.0  # a call may take 23, and API Gateway gives up after 29
PAGE = 10_000
SHARDS = 10_000  # the most that UpdateShardCount takes
THROUGHPUT = "ProvisionedThroughputExceededException"
THROTTLED = {
    THROUGHPUT,
    "LimitExceededException",
    "ThrottlingException",
    "KMSThrottlingException",
}
PROVISIONED = "PROVISIONED"
ON_DEMAND = "ON_DEMAND"
_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")
_DIGITS = re.compile(r"[0-9]{1,5}")
_NOT_SENT = {"ErrorCode": THROUGHPUT, "ErrorMessage": "not sent: the calls before took too long"}
_log = structlog.get_logger("gateway")


def routes(kinesis: "KinesisClient", max_records: int, clock: Clock | None = None) -> Routes:
    """The routes; the path's stream wins over a body's."""
    return {
        "/streams": {"GET": partial(_list, kinesis)},
        "/streams/{stream}": {
            "GET": partial(_describe, kinesis),
            "POST": partial(_create, kinesis),
            "DELETE": partial(_delete, kinesis),
        },
        "/streams/{stream}/record": {"PUT": partial(_put_record, kinesis)},
        "/streams/{stream}/records": {
            "PUT": partial(_put_records, kinesis, max_records, clock or SystemClock())
        },
    }


async def _put_record(kinesis: "KinesisClient", request: Request, body: bytes) -> Response:
    stream, record = _stream(request), kinesis_record(body)
    put = partial(
        kinesis.put_record,
        StreamName=stream,
        Data=record.data,
        PartitionKey=record.partition_key,
    )
    return reply(await _call(put))


async def _put_records(
    kinesis: "KinesisClient", max_records: int, clock: Clock, request: Request, body: bytes
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
    kinesis: "KinesisClient", stream: str, chunk: Sequence[KinesisRecord], *, first: bool
) -> list[dict[str, Any]]:
    """One result per record; a refusal fails them all, but goes on to the caller for the first."""
    entries = [{"Data": r.data, "PartitionKey": r.partition_key} for r in chunk]
    put = partial(kinesis.put_records, StreamName=stream, Records=entries)  # type: ignore[arg-type]
    try:
        results: list[dict[str, Any]] = (await _call(put))["Records"]
    except Refusal as refusal:
        if first:
            raise
        return [_entry(refusal)] * len(chunk)
    return results


def _entry(refusal: Refusal) -> dict[str, Any]:
    """A failed entry has one of two codes: surely not stored, or perhaps."""
    code = THROUGHPUT if refusal.headers else "InternalFailure"
    return {"ErrorCode": code, "ErrorMessage": f"{refusal.code}: {refusal.message}"}


def chunks(records: Sequence[KinesisRecord]) -> Iterator[Sequence[KinesisRecord]]:
    """`records` in order, in as many PutRecords calls as Kinesis's limits ask for."""
    start = size = 0
    for n, record in enumerate(records):
        if n - start == PUT_RECORDS or size + record.size > PUT_BYTES:
            yield records[start:n]
            start, size = n, 0
        size += record.size
    yield records[start:]


async def _list(kinesis: "KinesisClient", request: Request, _body: bytes) -> Response:
    page = _page(request, "ExclusiveStartStreamName", "NextToken")
    return reply(await _call(partial(kinesis.list_streams, **page)))


async def _describe(kinesis: "KinesisClient", request: Request, _body: bytes) -> Response:
    page = _page(request, "ExclusiveStartShardId")
    return reply(await _call(partial(kinesis.describe_stream, StreamName=_stream(request), **page)))


def _page(request: Request, *names: str) -> dict[str, Any]:
    """Kinesis's own paging, from the query: `Limit`, and where to start by one of `names`."""
    query = request.query_params
    page: dict[str, Any] = {name: query[name] for name in names if name in query}
    if "Limit" not in query:
        return page
    if not _DIGITS.fullmatch(query["Limit"]) or not 1 <= int(query["Limit"]) <= PAGE:
        raise invalid("Limit", f"must be an integer from 1 to {PAGE}")
    return page | {"Limit": int(query["Limit"])}


async def _create(kinesis: "KinesisClient", request: Request, body: bytes) -> Response:
    """CreateStream: `ShardCount`, or `StreamModeDetails` with the mode ON_DEMAND."""
    stream, tree = _stream(request), kinesis_object(body)
    mode = _mode(tree["StreamModeDetails"]) if "StreamModeDetails" in tree else None
    wanted: dict[str, Any] = {"StreamModeDetails": {"StreamMode": mode}} if mode else {}
    if mode != ON_DEMAND or "ShardCount" in tree:
        wanted["ShardCount"] = _shards(tree.get("ShardCount"))
    return reply(await _call(partial(kinesis.create_stream, StreamName=stream, **wanted)))


def _shards(count: Any) -> int:
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= SHARDS:
        raise invalid("ShardCount", f"must be an integer from 1 to {SHARDS}")
    return count


def _mode(details: Any) -> str:
    mode = details.get("StreamMode") if isinstance(details, dict) else None
    if mode not in (PROVISIONED, ON_DEMAND):
        raise invalid("StreamModeDetails.StreamMode", f"must be {PROVISIONED} or {ON_DEMAND}")
    return str(mode)


async def _delete(kinesis: "KinesisClient", request: Request, _body: bytes) -> Response:
    return reply(await _call(partial(kinesis.delete_stream, StreamName=_stream(request))))


def _stream(request: Request) -> str:
    stream: str = request.path_params["stream"]
    if not _NAME.fullmatch(stream):
        raise invalid("StreamName", "must satisfy regular expression pattern: [a-zA-Z0-9_.-]+")
    return stream


async def _call(operation: Any) -> dict[str, Any]:
    """The answer of boto3's blocking `operation`; raises Refusal when Kinesis has none."""
    try:
        answer = await run_in_threadpool(operation) or {}
    except ClientError as error:
        raise _refusal(error) from None
    except (EndpointConnectionError, ConnectTimeoutError):
        message = "Kinesis cannot be reached"
        raise Refusal(503, "ServiceUnavailable", message, RETRY_LATER) from None
    except ParamValidationError as error:
        raise Refusal(400, "ValidationException", str(error)) from None
    except BotoCoreError as error:
        _log.warning("kinesis", error=type(error).__name__)
        raise Refusal(500, "InternalFailure", "Kinesis did not answer; outcome unknown") from None
    return {key: _plain(value) for key, value in answer.items() if key != "ResponseMetadata"}


def _refusal(error: ClientError) -> Refusal:
    code = error.response["Error"]["Code"]
    message = error.response["Error"].get("Message", "")
    if code in THROTTLED:
        return Refusal(429, code, message, RETRY_LATER)
    if code == "ResourceNotFoundException":
        return Refusal(404, code, message)
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    return Refusal(400 if status < 500 else 500, code, message)  # noqa: PLR2004


def _plain(value: Any) -> Any:
    """`value` as Kinesis's JSON has it: times are seconds since 1970."""
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
