"""Faults of this side's AWS identity, and what a person should do about each.

AWS answers them with 400 or 403, as it answers a bad request; only the code tells them apart.
Sources: "Common Error Types" of the Kinesis Data Streams API, "Error responses" of the S3 API,
"Troubleshooting AWS Signature Version 4".
"""

import re

from botocore import exceptions
from botocore.exceptions import ClientError

CLOCK = "set this machine's clock (NTP): AWS refuses signatures that are 5 minutes off"
TOKEN = "renew the session token: log in again, or use a role or profile that renews it"  # noqa: S105
CREDENTIALS = (
    "give AWS credentials: a profile (AWS_PROFILE), a role, AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, or aws.access_key_id and aws.secret_access_key in config.yaml"
)
AUTHORITY = "name the file of that authority's certificates (PEM) in AWS_CA_BUNDLE"
_UNTRUSTED = re.compile(r"CERTIFICATE_VERIFY_FAILED|invalid peer certificate")
_SKEWED = re.compile(r"Signature expired|not yet current|RequestTimeTooSkewed|RequestExpired")
_IDENTITY = {  # calls that fetch credentials: whatever they are refused for, we have none
    "AssumeRole",
    "AssumeRoleWithSAML",
    "AssumeRoleWithWebIdentity",
    "CreateToken",
    "GetRoleCredentials",
}
_EXPIRED = {"ExpiredTokenException", "ExpiredToken", "TokenRefreshRequired"}
_KEYS = {
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "InvalidToken",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
_RETRIED = {  # codes of S3, Kinesis and DynamoDB that a later call may not meet
    "ConditionalRequestConflict",
    "ExpiredIteratorException",
    "ExpiredNextTokenException",
    "InternalError",
    "InternalFailure",
    "InternalFailureException",
    "InternalServerError",
    "KMSThrottlingException",
    "LimitExceededException",
    "OperationAborted",
    "ProvisionedThroughputExceededException",
    "RequestTimeout",
    "ResourceInUseException",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}
_UNFETCHED = (exceptions.CredentialRetrievalError, exceptions.MetadataRetrievalError)
_LOGINS = (
    exceptions.SSOError,
    exceptions.TokenRetrievalError,
    exceptions.UnauthorizedSSOTokenError,
)
_NONE = (
    exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError,
    exceptions.CredentialRetrievalError,
    exceptions.MetadataRetrievalError,
    exceptions.NoAuthTokenError,
    exceptions.ProfileNotFound,
)


def advice(error: Exception) -> str | None:
    """Return what to do when AWS refuses our credentials or there are none; None otherwise.

    Nothing was stored or read by a call that fails so.
    """
    if isinstance(error, ClientError):
        said = error.response["Error"]
        told = answered(said.get("Code", ""), said.get("Message", ""))
        return told or (CREDENTIALS if error.operation_name in _IDENTITY else None)
    if isinstance(error, _LOGINS):
        return TOKEN
    return CREDENTIALS if isinstance(error, _NONE) else None


def kind(error: Exception) -> str:
    """Return the name of a fault that may pass: AWS's code for it, or botocore's class."""
    if not isinstance(error, ClientError):
        return type(error).__name__
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return kind_of(error.response["Error"].get("Code", ""), status)


def kind_of(code: str, status: int | str) -> str:
    """Return the code if it is known: an emulator or a proxy may answer with any text."""
    return code if code in _RETRIED else f"HTTP_{status}"


def is_untrusted(error: Exception) -> bool:
    """Whether the other side's certificate is of an authority that is not trusted here."""
    return _UNTRUSTED.search(str(error)) is not None


def is_unfetched(error: Exception) -> bool:
    """Whether whoever gives out the keys gave none just now; a later call may get them."""
    if isinstance(error, ClientError):
        return error.operation_name in _IDENTITY
    return isinstance(error, _UNFETCHED)


def answered(code: str, message: str) -> str | None:
    """As `advice`, for what a client in another language made of AWS's answer."""
    if code in _EXPIRED:
        return TOKEN
    if _SKEWED.search(f"{code} {message}"):
        return CLOCK
    return CREDENTIALS if code in _KEYS else None
