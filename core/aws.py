"""One AWS identity for the process: boto3's chain resolves it, everybody else is handed it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import RLock
from typing import Any

from botocore import exceptions
from botocore.config import Config as BotoConfig
from botocore.credentials import Credentials, ReadOnlyCredentials
from botocore.session import Session

from core import authority, aws_faults
from core.config import Aws
from core.errors import ConfigError, TransientError

REGION = "us-east-1"
_BUSY = RLock()  # a session is for one thread at a time
_MISCONFIGURED = (
    exceptions.ConfigNotFound,
    exceptions.ConfigParseError,
    exceptions.InfiniteLoopConfigError,
    exceptions.InvalidConfigError,
    exceptions.PartialCredentialsError,
    exceptions.ProfileNotFound,
    exceptions.UnknownCredentialError,
)


def client(aws: Aws, service: str, settings: BotoConfig, *, lazily: bool = False) -> Any:
    """Return a client of `service`; `settings` are its time-outs and retries.

    Raises ConfigError when there are no credentials; `lazily` its calls raise NoCredentialsError.
    """
    if not lazily:
        credentials(aws)
    with _BUSY, _explained():
        return session(aws).create_client(
            service, endpoint_url=aws.endpoint(service), config=settings
        )


def client_of(
    service: str, url: str, region: str | None, keys: ReadOnlyCredentials, settings: BotoConfig
) -> Any:
    """Return a client of the `service` at `url` by known keys: nothing is resolved again."""
    with _BUSY, _explained():
        return session(Aws()).create_client(
            service,
            region,
            endpoint_url=url,
            aws_access_key_id=keys.access_key,
            aws_secret_access_key=keys.secret_key,
            aws_session_token=keys.token,
            config=settings,
        )


def credentials(aws: Aws) -> Credentials:
    """Return the process's credentials, which refresh themselves; ConfigError without any."""
    with _BUSY, _explained():
        found = session(aws).get_credentials()
    if found is None:
        raise ConfigError("AWS's own chain finds no credentials", aws_faults.CREDENTIALS)
    return found


def keys(aws: Aws) -> ReadOnlyCredentials:
    """Return the keys for the next minutes; TransientError when they cannot be renewed."""
    found = credentials(aws)
    with _explained():
        return found.get_frozen_credentials()


def region(aws: Aws) -> str:
    """Return the configured region, or that of AWS's own chain."""
    with _BUSY, _explained():
        return str(session(aws).get_config_variable("region"))


@cache
def session(aws: Aws) -> Session:
    """Return the process's only session: two would assume a role twice, and have two keys."""
    made = Session()
    found = aws.region or made.get_config_variable("region") or os.environ.get("AWS_REGION")
    made.set_config_variable("region", found or REGION)
    if aws.keys:
        made.set_credentials(*aws.keys)
    authority.trust(made.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE"))
    return made


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except _MISCONFIGURED as error:
        raise ConfigError(f"AWS's own chain: {error}", aws_faults.CREDENTIALS) from error
    except ValueError as error:
        raise ConfigError(f"AWS's own chain: {error}", "write it as https://host:port") from error
    except (exceptions.BotoCoreError, exceptions.ClientError) as error:
        advice = aws_faults.advice(error) or aws_faults.CREDENTIALS
        what = f"AWS gives no credentials: {error}"
        raise TransientError(what, advice, aws_faults.kind(error)) from error
