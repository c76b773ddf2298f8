"""Objects in a bucket or files in a folder, created once and never overwritten."""

import errno
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as ConnectionFailed
from pydantic import SecretStr

from pinpip.config import Aws
from pinpip.errors import PinpipError, SinkError, TransientError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CONFLICT_TRIES = 5
_PASSING_STATUS = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.CONFLICT,
    HTTPStatus.TOO_MANY_REQUESTS,
}
_PASSING_CODES = {"RequestTimeout", "SlowDown", "Throttling", "ThrottlingException"}
_PASSING_ERRNO = {errno.ENOSPC, errno.EDQUOT, errno.EAGAIN, errno.EIO, errno.ESTALE}


class Store(Protocol):
    """A place for whole objects. Keys are relative to the store's own root, parted by `/`.

    Every method raises TransientError when the same call may be tried again (after a `put_new`
    the object may be there all the same) and SinkError when a person must mend the place.
    """

    uri: str

    def put_new(self, key: str, body: bytes, metadata: Mapping[str, str]) -> bool:
        """Create `key` whole and durable; False, touching nothing, when it exists."""
        ...

    def metadata(self, key: str) -> Mapping[str, str] | None:
        """What was stored beside `key`, empty where the place keeps no metadata; None: no key."""
        ...

    def read(self, key: str) -> bytes:
        """The body of `key`."""
        ...

    def page(self, prefix: str, after: str) -> tuple[list[str], bool]:
        """The first keys beyond `after` that begin with `prefix`, sorted; whether others follow."""
        ...

    def list(self, prefix: str) -> list[str]:
        """All keys that begin with `prefix`, sorted."""
        ...


def open_store(uri: str, aws: Aws) -> Store:
    """The store at `uri`: `s3://bucket/prefix` or a folder; raises SinkError for another scheme."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return FolderStore(Path(uri))
    bucket, _, prefix = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise SinkError(
            f"{uri} is neither a folder nor a bucket", "write s3://bucket/prefix, or a path"
        )
    return S3Store(_client(aws), bucket, prefix)


def _client(aws: Aws) -> "S3Client":
    return boto3.client(
        "s3",
        region_name=aws.region,
        endpoint_url=aws.endpoint_url,
        aws_access_key_id=_plain(aws.access_key_id),
        aws_secret_access_key=_plain(aws.secret_access_key),
        config=Config(
            connect_timeout=5,
            read_timeout=30,
            max_pool_connections=16,
            retries={"mode": "standard", "total_max_attempts": 3},
        ),
    )


def _plain(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


class FolderStore:
    """Files below `root`, which is made by the first write. The folder keeps no metadata."""

    def __init__(self, root: Path) -> None:
        self.uri = str(root)
        self._root = root

    def put_new(self, key: str, body: bytes, metadata: Mapping[str, str]) -> bool:  # noqa: ARG002 - the body must say it itself
        """Create the file; it appears whole or not at all, and survives a power cut."""
        path = self._root / key
        draft = path.with_name(f".{uuid.uuid4().hex}.tmp")
        with self._explained(key):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                _write_through(draft, body)
                os.link(draft, path)
            except FileExistsError:
                return False
            finally:
                draft.unlink(missing_ok=True)
            _sync_folder(path.parent)
        return True

    def metadata(self, key: str) -> Mapping[str, str] | None:
        """Nothing is kept beside a file: empty, or None when it is not there."""
        with self._explained(key):
            return {} if (self._root / key).is_file() else None

    def read(self, key: str) -> bytes:
        """The file's bytes."""
        with self._explained(key):
            return (self._root / key).read_bytes()

    def page(self, prefix: str, after: str) -> tuple[list[str], bool]:
        """A folder is always listed whole: no others follow."""
        return [key for key in self.list(prefix) if key > after], False

    def list(self, prefix: str) -> list[str]:
        """The files whose path below the root begins with `prefix`; drafts are not among them."""
        folder = self._root / prefix.rpartition("/")[0]
        with self._explained(prefix):
            found = [p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")]
        keys = [path.relative_to(self._root).as_posix() for path in found]
        return sorted(key for key in keys if key.startswith(prefix))

    @contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            what = f"{self._root / key}: {error.strerror}"
            if error.errno in _PASSING_ERRNO:
                raise TransientError(what, "look at the disk: is it full?") from error
            raise SinkError(what, f"let this user write below {self._root}") from error


def _write_through(path: Path, body: bytes) -> None:
    with path.open("xb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make the folder's entries as durable as the files behind them."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class S3Store:
    """Objects below `s3://bucket/prefix`, created with If-None-Match."""

    def __init__(self, client: "S3Client", bucket: str, prefix: str) -> None:
        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")
        self._client = client
        self._bucket = bucket
        self._prefix = prefix.rstrip("/") + "/" if prefix.strip("/") else ""

    def put_new(self, key: str, body: bytes, metadata: Mapping[str, str]) -> bool:
        """Create the object.

        S3 answers 412 when the key exists (also when a lost try of our own made it) and 409 when
        another request for it is under way; then the put is tried again.
        """
        for _ in range(_CONFLICT_TRIES):
            with self._explained(key):
                status = self._put(key, body, metadata)
            if status != HTTPStatus.CONFLICT:
                return status != HTTPStatus.PRECONDITION_FAILED
        raise TransientError(f"{self.uri}/{key}: other writes to this key go on and on")

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
            if _code(error) not in {"PreconditionFailed", "ConditionalRequestConflict"}:
                raise
            return _status(error)
        return HTTPStatus.OK

    def metadata(self, key: str) -> Mapping[str, str] | None:
        """The object's user metadata; None when there is no such object."""
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
        """The object's bytes."""
        with self._explained(key):
            found = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
            return found["Body"].read()

    def page(self, prefix: str, after: str) -> tuple[list[str], bool]:
        """Up to 1,000 keys in order of their bytes; S3 lists what was written before, always."""
        with self._explained(prefix):
            found = self._client.list_objects_v2(
                Bucket=self._bucket,
                Prefix=self._prefix + prefix,
                StartAfter=self._prefix + after,
            )
        keys = [item["Key"].removeprefix(self._prefix) for item in found.get("Contents", [])]
        return keys, found["IsTruncated"]

    def list(self, prefix: str) -> list[str]:
        """Page after page."""
        keys, more = self.page(prefix, "")
        while more:
            following, more = self.page(prefix, keys[-1])
            keys += following
        return keys

    @contextmanager
    def _explained(self, key: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            raise self._refused(key, error) from error
        except (HTTPClientError, ConnectionFailed) as error:
            raise TransientError(f"{self.uri}/{key}: {error}", "is S3 reachable?") from error
        except BotoCoreError as error:
            raise SinkError(
                f"{self.uri}: {error}", "give AWS credentials in config.yaml or the environment"
            ) from error

    def _refused(self, key: str, error: ClientError) -> PinpipError:
        what = f"{self.uri}/{key}: {_code(error)}: {error.response['Error'].get('Message', '')}"
        status = _status(error)
        passing = status in _PASSING_STATUS or _code(error) in _PASSING_CODES
        if passing or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return TransientError(what)
        if _code(error) == "NoSuchBucket":
            return SinkError(what, f"create it: aws s3 mb s3://{self._bucket}")
        return SinkError(
            what, f"bucket {self._bucket}: check its name, its region and your rights to it"
        )


def _code(error: ClientError) -> str:
    return error.response["Error"]["Code"]


def _status(error: ClientError) -> int:
    return error.response["ResponseMetadata"]["HTTPStatusCode"]
