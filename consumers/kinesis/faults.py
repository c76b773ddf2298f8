"""Which faults of Kinesis go by themselves, and what a person should do about the others."""

from enum import Enum, auto

from botocore import exceptions
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from core import aws_faults
from core.errors import RecordsExpired, SourceError
from core.retry import Backoff, Outage

EXPIRED_ITERATOR = "ExpiredIteratorException"
NOT_FOUND = "ResourceNotFoundException"
# What Kinesis may answer when the position or the iterator is of a stream that is gone.
FOREIGN = {NOT_FOUND, EXPIRED_ITERATOR, "InvalidArgumentException"}
_ITERATOR = "GetShardIterator"
_FIRST_WAIT_S = 0.4
_MAX_WAIT_S = 10.0
_SERVER_ERROR = 500

_THROTTLED = {
    "ProvisionedThroughputExceededException",
    "LimitExceededException",
    "KMSThrottlingException",
    "ThrottlingException",
    "TooManyRequestsException",
}
_PASSING_CODES = _THROTTLED | {
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
_PROVIDER = (exceptions.CredentialRetrievalError, exceptions.MetadataRetrievalError)
_SHARED_HINT = (
    "all readers of a shard share 5 calls and 2 MB a second: slow or stop other consumers of the "
    "stream, or split the shard"
)
_ENDPOINT_HINT = "look at the network, aws.region and aws.endpoint_url in config.yaml"
_HINTS = {
    NOT_FOUND: "create the stream, or mend source.stream and aws.region in config.yaml",
    "AccessDeniedException": "allow kinesis:ListShards, kinesis:DescribeStreamSummary, "
    "kinesis:GetShardIterator and kinesis:GetRecords on the stream, and kms:Decrypt on its key",
}


def backoff() -> Backoff:
    """Return the backoff of one shard's calls."""
    return Backoff(first=_FIRST_WAIT_S, longest=_MAX_WAIT_S)


def code(error: Exception) -> str:
    """Return the service's own code; empty for an error on this side."""
    return error.response["Error"]["Code"] if isinstance(error, ClientError) else ""


def is_passing(error: Exception) -> bool:
    """Whether the same call may succeed later.

    A provider of credentials that does not answer is such a fault once it has answered before.
    """
    if not isinstance(error, ClientError):
        return isinstance(error, (*_NETWORK, *_PROVIDER))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status >= _SERVER_ERROR or code(error) in _PASSING_CODES


def is_network(error: Exception) -> bool:
    """Whether no answer came at all, from Kinesis or from the provider of credentials."""
    return isinstance(error, (*_NETWORK, *_PROVIDER))


class Fault(Enum):
    """What a failed call means for its shard."""

    NOT_FOUND = auto()
    UNKNOWN_POSITION = auto()
    EXPIRED_ITERATOR = auto()
    PASSING = auto()
    LASTING = auto()


def classify(error: Exception) -> Fault:
    """Return what the fault means; two of the codes that pass need more than another try."""
    if code(error) == NOT_FOUND:
        return Fault.NOT_FOUND
    if is_unknown_position(error):
        return Fault.UNKNOWN_POSITION
    if code(error) == EXPIRED_ITERATOR:
        return Fault.EXPIRED_ITERATOR
    return Fault.PASSING if is_passing(error) else Fault.LASTING


def explain(error: Exception, where: str) -> SourceError:
    """`error` as one that stops the process; `where` names stream, region and shard."""
    advice = aws_faults.advice(error)
    if isinstance(error, _NETWORK):
        return SourceError(f"{where}: no answer: {error}", advice or _ENDPOINT_HINT)
    if not isinstance(error, ClientError):
        return SourceError(f"{where}: {error}", advice or _ENDPOINT_HINT)
    said = f"{code(error)}: {error.response['Error'].get('Message', '')}"
    shared = _SHARED_HINT if code(error) in _THROTTLED else "see the message of Kinesis"
    hint = advice or _HINTS.get(code(error), shared)
    return SourceError(f"{where}: {said}", hint)


def note(outage: Outage, error: Exception, where: str) -> None:
    """Tell `outage` of a fault that is waited for."""
    told = explain(error, where)
    outage.failed(where, told.message, told.hint, aws_faults.kind(error))


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
