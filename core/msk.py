"""Amazon MSK's IAM access control: a signed request as an OAUTHBEARER token.

Java clients call it AWS_MSK_IAM (protocol: aws-msk-iam-sasl-signer-python's README).
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

import structlog
from botocore.credentials import CredentialProvider, Credentials
from botocore.exceptions import BotoCoreError, ClientError

from core import aws, aws_faults
from core.config import Aws
from core.errors import ConfigError, TransientError

MECHANISM = "AWS_MSK_IAM"
_SIGNER = "aws_msk_iam_sasl_signer.MSKAuthTokenProvider"
_log = structlog.get_logger()


class Signer:
    """librdkafka's `oauth_cb`; it is called from a thread of the client when a token is due.

    The first token is signed at once, so that missing credentials are a ConfigError. When a later
    one cannot be signed, the last is handed out again until librdkafka refuses it as expired.
    """

    def __init__(self, own: Aws) -> None:
        self._own = own
        try:
            self._signer = import_module(_SIGNER)
        except ImportError as error:
            raise ConfigError(
                f"sasl.mechanism {MECHANISM} needs a package that is not installed",
                "pip install 'pinpip[msk]'",
            ) from error
        try:
            self._token = self._sign()
        except (BotoCoreError, ClientError) as error:
            raise ConfigError(
                f"{MECHANISM}: AWS gives no credentials: {error}", aws_faults.CREDENTIALS
            ) from error

    def __call__(self, _configuration: str) -> tuple[str, float]:
        """Return a token, and when it expires in seconds since 1970."""
        try:
            with _uncollected():
                self._token = self._sign()
        except (BotoCoreError, ClientError, ConfigError, TransientError) as error:
            _log.warning("msk_token_not_renewed", error=str(error))
        return self._token

    def _sign(self) -> tuple[str, float]:
        provider = _Found(aws.credentials(self._own))
        token, milliseconds = self._signer.generate_auth_token_from_credentials_provider(
            aws.region(self._own), provider
        )
        return token, milliseconds / 1000


@contextmanager
def _uncollected() -> Iterator[None]:
    """Collect no garbage: a client that is freed on librdkafka's own thread aborts the process."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


class _Found(CredentialProvider):
    """Credentials, as the signer wants them handed in."""

    def __init__(self, found: Credentials) -> None:
        super().__init__()
        self._found = found

    def load(self) -> Credentials:
        return self._found
