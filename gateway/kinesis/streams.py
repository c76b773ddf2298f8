"""Calls to Kinesis: results, refusals, and faults of the gateway's credentials.

A fault of the gateway's credentials or clock is not the client's fault: the response is 503, as
nothing was stored, and the gateway is not ready until Kinesis accepts the credentials again.
"""

from collections.abc import Mapping
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

from core import aws_faults
from gateway.http.responses import RETRY_LATER, Refusal

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient

THROUGHPUT = "ProvisionedThroughputExceededException"
THROTTLED = {
    THROUGHPUT,
    "LimitExceededException",
    "ThrottlingException",
    "KMSThrottlingException",
}
_log = structlog.get_logger("gateway")


class Streams:
    """One Kinesis client, and the current fault of its credentials."""

    def __init__(self, client: "KinesisClient") -> None:
        self._client = client
        self._fault: str | None = None

    async def call(self, operation: str, **wanted: Any) -> dict[str, Any]:
        """Return the result of boto3's `operation` without its metadata.

        Raises Refusal when Kinesis refuses the call or does not respond.
        """
        try:
            result = await run_in_threadpool(partial(self._run, operation, wanted))
        except (ClientError, BotoCoreError) as error:
            raise self._refusal(error) from None
        return {key: _plain(value) for key, value in result.items() if key != "ResponseMetadata"}

    def fault(self) -> str | None:
        """Return why Kinesis refuses the gateway's credentials, or None; may block.

        Only after such a fault Kinesis is called: a gateway for Kafka alone has no credentials.
        """
        if self._fault is not None:
            try:
                self._run("list_streams", {"Limit": 1})
            except ClientError as error:
                self._set_fault_of(error)  # any other refusal means that the credentials are valid
            except BotoCoreError as error:
                _log.debug("kinesis_unreachable", error=type(error).__name__)
        return self._fault

    def _run(self, operation: str, wanted: Mapping[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = getattr(self._client, operation)(**wanted) or {}
        self._set_fault(None)
        return result

    def _set_fault_of(self, error: Exception) -> None:
        advice = aws_faults.advice(error)
        name = _code(error) or type(error).__name__
        self._set_fault(advice and f"Kinesis refuses the gateway's credentials ({name}): {advice}")

    def _set_fault(self, fault: str | None) -> None:
        if fault != self._fault:
            if fault:
                _log.warning("kinesis_credentials_refused", error=fault)
            else:
                _log.warning("kinesis_credentials_accepted")
        self._fault = fault

    def _refusal(self, error: ClientError | BotoCoreError) -> Refusal:
        if aws_faults.advice(error) is not None:
            self._set_fault_of(error)
            return _unavailable("Kinesis refuses the gateway's credentials")
        if isinstance(error, ClientError):
            return _refused(error)
        if isinstance(error, (EndpointConnectionError, ConnectTimeoutError)):
            return _unavailable("Kinesis cannot be reached")
        if isinstance(error, ParamValidationError):
            return Refusal(400, "ValidationException", str(error))
        _log.warning("kinesis_outcome_unknown", error=type(error).__name__)
        return Refusal(500, "InternalFailure", "Kinesis did not answer; outcome unknown")


def _unavailable(message: str) -> Refusal:
    return Refusal(503, "ServiceUnavailable", message, RETRY_LATER)


def _refused(error: ClientError) -> Refusal:
    code, message = _code(error), error.response["Error"].get("Message", "")
    if code in THROTTLED:
        return Refusal(429, code, message, RETRY_LATER)
    if code == "ResourceNotFoundException":
        return Refusal(404, code, message)
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    return Refusal(400 if status < 500 else 500, code, message)  # noqa: PLR2004


def _code(error: Exception) -> str:
    return error.response["Error"]["Code"] if isinstance(error, ClientError) else ""


def _plain(value: Any) -> Any:
    """Return `value` as in the JSON of Kinesis: times are seconds since 1970."""
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
