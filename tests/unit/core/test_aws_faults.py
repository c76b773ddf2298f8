"""Whose fault a refusal by AWS is, and what a person is told to do about it."""

import pytest
from botocore import exceptions
from botocore.exceptions import ClientError

from core.aws_faults import CLOCK, CREDENTIALS, TOKEN, advice, kind

PAST = "Signature expired: 20261126T101500Z is now earlier than 20261126T102134Z (5 min.)"
FUTURE = "Signature not yet current: 20261126T101500Z is still later than 20261126T100834Z"
MISMATCH = "The request signature we calculated does not match the signature you provided."


def refused(code: str, message: str = "", operation: str = "PutRecord") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (refused("InvalidSignatureException", PAST), CLOCK),
        (refused("InvalidSignatureException", FUTURE), CLOCK),
        (refused("SignatureDoesNotMatch", PAST), CLOCK),
        (refused("RequestTimeTooSkewed"), CLOCK),
        (refused("RequestExpired"), CLOCK),
        (refused("InvalidSignatureException", MISMATCH), CREDENTIALS),
        (refused("SignatureDoesNotMatch", MISMATCH), CREDENTIALS),
        (refused("UnrecognizedClientException"), CREDENTIALS),
        (refused("InvalidAccessKeyId"), CREDENTIALS),
        (refused("InvalidClientTokenId"), CREDENTIALS),
        (refused("ExpiredTokenException"), TOKEN),
        (refused("ExpiredToken"), TOKEN),
        (refused("AccessDenied", operation="AssumeRoleWithWebIdentity"), CREDENTIALS),
        (refused("ExpiredTokenException", operation="AssumeRole"), TOKEN),
        (exceptions.NoCredentialsError(), CREDENTIALS),
        (exceptions.CredentialRetrievalError(provider="p", error_msg="m"), CREDENTIALS),
        (exceptions.UnauthorizedSSOTokenError(), TOKEN),
        (refused("AccessDeniedException"), None),
        (refused("ResourceNotFoundException"), None),
        (refused("ValidationException", "Signature of the record"), None),
        (exceptions.EndpointConnectionError(endpoint_url="http://x"), None),
        (ValueError("no AWS at all"), None),
    ],
    ids=str,
)
def test_a_fault_of_this_side_s_identity_is_told_from_all_others(
    error: Exception, said: str | None
) -> None:
    assert advice(error) == said


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (refused("SlowDown"), "SlowDown"),
        (refused("KMSThrottlingException"), "KMSThrottlingException"),
        (exceptions.ReadTimeoutError(endpoint_url="https://kinesis"), "ReadTimeoutError"),
        (refused("any <text> of a proxy"), "HTTP_0"),
    ],
)
def test_a_kind_of_fault_is_a_name_that_is_known_before(error: Exception, name: str) -> None:
    assert kind(error) == name
