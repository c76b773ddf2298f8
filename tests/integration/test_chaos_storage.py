"""The S3 of a round of chaos."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from chaos import storage
from tests.support.aws import TestAws

# moto's server, slow between its look whether a key is there and its write.
SLOW = """
import time
from moto.s3.models import S3Backend

write = S3Backend.put_object

def slowly(*args, **kwargs):
    time.sleep(0.3)
    return write(*args, **kwargs)

S3Backend.put_object = slowly
from pinpip.local import aws_process
aws_process.main()
"""


def told(s3: TestAws, number: int) -> str:
    """Create the key; return what this writer is told."""
    body = b"%d" % number
    try:
        s3.client("s3").put_object(Bucket="b-1", Key="1.json", Body=body, IfNoneMatch="*")
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "created"


def test_of_several_writers_one_creates_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_moto.py").write_text(SLOW)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(storage, "AWS_MODULE", "slow_moto")
    with storage.faulty_s3(tmp_path, 1, "b-1") as s3, ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(partial(told, TestAws(s3.faulty)), range(4)))
    assert sorted(answers) == ["PreconditionFailed"] * 3 + ["created"]
