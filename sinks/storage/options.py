"""What delta-rs and polars need to open a table: boto3 has resolved it, they resolve nothing."""

import os
from functools import cached_property

from core import paths
from core.config import Aws
from core.protocols import Options

# delta-rs takes these from the environment, and has no option that says "none".
_TOKENS = ("AWS_SESSION_TOKEN", "AWS_TOKEN", "SESSION_TOKEN", "TOKEN")
_PROXY = "PROXY_URL"


def options_at(uri: str, aws: Aws) -> Options:
    """Return the options for tables at `uri`; none for a folder."""
    parted = paths.bucket(uri)
    return dict if parted is None else _Bucket(aws, parted[0]).options


class _Bucket:
    """One bucket: its address is asked for once, the keys each time."""

    def __init__(self, aws: Aws, name: str) -> None:
        self._aws = aws
        self._name = name

    def options(self) -> dict[str, str]:
        """Return everything that delta-rs would otherwise read from the environment.

        Raises ConfigError when there are no credentials, TransientError when they cannot be
        renewed or the bucket cannot be found now, SinkError when there is no such bucket.
        """
        from core import aws as connection  # noqa: PLC0415  # boto3 is slow to import

        keys = connection.keys(self._aws)
        own = {"aws_access_key_id": keys.access_key, "aws_secret_access_key": keys.secret_key}
        if keys.token:
            own["aws_session_token"] = keys.token
        for name in [_PROXY] if keys.token else [_PROXY, *_TOKENS]:
            os.environ.pop(name, None)
        return self._address | {name: value for name, value in own.items() if value}

    @cached_property
    def _address(self) -> dict[str, str]:
        from sinks.storage.bucket import place  # noqa: PLC0415  # boto3 is slow to import

        found = place(self._aws, self._name)
        return {
            "aws_region": found.region,
            "aws_endpoint_url": found.endpoint,
            "aws_endpoint_url_s3": found.endpoint,  # overrides AWS_ENDPOINT_URL_S3
            "aws_virtual_hosted_style_request": str(found.hosted).lower(),
            "aws_allow_http": str(found.endpoint.startswith("http://")).lower(),
            "aws_skip_signature": "false",
            "aws_conditional_put": "etag",
            "connect_timeout": "5s",
            "timeout": "30s",
            # delta-rs alone would retry for minutes: the loop decides for how long.
            "retry_timeout": "5s",
        }
