"""An AWS of the test's own: moto's server, with fresh buckets and streams."""

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import boto3
from botocore.config import Config

from core.config import Aws


@dataclass(frozen=True)
class TestAws:
    """A running moto server."""

    __test__ = False
    endpoint: str

    @property
    def config(self) -> Aws:
        """The section of config.yaml that names it."""
        keys = {"access_key_id": "local", "secret_access_key": "local"}
        return Aws.model_validate({"endpoint_url": self.endpoint, **keys})

    def storage_options(self) -> dict[str, str]:
        """Return the options that delta-rs and polars need for this S3."""
        return {
            "aws_endpoint_url": self.endpoint,
            "aws_allow_http": "true",
            "aws_region": "us-east-1",
            "aws_access_key_id": "local",
            "aws_secret_access_key": "local",
            "aws_conditional_put": "etag",
        }

    def client(self, service: str, **settings: Any) -> Any:
        """Make a boto3 client; `settings` are those of botocore's Config."""
        return boto3.session.Session().client(
            service,  # type: ignore[call-overload]  # any service's name
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",  # noqa: S106  # moto takes any
            config=Config(**settings),
        )

    def bucket(self) -> str:
        """Create an empty bucket; return its name."""
        name = f"b-{uuid4().hex[:12]}"
        self.client("s3").create_bucket(Bucket=name)
        return name

    def stream(self, shards: int = 2) -> str:
        """Create a stream and wait until it is active; return its name."""
        name = f"s-{uuid4().hex[:12]}"
        kinesis = self.client("kinesis")
        kinesis.create_stream(StreamName=name, ShardCount=shards)
        kinesis.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1})
        return name
