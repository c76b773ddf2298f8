"""A page reads the tables of a bucket, and says so when they vanish or the store is silent."""

from dataclasses import replace

import polars as pl
import pytest

from core.batch import KAFKA, KINESIS, Coordinates
from pinpip.lake.look import LakeLook
from tests.support.aws import TestAws
from tests.support.clock import ManualClock
from tests.support.pairs import A, B, Pair


@pytest.mark.parametrize("kind", [KAFKA, KINESIS], ids=lambda own: own.kind)
def test_tables_in_a_bucket_are_told_and_missed(aws: TestAws, kind: Coordinates) -> None:
    bucket = aws.bucket()
    pair = Pair(f"s3://{bucket}/lake", kind, aws.config, aws.storage_options)
    pair.write(pair.log.batch({A: (0, 14)}), pair.log.batch({A: (14, 20), B: (0, 10)}))
    look = LakeLook(lambda: pair.tables, ManualClock())
    view = look.look()
    assert (view.clean, view.quarantined) == (
        pair.rows("clean").height,
        pair.rows("rejected").height,
    )
    assert [c.read for c in view.commits] == [16, 14]
    assert view.reasons[0].rows == view.quarantined
    assert view.reasons[0].samples[0].value.startswith('{"ind": ')
    files = pl.DataFrame(pair.table("clean").get_add_actions(flatten=True))
    assert view.files[0].bytes == files["size_bytes"].sum()
    remove_all(aws, bucket)
    gone = look.look()
    assert (gone.clean, gone.commits) == (None, ())
    assert "is gone" in gone.unknown["table"]


def test_a_store_that_does_not_respond_leaves_the_last_numbers(aws: TestAws) -> None:
    pair = Pair(f"s3://{aws.bucket()}/lake", KAFKA, aws.config, aws.storage_options)
    pair.write(pair.log.batch({A: (0, 14)}))
    deaf = {"aws_endpoint_url": "http://127.0.0.1:1", "aws_endpoint_url_s3": "http://127.0.0.1:1"}
    tables = [pair.tables, replace(pair.tables, options=lambda: aws.storage_options() | deaf)]
    look = LakeLook(lambda: tables.pop(0), ManualClock())
    before = look.look()
    look._tables = None  # as after a fault: the address is asked for again
    silent = look.look()
    assert (silent.clean, silent.commits) == (before.clean, before.commits)
    assert "(numbers of 00:00:00 UTC)" in silent.unknown["table"]


def remove_all(aws: TestAws, bucket: str) -> None:
    client = aws.client("s3")
    for found in client.list_objects_v2(Bucket=bucket)["Contents"]:
        client.delete_object(Bucket=bucket, Key=found["Key"])
