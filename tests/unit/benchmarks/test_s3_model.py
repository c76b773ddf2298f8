"""The model of S3 behaves as S3 does to boto3, to delta-rs and to pinpip's store."""

import statistics
import time
from collections.abc import Iterator
from io import BytesIO
from typing import Any
from uuid import uuid4

import polars as pl
import pytest
from botocore.exceptions import ClientError
from deltalake import DeltaTable, write_deltalake

from benchmarks.models.delays import Delays, Profile, profile
from benchmarks.models.process import Model, running
from core.config import Aws
from sinks.storage.s3 import S3Store, client
from tests.support.aws import TestAws


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    with running("s3", tmp_path_factory.mktemp("model")) as started:
        yield started


@pytest.fixture
def bucket(model: Model) -> str:
    model.begin(Profile(), "lake")
    return "lake"


@pytest.fixture
def s3(model: Model) -> Any:
    return TestAws(model.section["endpoint_url"]).client("s3")


@pytest.fixture
def store(model: Model, bucket: str) -> S3Store:
    return S3Store(client(Aws.model_validate(model.section)), bucket, uuid4().hex)


def code(call: Any, **given: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**given)
    found: str = caught.value.response["Error"]["Code"]
    return found


def test_an_object_comes_back_with_its_metadata(s3: Any, bucket: str) -> None:
    key = "a b/ä+%?&=.txt"
    s3.put_object(Bucket=bucket, Key=key, Body=b"0123456789", Metadata={"end": "7"})
    whole = s3.get_object(Bucket=bucket, Key=key)
    assert whole["Body"].read() == b"0123456789"
    assert whole["Metadata"] == {"end": "7"}
    head = s3.head_object(Bucket=bucket, Key=key)
    assert (head["ContentLength"], head["ETag"]) == (10, whole["ETag"])
    assert s3.list_objects_v2(Bucket=bucket)["Contents"][0]["Key"] == key


@pytest.mark.parametrize(
    ("wanted", "got"),
    [("bytes=2-4", b"234"), ("bytes=7-", b"789"), ("bytes=-3", b"789"), ("bytes=5-99", b"56789")],
)
def test_a_range_of_an_object(s3: Any, bucket: str, wanted: str, got: bytes) -> None:
    s3.put_object(Bucket=bucket, Key="digits", Body=b"0123456789")
    assert s3.get_object(Bucket=bucket, Key="digits", Range=wanted)["Body"].read() == got
    assert code(s3.get_object, Bucket=bucket, Key="digits", Range="bytes=10-") == "InvalidRange"


def test_a_condition_keeps_the_object_that_is_there(s3: Any, bucket: str) -> None:
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")
    refused = {"Bucket": bucket, "Key": "k", "Body": b"2"}
    assert code(s3.put_object, **refused, IfNoneMatch="*") == "PreconditionFailed"
    assert code(s3.put_object, **refused, IfMatch='"other"') == "PreconditionFailed"
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"1"
    s3.put_object(**refused, IfMatch=first["ETag"])
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"2"


def test_what_is_missing_is_named(s3: Any, bucket: str) -> None:
    assert code(s3.get_object, Bucket=bucket, Key="none") == "NoSuchKey"
    assert code(s3.head_object, Bucket=bucket, Key="none") == "404"
    assert code(s3.put_object, Bucket="other", Key="k", Body=b"") == "NoSuchBucket"
    assert code(s3.list_objects_v2, Bucket="other") == "NoSuchBucket"


def test_a_listing_gives_every_key_once_on_pages(s3: Any, bucket: str) -> None:
    keys = [*(f"a/{n:02}" for n in range(7)), "b/1/x", "b/2", "b0"]
    for key in reversed(keys):
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    pages = s3.get_paginator("list_objects_v2")
    for size in (1, 3, 1000):
        paged = pages.paginate(Bucket=bucket, PaginationConfig={"PageSize": size})
        assert [item["Key"] for page in paged for item in page["Contents"]] == keys
        grouped = list(
            pages.paginate(Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": size})
        )
        assert [p["Prefix"] for g in grouped for p in g.get("CommonPrefixes", [])] == ["a/", "b/"]
        assert [i["Key"] for g in grouped for i in g.get("Contents", [])] == ["b0"]
    later = s3.list_objects_v2(Bucket=bucket, Prefix="a/", StartAfter="a/04")
    assert [item["Key"] for item in later["Contents"]] == ["a/05", "a/06"]


def test_objects_are_removed_together_and_alone(s3: Any, bucket: str) -> None:
    for key in ("1&", "2<", "3"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    named = [{"Key": key} for key in ("1&", "2<", "none")]
    s3.delete_objects(Bucket=bucket, Delete={"Objects": named})
    s3.delete_object(Bucket=bucket, Key="none")
    assert [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["3"]


def test_a_large_file_is_uploaded_in_parts(s3: Any, bucket: str) -> None:
    body = bytes(range(256)) * 80_000
    s3.upload_fileobj(BytesIO(body), bucket, "large")
    assert s3.get_object(Bucket=bucket, Key="large")["Body"].read() == body


def test_a_chunked_body_is_decoded(s3: Any, model: Model, bucket: str) -> None:
    chunked = b"3;chunk-signature=x\r\nabc\r\n2\r\nde\r\n0\r\nx-amz-checksum-crc32:AAAA==\r\n\r\n"
    url = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "chunked"})
    model._connection.request("PUT", url, chunked, {"Content-Encoding": "aws-chunked"})
    assert model._connection.getresponse().read() == b""
    assert s3.get_object(Bucket=bucket, Key="chunked")["Body"].read() == b"abcde"


def test_delta_rs_writes_and_reads_a_table(model: Model, bucket: str) -> None:
    uri, options = f"s3://{bucket}/t", TestAws(model.section["endpoint_url"]).storage_options()
    for start in (0, 3):
        frame = pl.DataFrame({"n": range(start, start + 3)})
        write_deltalake(uri, frame, mode="append", storage_options=options)
    DeltaTable(uri, storage_options=options).create_checkpoint()
    found = pl.scan_delta(uri, storage_options=options).collect()
    assert sorted(found["n"]) == list(range(6))


def test_our_store_works_on_it(store: S3Store) -> None:
    store.prove()
    assert store.put_new("a/1", b"one", {"end": "1"})
    assert not store.put_new("a/1", b"two", {})
    assert store.find("a/2") is None
    assert store.metadata("a/1") == {"end": "1"}
    assert store.tail("a/1", 2) == b"ne"
    assert [key for key, _ in store.scan("a/")] == ["a/1"]
    store.remove(["a/1"])
    assert store.list("") == []


def test_requests_are_counted_by_kind(s3: Any, model: Model, bucket: str) -> None:
    for key in ("pin/x.parquet", "pin/_delta_log/00.json", "archive/pin/1.parquet"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"12345")
    s3.list_objects_v2(Bucket=bucket, Prefix="pin/_delta_log/")
    own = [entry for entry in model.journal() if entry.kind != "PUT bucket"]
    assert [entry.kind for entry in own] == ["PUT data", "PUT log", "PUT archive", "LIST log"]
    assert [entry.size for entry in own[:3]] == [5, 5, 5]


def test_the_time_of_an_object_is_that_of_its_response(s3: Any, model: Model, bucket: str) -> None:
    model.request("POST", "/-/profile", Profile(p50=0.2, p99=0.2).model_dump_json())
    began = time.time()
    s3.put_object(Bucket=bucket, Key="t/_delta_log/0", Body=b"1")
    found = model.table(bucket, "t").read("0")
    assert found is not None
    assert began + 0.2 <= found[0] <= time.time()
    assert model.table(bucket, "t").read("1") is None


def test_a_share_of_the_requests_is_slowed_down(s3: Any, model: Model, bucket: str) -> None:
    url = s3.generate_presigned_url("list_objects_v2", Params={"Bucket": bucket})
    model.request("POST", "/-/profile", Profile(slow_down=0.5).model_dump_json())
    statuses = [model.request("GET", url)[0] for _ in range(200)]
    assert 60 < statuses.count(503) < 140
    assert statuses.count(503) + statuses.count(200) == 200


def test_latencies_have_the_percentiles_that_are_asked_for() -> None:
    delays = Delays(profile(40))
    small = statistics.quantiles((delays.small() for _ in range(20_000)), n=100)
    assert small[49] == pytest.approx(0.040, rel=0.05)
    assert small[98] == pytest.approx(0.200, rel=0.10)
    megabyte = statistics.median(delays.upload(1_000_000) for _ in range(5_000))
    assert megabyte == pytest.approx(0.090, rel=0.05)
    again, other = Delays(profile(40)), Delays(profile(40))
    assert [again.small() for _ in range(9)] == [other.small() for _ in range(9)]
