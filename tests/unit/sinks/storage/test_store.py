"""Stores: a key is created once, whole, and faults are told apart by what helps."""

import errno
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest

from core.config import Aws
from core.errors import ConfigError, SinkError, TransientError
from sinks.delta.table import sorted_errors
from sinks.storage import store as store_module
from sinks.storage.protocol import Store
from sinks.storage.s3 import S3Store
from sinks.storage.store import FolderStore, open_store
from tests.support.aws import TestAws
from tests.support.s3_faults import answer, inject, lose_the_answer


@pytest.fixture
def bucket(aws: TestAws) -> Store:
    """Make an empty prefix of a bucket."""
    return open_store(f"s3://{aws.bucket()}/archive", aws.config)


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.moto)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Both kinds."""
    if request.param == "folder":
        return open_store(str(tmp_path / "archive"), Aws())
    found: Store = request.getfixturevalue("bucket")
    return found


def test_a_key_is_created_only_once(store: Store) -> None:
    assert store.put_new("a/b.parquet", b"first", {})
    assert not store.put_new("a/b.parquet", b"second", {})
    assert store.read("a/b.parquet") == b"first"


def test_an_object_may_be_replaced_and_is_whole_then(store: Store) -> None:
    for body in (b"first", b"second, and longer", b""):
        store.replace("a/b.json", body)
        assert store.read("a/b.json") == body
    assert store.list("") == ["a/b.json"]


def test_of_many_writers_of_one_key_one_wins(store: Store) -> None:
    bodies = [str(n).encode() * 10_000 for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda body: store.put_new("key", body, {}), bodies))
    assert won.count(True) == 1
    assert store.read("key") == bodies[won.index(True)]


def test_keys_are_listed_sorted_by_prefix(store: Store) -> None:
    for key in ["t/p=1/b", "t/p=1/a", "t/p=10/c", "u/p=1/d", "t/p=1/c/e"]:
        assert store.put_new(key, b"", {})
    assert store.list("t/p=1/") == ["t/p=1/a", "t/p=1/b", "t/p=1/c/e"]
    assert store.list("t/p=1") == ["t/p=1/a", "t/p=1/b", "t/p=1/c/e", "t/p=10/c"]
    assert len(store.list("")) == 5


def test_nothing_is_listed_where_nothing_is(store: Store) -> None:
    assert store.list("t/") == []


def test_metadata_of_a_missing_key_is_none(store: Store) -> None:
    store.put_new("there", b"", {"pinpip": "x"})
    assert store.metadata("there") is not None
    assert store.metadata("elsewhere") is None


def test_a_bucket_keeps_metadata(bucket: Store) -> None:
    bucket.put_new("key", b"", {"pinpip": '{"end": "7"}'})
    assert bucket.metadata("key") == {"pinpip": '{"end": "7"}'}


def test_reading_a_missing_key_is_an_error_that_names_it(store: Store) -> None:
    store.put_new("there", b"", {})
    with pytest.raises(SinkError, match="elsewhere"):
        store.read("elsewhere")


def test_a_missing_key_is_found_to_be_none(store: Store) -> None:
    store.put_new("there", b"body", {})
    assert store.find("there") == b"body"
    assert store.find("elsewhere") is None


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(SinkError, match="gs://"):
        open_store("gs://bucket/prefix", Aws())


def test_a_listing_goes_on_after_the_first_page(bucket: Store) -> None:
    def two_at_a_time(params: dict[str, Any], **_: Any) -> None:
        params["MaxKeys"] = 2

    assert isinstance(bucket, S3Store)
    event = "before-parameter-build.s3.ListObjectsV2"
    bucket._client.meta.events.register(event, two_at_a_time)
    keys = [f"k{n}" for n in range(7)]
    for key in keys:
        bucket.put_new(key, b"", {})
    assert bucket.list("") == keys


def test_a_conflicting_request_is_tried_again(bucket: Store) -> None:
    inject(bucket, "PutObject", [answer(409, "ConditionalRequestConflict")] * 2)
    assert bucket.put_new("key", b"mine", {})
    assert bucket.read("key") == b"mine"


def test_a_conflict_without_end_is_transient(bucket: Store) -> None:
    inject(bucket, "PutObject", repeat(answer(409, "ConditionalRequestConflict")))
    with pytest.raises(TransientError, match="key"):
        bucket.put_new("key", b"", {})


def test_a_lost_answer_leaves_the_key_taken(bucket: Store) -> None:
    inject(bucket, "PutObject", [lose_the_answer])
    assert not bucket.put_new("key", b"mine", {})
    assert bucket.read("key") == b"mine"


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError")])
@pytest.mark.parametrize(
    ("operation", "call"),
    [
        ("PutObject", lambda store: store.put_new("key", b"", {})),
        ("HeadObject", lambda store: store.metadata("key")),
        ("GetObject", lambda store: store.read("key")),
        ("GetObject", lambda store: store.find("key")),
        ("ListObjectsV2", lambda store: store.list("")),
    ],
)
def test_a_fault_of_the_server_is_transient(
    bucket: Store, operation: str, call: Callable[[Store], object], status: int, code: str
) -> None:
    _without_own_retries(bucket)
    inject(bucket, operation, repeat(answer(status, code)))
    with pytest.raises(TransientError) as raised:
        call(bucket)
    if operation != "HeadObject":  # a response without a body: botocore takes the status as code
        assert raised.value.kind == code


def _without_own_retries(bucket: Store) -> None:
    """Boto3 waits between its tries: these tests look at what follows them."""
    assert isinstance(bucket, S3Store)
    bucket._client.meta.events.unregister("needs-retry.s3", unique_id="retry-config-s3")


def test_an_unreachable_endpoint_is_transient() -> None:
    keys = {"access_key_id": "k", "secret_access_key": "s"}
    away = Aws.model_validate({"endpoint_url": "http://127.0.0.1:1", **keys})
    store = open_store("s3://bucket/prefix", away)
    with pytest.raises(TransientError, match="does not answer"):
        store.list("")


def test_a_missing_bucket_is_named_with_the_command_that_makes_it(aws: TestAws) -> None:
    store = open_store("s3://nowhere-to-be-found/archive", aws.config)
    for call in (
        lambda: store.put_new("key", b"", {}),
        lambda: store.find("key"),
        lambda: store.list(""),
    ):
        with pytest.raises(SinkError, match="aws s3 mb s3://nowhere-to-be-found"):
            call()


def test_a_refusal_names_the_bucket(bucket: Store) -> None:
    inject(bucket, "PutObject", repeat(answer(403, "AccessDenied")))
    with pytest.raises(SinkError, match="AccessDenied") as refused:
        bucket.put_new("key", b"", {})
    assert bucket.uri.split("/")[2] in refused.value.hint


@pytest.mark.parametrize(
    ("code", "advice"),
    [("RequestTimeTooSkewed", "clock"), ("ExpiredToken", "renew"), ("InvalidAccessKeyId", "give")],
)
def test_a_fault_of_our_own_identity_has_its_own_advice(
    bucket: Store, code: str, advice: str
) -> None:
    inject(bucket, "PutObject", repeat(answer(403, code)))
    with pytest.raises(SinkError, match=code) as refused:
        bucket.put_new("key", b"", {})
    assert advice in refused.value.hint
    with pytest.raises(SinkError, match=code) as refused, sorted_errors("s3://b/t"):
        raise OSError(
            "Generic S3 error: Server returned non-2xx status code 403 Forbidden: "
            f"<Error><Code>{code}</Code><Message>It is so.</Message></Error>"
        )
    assert advice in refused.value.hint


def test_missing_credentials_are_named(
    aws: TestAws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ConfigError, match="finds no credentials"):
        open_store("s3://bucket/prefix", Aws(endpoint_url=aws.endpoint))


def test_a_folder_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = FolderStore(tmp_path / "file")
    with pytest.raises(SinkError, match="file"):
        store.put_new("a/key", b"", {})


def test_a_full_disk_is_transient_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(path: Path, body: bytes) -> None:
        path.write_bytes(body[:2])
        raise OSError(errno.ENOSPC, "No space left on device")

    store = FolderStore(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(store_module, "_write_through", half)
        with pytest.raises(TransientError, match="No space") as raised:
            store.put_new("key", b"whole", {})
    assert raised.value.kind == "ENOSPC"
    assert list(tmp_path.iterdir()) == []
    assert store.put_new("key", b"whole", {})


def test_what_a_crash_left_half_written_is_not_listed(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put_new("a/key", b"whole", {})
    (tmp_path / "a" / ".0123.tmp").write_bytes(b"hal")
    assert store.list("a/") == ["a/key"]
    assert store.list("") == ["a/key"]


def test_of_a_few_keys_those_that_are_absent_are_found(store: Store) -> None:
    keys = [f"log/{n:020d}.json" for n in range(8, 1013)]
    there = keys[::2]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.put_new(key, b"", {}), [*there, f"{keys[3]}.crc", "log/a"]))
    assert store.absent(keys) == keys[1::2]
    assert store.absent(keys[2:3]) == []
    assert store.absent(keys[3:4]) == keys[3:4]
    assert store.absent([]) == []


def test_an_object_is_taken_away_unless_it_is_another_by_now(store: Store) -> None:
    store.put_new("log/1.json", b"first", {})
    store.take_away("log/1.json", b"second")
    assert store.find("log/1.json") == b"first"
    store.take_away("log/1.json", b"first")
    store.take_away("log/1.json", b"first")
    assert store.list("") == []


def test_an_object_that_is_replaced_while_it_is_taken_away_stays(bucket: Store) -> None:
    bucket.put_new("log/1.json", b"first", {})
    inject(bucket, "DeleteObject", [answer(412, "PreconditionFailed")])
    bucket.take_away("log/1.json", b"first")
    assert bucket.read("log/1.json") == b"first"
