"""What a pipeline does with each library that speaks to AWS."""

from typing import Any
from uuid import uuid4

import polars as pl
from botocore.config import Config

from core import aws as connection
from core.config import Aws
from sinks.delta.table import checkpoint, find
from sinks.storage.options import options_at
from sinks.storage.store import open_store
from tests.support.identities import Cloud


def lake_of(cloud: Cloud, region: str = "") -> str:
    """Create a bucket with a table; with `region`, the bucket is reachable only as of there."""
    bucket = f"b-{uuid4().hex[:12]}"
    location: Any = {"CreateBucketConfiguration": {"LocationConstraint": region}} if region else {}
    cloud.direct.client("s3").create_bucket(Bucket=bucket, **location)
    if region:
        cloud.regions[bucket] = region
    options = cloud.direct.storage_options() | ({"aws_region": region} if region else {})
    pl.DataFrame({"a": [1]}).write_delta(f"s3://{bucket}/pin", storage_options=options)
    return bucket


class AwsWork:
    """Parts that are made once, as in a daemon."""

    def __init__(self, aws: Aws, cloud: Cloud, bucket: str) -> None:
        self._cloud = cloud
        self.uri = f"s3://{bucket}/pin"
        self._kinesis = connection.client(aws, "kinesis", Config())
        self._store = open_store(self.uri, aws)
        self._options = options_at(self.uri, aws)

    def store(self) -> None:
        """By boto3."""
        assert self._store.find("_delta_log/00000000000000000000.json") is not None

    def table(self) -> None:
        """By delta-rs."""
        assert find(self.uri, self._options) is not None

    def users(self) -> dict[str, set[str]]:
        """Do all work once; return the keys that each library used."""
        self._cloud.calls.clear()
        self._kinesis.list_streams()
        self.store()
        self.table()
        checkpoint(self.uri, self._options)
        assert pl.scan_delta(self.uri, storage_options=self._options()).collect().height == 1
        return self._cloud.users()


def everybody(key: str) -> dict[str, set[str]]:
    """Return that key for each library."""
    return {library: {key} for library in ("boto3", "delta-rs", "polars")}
