"""The inputs that `pinpip produce --from` names: on this machine, or objects in S3."""

import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from io import BufferedReader
from typing import IO, TYPE_CHECKING, cast

from core import paths
from core.config import Aws
from core.errors import TransientError
from producers.rows.inputs import Input, InputError, input_of
from producers.rows.places import chosen, inputs_at

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_S3 = "s3://"
_PART = 8 * 1024 * 1024
_TRIES = 3

Note = Callable[[str], None]


def inputs_of(
    word: str, kind: str | None, aws: Aws, note: Note, stopping: Callable[[], bool]
) -> list[Input]:
    """Return the inputs that `word` names, in order; InputError when there are none."""
    parted = paths.bucket(word)
    if parted is None:
        return inputs_at(word, kind, note, stopping)
    from sinks.storage import s3

    bucket, prefix = parted
    client = s3.client(aws)
    keys = _keys(client, bucket, prefix)
    if prefix not in keys:
        folder = f"{prefix.rstrip('/')}/" if prefix.strip("/") else ""
        below = [key.removeprefix(folder) for key in keys if key.startswith(folder)]
        keys = [folder + name for name in chosen(word, below, kind, note)]
    else:
        keys = [prefix]
    return [_object(client, bucket, key, kind) for key in keys]


def _keys(client: "S3Client", bucket: str, prefix: str) -> list[str]:
    from sinks.storage import s3

    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    with s3.explained(f"{_S3}{bucket}/{prefix}", bucket):
        found = [item["Key"] for page in pages for item in page.get("Contents", [])]
    keys = [key for key in found if not key.endswith("/")]
    if not keys:
        raise InputError(f"no objects at {_S3}{bucket}/{prefix}", "check the bucket and the prefix")
    return keys


def _object(client: "S3Client", bucket: str, key: str, kind: str | None) -> Input:
    opening = partial(_fetched, client, bucket, key)
    return input_of(f"{_S3}{bucket}/{key}", key, opening, kind)


def _fetched(client: "S3Client", bucket: str, key: str) -> BufferedReader:
    """Copy the object into a temporary file: a long send must not hold a connection to S3."""
    with ExitStack() as held:
        copy = held.enter_context(tempfile.TemporaryFile())
        for left in reversed(range(_TRIES)):
            try:
                _copy(client, bucket, key, copy)
                break
            except TransientError:  # also when a response ends early
                if not left:
                    raise
        held.pop_all()  # its reader closes it
        return cast("BufferedReader", copy)


def _copy(client: "S3Client", bucket: str, key: str, copy: IO[bytes]) -> None:
    from sinks.storage import s3

    copy.seek(0)
    copy.truncate()
    with s3.explained(f"{_S3}{bucket}/{key}", bucket):
        shutil.copyfileobj(client.get_object(Bucket=bucket, Key=key)["Body"], copy, _PART)
    copy.seek(0)
