"""Where a bucket is, as boto3 says: its region, and the address that it has there."""

from dataclasses import dataclass
from http import HTTPStatus

from botocore.config import Config
from botocore.exceptions import ClientError

from core import aws as connection
from core.config import Aws
from core.errors import SinkError
from sinks.storage import s3


@dataclass(frozen=True)
class BucketAddress:
    """A bucket's region and endpoint; `hosted`: the endpoint's host name names the bucket."""

    region: str
    endpoint: str
    hosted: bool


def place(aws: Aws, bucket: str) -> BucketAddress:
    """Find out where the bucket is.

    Raises SinkError when there is none, and TransientError when the store does not respond.
    """
    region = _region(aws, bucket) or connection.region(aws)
    endpoint, hosted = _endpoint(aws, bucket, region)
    return BucketAddress(region, endpoint, hosted)


def _region(aws: Aws, bucket: str) -> str | None:
    """Return the bucket's region, which S3 tells even without rights; None: it does not tell."""
    with s3.explained(f"s3://{bucket}", bucket):
        try:
            found = s3.client(aws).head_bucket(Bucket=bucket)
            headers = found["ResponseMetadata"]["HTTPHeaders"]
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status == HTTPStatus.NOT_FOUND:
                raise SinkError(f"s3://{bucket}: NoSuchBucket", s3.missing(bucket)) from error
            if status != HTTPStatus.FORBIDDEN:
                raise
            headers = error.response["ResponseMetadata"]["HTTPHeaders"]
    return headers.get("x-amz-bucket-region")


def _endpoint(aws: Aws, bucket: str, region: str) -> tuple[str, bool]:
    """Return the endpoint, and whether its host names the bucket, from a signed URL; no request."""
    settings = Config(region_name=region, signature_version="s3v4")
    made = connection.client(aws, "s3", settings)
    url = made.generate_presigned_url("head_bucket", Params={"Bucket": bucket})
    address = str(url).partition("?")[0].rstrip("/")
    endpoint = address.removesuffix(f"/{bucket}")
    return endpoint, endpoint == address
