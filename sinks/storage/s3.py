"""The store in a bucket: objects created with If-None-Match."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from functools import lru_cache
from http import HTTPStatus
from itertools import takewhile
from typing import TYPE_CHECKING

from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
)
from botocore.exceptions import ConnectionError as ConnectionFailed
from botocore.parsers import ResponseParserError

from core import aws as connection
from core import aws_faults
from core.config import Aws
from core.errors import PinpipError, SinkError, TransientError
from sinks.storage.probe import refuse_overwriting, unconditional
from sinks.storage.protocol import NO_RESPONSE_HINT

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

_SETTINGS = Config(
    connect_timeout=5,
    read_timeout=30,
    max_pool_connections=16,
    retries={"mode": "standard", "total_max_attempts": 3},
)
_MAX_TRIES = 5
_PASSING_STATUS = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.CONFLICT,
    HTTPStatus.TOO_MANY_REQUESTS,
}
_PASSING_ERRORS = (
    HTTPClientError,
    ConnectionFailed,
    IncompleteReadError,
    FlexibleChecksumError,
    ResponseParserError,
)
_PASSING_CODES = {"RequestTimeout", "SlowDown", "Throttling", "ThrottlingException"}


def client(aws: Aws) -> "S3Client":
    """Make a client that gives up soon enough for the loop to retry."""
    made: S3Client = connection.client(aws, "s3", _SETTINGS)
    return made


@lru_cache(maxsize=4)
def client_of(bucket: str, options: frozenset[tuple[str, str]]) -> "S3Client":
    """Make a client with the keys and the address that delta-rs is given for `bucket`."""
    told = dict(options)
    hosted = told.get("aws_virtual_hosted_style_request") == "true"
    style = Config(s3={"addressing_style": "virtual" if hosted else "path"})
    url = told["aws_endpoint_url"].replace(f"://{bucket}.", "://", 1 if hosted else 0)
    keys = ReadOnlyCredentials(
        told["aws_access_key_id"], told["aws_secret_access_key"], told.get("aws_session_token")
    )
    settings = _SETTINGS.merge(style)
    made: S3Client = connection.client_of("s3", url, told["aws_region"], keys, settings)
    return made


class S3Store:
    """Objects below `s3://bucket/prefix`, created with If-None-Match."""

    longest_name = 1024  # of a whole key

    def __init__(self, client: "S3Client", bucket: str, prefix: str) -> None:
        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")
        self._client = client
        self._bucket = bucket
        self._prefix = prefix.rstrip("/") + "/" if prefix.strip("/") else ""
        self._proven = False

    def prove(self) -> None:
        """Create a probe object twice: the second put must be refused with 412."""
        if not self._proven:
            refuse_overwriting(self)
        self._proven = True

    def put_new(self, key: str, body: bytes, metadata: Mapping[str, str]) -> bool:
        """Create the object.

        S3 answers 412 when the key exists (also when a lost try of our own made it) and 409 when
        another request for it is under way; then the put is tried again.
        """
        for _ in range(_MAX_TRIES):
            with self._explained(key):
                status = self._put(key, body, metadata)
            if status != HTTPStatus.CONFLICT:
                return status != HTTPStatus.PRECONDITION_FAILED
        raise TransientError(f"{self.uri}/{key}: other writers wrote this key {_MAX_TRIES} times")

    def _put(self, key: str, body: bytes, metadata: Mapping[str, str]) -> int:
        try:
            self._client.put_object(
                Bucket=self._bucket,
                Key=self._prefix + key,
                Body=body,
                Metadata=metadata,
                IfNoneMatch="*",
            )
        except ClientError as error:
            if _status(error) == HTTPStatus.NOT_IMPLEMENTED:
                why = error.response["Error"].get("Message") or "501 Not Implemented"
                raise unconditional(self.uri, why) from error
            if _code(error) not in {"PreconditionFailed", "ConditionalRequestConflict"}:
                raise
            return _status(error)
        return HTTPStatus.OK

    def replace(self, key: str, body: bytes) -> None:
        """Put the object without a condition."""
        with self._explained(key):
            self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=body)

    def metadata(self, key: str) -> Mapping[str, str] | None:
        """Return the object's user metadata; None when there is no such object."""
        with self._explained(key):
            try:
                found = self._client.head_object(Bucket=self._bucket, Key=self._prefix + key)
            except ClientError as error:
                # A HEAD has no body, so a missing bucket cannot be told from a missing key.
                if _status(error) == HTTPStatus.NOT_FOUND:
                    return None
                raise
            return found["Metadata"]

    def read(self, key: str) -> bytes:
        """Return the object's bytes."""
        with self._explained(key):
            return self._get(key)

    def find(self, key: str) -> bytes | None:
        """Return the object's bytes; None when there is no such object."""
        with self._explained(key):
            try:
                return self._get(key)
            except ClientError as error:
                if _code(error) == "NoSuchKey":
                    return None
                raise

    def _get(self, key: str) -> bytes:
        found = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
        return found["Body"].read()

    def tail(self, key: str, size: int) -> bytes:
        """Return the object's last bytes; S3 refuses a range of an empty object."""
        with self._explained(key):
            try:
                found = self._client.get_object(
                    Bucket=self._bucket, Key=self._prefix + key, Range=f"bytes=-{size}"
                )
            except ClientError as error:
                if _code(error) == "InvalidRange":
                    return b""
                raise
            return found["Body"].read()

    def page(self, prefix: str, after: str) -> tuple[list[str], bool]:
        """List up to 1,000 keys in order of their bytes; S3 lists every object written before."""
        with self._explained(prefix):
            found = self._client.list_objects_v2(
                Bucket=self._bucket,
                Prefix=self._prefix + prefix,
                StartAfter=self._prefix + after,
            )
        keys = [item["Key"].removeprefix(self._prefix) for item in found.get("Contents", [])]
        return keys, found["IsTruncated"]

    def absent(self, keys: Sequence[str]) -> Sequence[str]:
        """List what they have in common, from the first one on."""
        found = set[str]()
        after, more = keys[0][:-1] if keys else "", bool(keys)
        ends = zip(keys[0], keys[-1], strict=False) if keys else ()
        common = "".join(a for a, _ in takewhile(lambda pair: pair[0] == pair[1], ends))
        while more and after < keys[-1]:
            page, more = self.page(common, after)
            found.update(page)
            after = page[-1] if page else after
        return [key for key in keys if key not in found]

    def list(self, prefix: str) -> list[str]:
        """List page after page."""
        keys, more = self.page(prefix, "")
        while more:
            following, more = self.page(prefix, keys[-1])
            keys += following
        return [key for key in keys if not key.rpartition("/")[2].startswith(".")]

    def scan(self, folder: str) -> Iterator[tuple[str, datetime]]:
        """List page after page."""
        pages = self._client.get_paginator("list_objects_v2")
        with self._explained(folder):
            prefix = self._prefix + folder
            for page in pages.paginate(Bucket=self._bucket, Prefix=prefix, Delimiter="/"):
                for item in page.get("Contents", []):
                    yield item["Key"].removeprefix(self._prefix), item["LastModified"]

    def take_away(self, key: str, body: bytes) -> None:
        """Delete the object with If-Match, which S3 honours since 2025."""
        bucket, name = self._bucket, self._prefix + key
        with self._explained(key):
            try:
                found = self._client.get_object(Bucket=bucket, Key=name)
                if found["Body"].read() == body:
                    self._client.delete_object(Bucket=bucket, Key=name, IfMatch=found["ETag"])
            except ClientError as error:
                if _code(error) not in {"NoSuchKey", "PreconditionFailed"}:
                    raise

    def remove(self, keys: Collection[str]) -> None:
        """Remove the objects in one request, in no order."""
        named: list[ObjectIdentifierTypeDef] = [{"Key": self._prefix + key} for key in keys]
        if not named:
            return
        with self._explained(next(iter(keys))):
            answer = self._client.delete_objects(
                Bucket=self._bucket, Delete={"Objects": named, "Quiet": True}
            )
        for error in answer.get("Errors", []):
            raise SinkError(
                f"{self.uri}: {error.get('Key')} cannot be removed: {error.get('Code')}",
                f"grant s3:DeleteObject on {self.uri}/*, or, if it is in _delta_log, set "
                "delta.enableExpiredLogCleanup=false on the table",
            )

    def _explained(self, key: str) -> AbstractContextManager[None]:
        return explained(f"{self.uri}/{key}", self._bucket)


@contextmanager
def explained(where: str, bucket: str) -> Iterator[None]:
    """Translate S3's errors into those that the loop knows; `where` is the object."""
    try:
        yield
    except ClientError as error:
        raise _refused(where, bucket, error) from error
    except _PASSING_ERRORS as error:
        if aws_faults.is_untrusted(error):
            raise SinkError(f"{where}: {error}", aws_faults.AUTHORITY) from error
        what = f"storage of {where} does not answer: {error}"
        raise TransientError(what, NO_RESPONSE_HINT, aws_faults.kind(error)) from error
    except BotoCoreError as error:
        advice = aws_faults.advice(error) or aws_faults.CREDENTIALS
        raise _unidentified(f"{where}: {error}", advice, error) from error


def missing(bucket: str) -> str:
    """Return what to do about a missing bucket."""
    return f"create it: aws s3 mb s3://{bucket}"


def _refused(where: str, bucket: str, error: ClientError) -> PinpipError:
    what = f"{where}: {_code(error)}: {error.response['Error'].get('Message', '')}"
    status = _status(error)
    passing = status in _PASSING_STATUS or _code(error) in _PASSING_CODES
    if passing or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return TransientError(what, kind=aws_faults.kind(error))
    advice = aws_faults.advice(error)
    if advice is not None:
        return _unidentified(what, advice, error)
    if _code(error) == "NoSuchBucket":
        return SinkError(what, missing(bucket))
    return SinkError(what, f"bucket {bucket}: check its name, its region and your rights to it")


def _unidentified(what: str, advice: str, error: Exception) -> PinpipError:
    """Return the error of a call for which there were no valid keys."""
    if aws_faults.is_unfetched(error):
        return TransientError(what, advice, aws_faults.kind(error))
    return SinkError(what, advice)


def _code(error: ClientError) -> str:
    return error.response["Error"]["Code"]


def _status(error: ClientError) -> int:
    return error.response["ResponseMetadata"]["HTTPStatusCode"]
