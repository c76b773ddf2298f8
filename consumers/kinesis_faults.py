"""Which faults of Kinesis go by themselves, and what a person should do about the others."""

import random
from dataclasses import dataclass

from botocore import exceptions
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from pinpip import aws_faults
from pinpip.errors import RecordsExpired, SourceError

EXPIRED_ITERATOR = "ExpiredIteratorException"
NOT_FOUND = "ResourceNotFoundException"
PATIENCE = 300.0
_ITERATOR = "GetShardIterator"
_FIRST_DELAY = 0.2
_LONGEST_DELAY = 10.0
_MANY = 10
_SERVER_ERROR = 500

_PASSING_CODES = {
    "ProvisionedThroughputExceededException",
    "LimitExceededException",
    "KMSThrottlingException",
    "ThrottlingException",
    "TooManyRequestsException",
    "RequestTimeout",
    "ResourceInUseException",
    "ExpiredNextTokenException",
    "InternalFailureException",
    EXPIRED_ITERATOR,
}
_NETWORK = (
    exceptions.HTTPClientError,
    exceptions.ConnectionError,
    ResponseParserError,
)
_ENDPOINT_HINT = "look at the network, aws.region and aws.endpoint_url in config.yaml"
_HINTS = {
    NOT_FOUND: "create the stream, or mend source.stream and aws.region in config.yaml",
    "AccessDeniedException": "allow kinesis:ListShards, kinesis:GetShardIterator and "
    "kinesis:GetRecords on the stream, and kms:Decrypt on its key",
}


@dataclass
class Backoff:
    """How long one shard's fault has lasted, and when to try again."""

    failures: int = 0
    since: float | None = None

    def delay(self, now: float, error: Exception, where: str) -> float:
        """Seconds to wait (exponential, full jitter); SourceError when the fault has lasted."""
        self.since = now if self.since is None else self.since
        if self.failures >= _MANY and now - self.since > PATIENCE:
            raise explain(error, where) from error
        self.failures = min(self.failures + 1, _MANY)
        return random.uniform(0, min(_LONGEST_DELAY, _FIRST_DELAY * 2**self.failures))

    def over(self) -> None:
        """The fault is gone."""
        self.failures, self.since = 0, None


def code(error: Exception) -> str:
    """The service's own code; empty for an error on this side."""
    return error.response["Error"]["Code"] if isinstance(error, ClientError) else ""


def is_passing(error: Exception) -> bool:
    """Whether the same call may succeed later."""
    if not isinstance(error, ClientError):
        return isinstance(error, _NETWORK)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status >= _SERVER_ERROR or code(error) in _PASSING_CODES


def is_network(error: Exception) -> bool:
    """Whether no answer came at all."""
    return isinstance(error, _NETWORK)


def explain(error: Exception, where: str) -> SourceError:
    """`error` as one that stops the process; `where` names stream, region and shard."""
    advice = aws_faults.advice(error)
    if isinstance(error, _NETWORK):
        return SourceError(f"{where}: no answer: {error}", advice or _ENDPOINT_HINT)
    if not isinstance(error, ClientError):
        return SourceError(f"{where}: {error}", advice or _ENDPOINT_HINT)
    said = f"{code(error)}: {error.response['Error'].get('Message', '')}"
    hint = advice or _HINTS.get(code(error), "see the message of Kinesis")
    return SourceError(f"{where}: {said}", hint)


def is_unknown_position(error: Exception) -> bool:
    """Whether Kinesis refused to make an iterator for a position."""
    refused = code(error) == "InvalidArgumentException"
    return refused and isinstance(error, ClientError) and error.operation_name == _ITERATOR


def position_lost(error: Exception, where: str) -> RecordsExpired:
    """Kinesis does not know the position: its records expired or the stream was made anew."""
    return RecordsExpired(
        f"{where}: Kinesis does not know the table's position: {error}",
        "if the stream was made anew, give the pipeline a new incarnation or a new table; "
        "if its records expired, they are gone: replay them from an archive",
    )
