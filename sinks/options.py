"""What delta-rs and polars need to open a table: they resolve nothing themselves."""

from functools import partial

from pinpip.borders import Options
from pinpip.config import Aws


def options_at(uri: str, aws: Aws) -> Options:
    """The options for tables at `uri`; none for a folder."""
    return partial(_in_bucket, aws) if uri.startswith("s3://") else dict


def _in_bucket(aws: Aws) -> dict[str, str]:
    """The identity that boto3 has now; ConfigError when there is none."""
    from pinpip import aws as connection  # noqa: PLC0415  # boto3 is slow to import

    keys = connection.credentials(aws).get_frozen_credentials()
    options = {
        "aws_region": aws.region,
        "aws_conditional_put": "etag",
        # delta-rs alone would try for minutes: how long is the loop's to decide.
        "retry_timeout": "5s",
    }
    if aws.endpoint_url:
        options |= {"aws_endpoint_url": aws.endpoint_url, "aws_allow_http": "true"}
    identity = {
        "aws_access_key_id": keys.access_key,
        "aws_secret_access_key": keys.secret_key,
        "aws_session_token": keys.token,
    }
    return options | {name: value for name, value in identity.items() if value}
