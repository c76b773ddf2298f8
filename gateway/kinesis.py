"""Kinesis routes: records into streams, and the streams themselves."""

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

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

PUT_RECORDS = 500
PUT_BYTES = 5 * 1024 * 1024
THROUGHPUT = "ProvisionedThroughputExceededException"
THROTTLED = {
    THROUGHPUT,
    "LimitExceededException",
    "ThrottlingException",
    "KMSThrottlingException",
}
_NAME = re.compile(r"[a-zA-Z0-9_.-]{1,128}")
_RETRY_LATER = {"Retry-After": "1"}
_log = structlog.get_logger("gateway")


def routes(kinesis: "KinesisClient") -> Routes:
    """The routes; the path's stream wins over a body's."""
    return {
        "/streams": {"GET": partial(_list, kinesis)},
        "/streams/{stream}": {
            "GET": partial(_describe, kinesis),
            "POST": partial(_create, kinesis),
            "DELETE": partial(_delete, kinesis),
        },
        "/streams/{stream}/record": {"PUT": partial(_put_record, kinesis)},
        "/streams/{stream}/records": {"PUT": partial(_put_records, kinesis)},
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


async def _put_records(kinesis: "KinesisClient", request: Request, body: bytes) -> Response:
    """Chunk after chunk; once some records are stored a refused chunk fails by its entries."""
    stream, results = _stream(request), list[dict[str, Any]]()
    for chunk in chunks(kinesis_records(body)):
        entries = [{"Data": r.data, "PartitionKey": r.partition_key} for r in chunk]
        try:
            put = partial(kinesis.put_records, StreamName=stream, Records=entries)  # type: ignore[arg-type]
            results += (await _call(put))["Records"]
        except Refusal as refusal:
            if not results:
                raise
            results += [_entry(refusal)] * len(chunk)
    failed = sum("ErrorCode" in result for result in results)
    return reply({"FailedRecordCount": failed, "Records": results})


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


async def _list(kinesis: "KinesisClient", _request: Request, _body: bytes) -> Response:
    def names() -> dict[str, Any]:
        page = kinesis.list_streams()
        found = page["StreamNames"]
        while page["HasMoreStreams"]:  # boto3's paginator wants a NextToken, which not all give
            page = kinesis.list_streams(ExclusiveStartStreamName=found[-1])
            found += page["StreamNames"]
        return {"StreamNames": found}

    return reply({**await _call(names), "HasMoreStreams": False})


async def _describe(kinesis: "KinesisClient", request: Request, _body: bytes) -> Response:
    return reply(await _call(partial(kinesis.describe_stream, StreamName=_stream(request))))


async def _create(kinesis: "KinesisClient", request: Request, body: bytes) -> Response:
    stream, shards = _stream(request), kinesis_object(body).get("ShardCount")
    if not isinstance(shards, int) or isinstance(shards, bool) or not 1 <= shards < 2**31:
        raise invalid("ShardCount", "must be an integer of at least 1")
    return reply(await _call(partial(kinesis.create_stream, StreamName=stream, ShardCount=shards)))


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
        raise Refusal(503, "ServiceUnavailable", message, _RETRY_LATER) from None
    except BotoCoreError as error:
        _log.warning("kinesis", error=type(error).__name__)
        raise Refusal(500, "InternalFailure", "Kinesis did not answer; outcome unknown") from None
    return {key: _plain(value) for key, value in answer.items() if key != "ResponseMetadata"}


def _refusal(error: ClientError) -> Refusal:
    code = error.response["Error"]["Code"]
    message = error.response["Error"].get("Message", "")
    if code in THROTTLED:
        return Refusal(429, code, message, _RETRY_LATER)
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
