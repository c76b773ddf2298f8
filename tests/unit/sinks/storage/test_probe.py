"""No writer writes to a store that overwrites what exists: each one proves it at its start."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

import pytest
from botocore.awsrequest import AWSPreparedRequest

from core.batch import KAFKA
from core.config import Aws
from core.errors import SinkError, TransientError
from core.protocols import Sink
from sinks.storage import probe
from sinks.storage.protocol import Store
from sinks.storage.s3 import S3Store
from sinks.storage.store import FolderStore, open_store
from tests.support.aws import TestAws
from tests.support.batches import RecordLog
from tests.support.proxies import deaf
from tests.support.s3_faults import answer, inject, lose_the_answer
from tests.support.sink_backends import DeltaBackend, ParquetBackend

LOG = RecordLog(KAFKA)
P0 = LOG.partition(0)
SAID = "does not honour conditional writes: exactly once cannot be kept on it"
Open = Callable[[TestAws, str], Sink]


def delta(aws: TestAws, uri: str) -> Sink:
    return DeltaBackend(open_store(uri, aws.config), aws.storage_options, "clean", KAFKA).sink()


def quarantine(aws: TestAws, uri: str) -> Sink:
    return DeltaBackend(open_store(uri, aws.config), aws.storage_options, "rejected", KAFKA).sink()


def archive(aws: TestAws, uri: str) -> Sink:
    return ParquetBackend(open_store(uri, aws.config), "raw", KAFKA).sink()


@pytest.fixture
def overwriting(aws: TestAws) -> Iterator[TestAws]:
    """Start an S3 that ignores If-None-Match."""
    with deaf(aws.endpoint) as endpoint:
        yield TestAws(endpoint)


@pytest.fixture
def bucket(aws: TestAws) -> Store:
    """Make an empty prefix of a bucket."""
    return open_store(f"s3://{aws.bucket()}/lake/pin", aws.config)


@pytest.mark.parametrize("opened", [delta, quarantine, archive])
def test_no_sink_starts_on_a_store_that_ignores_if_none_match(
    overwriting: TestAws, opened: Open
) -> None:
    sink = opened(overwriting, f"s3://{overwriting.bucket()}/lake")
    with pytest.raises(SinkError, match=SAID) as refused:
        sink.positions([P0])
    assert "drops the header" in refused.value.hint


def test_a_bucket_that_was_written_honestly_is_proven_again_behind_another_proxy(
    aws: TestAws, overwriting: TestAws
) -> None:
    uri = f"s3://{aws.bucket()}/lake"
    sink = delta(aws, uri)
    sink.positions([P0])
    sink.write(LOG.batch({0: (0, 3)}))
    with pytest.raises(SinkError, match=SAID):
        delta(overwriting, uri).positions([P0])


def test_a_store_that_does_not_know_conditional_puts_is_refused_in_the_same_words(
    bucket: Store,
) -> None:
    inject(bucket, "PutObject", repeat(answer(501, "NotImplemented")))
    with pytest.raises(SinkError, match=SAID):
        bucket.prove()


def requests_of(aws: TestAws, uri: str) -> list[str]:
    """Return the methods of the requests of one start."""
    store, asked = open_store(uri, aws.config), []

    def note(request: AWSPreparedRequest, **_: object) -> None:
        asked.append(request.method)

    assert isinstance(store, S3Store)
    store._client.meta.events.register("before-send.s3", note)
    store.prove()
    store.prove()
    return asked


def test_a_proof_costs_two_requests_at_the_first_start_and_one_later(aws: TestAws) -> None:
    uri = f"s3://{aws.bucket()}/lake"
    assert [requests_of(aws, uri) for _ in range(3)] == [["PUT", "PUT"], ["PUT"], ["PUT"]]


def test_a_proof_leaves_one_object_that_no_listing_shows(bucket: Store) -> None:
    bucket.prove()
    assert bucket.find(probe.KEY) is not None
    assert bucket.list("") == []


def test_of_many_writers_that_start_at_once_each_has_the_proof(aws: TestAws) -> None:
    uri = f"s3://{aws.bucket()}/lake"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: open_store(uri, aws.config).prove(), range(8)))


def test_a_versioned_bucket_keeps_one_version_of_the_probe(aws: TestAws) -> None:
    name, s3 = aws.bucket(), aws.client("s3")
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    for _ in range(3):
        open_store(f"s3://{name}/lake", aws.config).prove()
    assert len(s3.list_object_versions(Bucket=name)["Versions"]) == 1
    s3.delete_object(Bucket=name, Key=f"lake/{probe.KEY}")
    open_store(f"s3://{name}/lake", aws.config).prove()


def test_a_lost_answer_proves_nothing_and_is_repeated(bucket: Store) -> None:
    inject(bucket, "PutObject", [lose_the_answer])
    bucket.prove()


def test_a_store_that_does_not_answer_is_asked_again_by_the_next_call(bucket: Store) -> None:
    inject(bucket, "PutObject", [answer(503, "SlowDown")] * 3)
    with pytest.raises(TransientError):
        bucket.prove()
    bucket.prove()


class Overwriting(FolderStore):
    """A folder whose file system lets a name be made twice."""

    def put_new(self, key: str, body: bytes, metadata: object) -> bool:  # noqa: ARG002
        """Write, whatever is there."""
        (Path(self.uri) / key).write_bytes(body)
        return True


@pytest.mark.parametrize("stage", ["clean", "rejected"])
def test_a_folder_that_overwrites_is_refused(tmp_path: Path, stage: str) -> None:
    assert stage in {"clean", "rejected"}
    sink = DeltaBackend(Overwriting(tmp_path), {}, stage, KAFKA).sink()  # type: ignore[arg-type]
    with pytest.raises(SinkError, match=SAID):
        sink.positions([P0])


def test_a_folder_that_refuses_is_proven(tmp_path: Path) -> None:
    for _ in range(2):
        store = open_store(str(tmp_path / "lake"), Aws())
        store.prove()
        assert store.list("") == []
    assert [p.name for p in (tmp_path / "lake").iterdir()] == [probe.KEY]
