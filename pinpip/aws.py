"""boto3 clients as the configuration says."""

from typing import Any

import boto3
from botocore.config import Config as BotoConfig
from pydantic import SecretStr

from pinpip.config import Aws


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


def _revealed(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None
