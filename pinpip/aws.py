"""boto3 clients as the configuration says."""

from typing import Any

import boto3
from botocore.config import Config as BotoConfig
from botocore.credentials import Credentials
from pydantic import SecretStr

from pinpip.config import Aws
from pinpip.errors import ConfigError

CREDENTIALS = "set aws.access_key_id and aws.secret_access_key, or a profile or role (AWS_PROFILE)"


def client(aws: Aws, service: str, settings: BotoConfig) -> Any:
    """A client of `service`; `settings` say its time-outs and retries."""
    return boto3.session.Session().client(
        service,  # type: ignore[call-overload]  # the stubs want a literal
        region_name=aws.region,
        endpoint_url=aws.endpoint_url,
        aws_access_key_id=_revealed(aws.access_key_id),
        aws_secret_access_key=_revealed(aws.secret_access_key),
        config=settings,
    )


def credentials(aws: Aws) -> Credentials:
    """The configured keys, or what AWS's own chain finds; ConfigError when it finds nothing."""
    found = boto3.session.Session(
        aws_access_key_id=_revealed(aws.access_key_id),
        aws_secret_access_key=_revealed(aws.secret_access_key),
    ).get_credentials()
    if found is None:
        raise ConfigError("AWS's own chain finds no credentials", CREDENTIALS)
    return found


def _revealed(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None
