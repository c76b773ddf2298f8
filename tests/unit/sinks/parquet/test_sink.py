"""The Parquet sink beyond the contract: names, what objects say of themselves, and faults."""

import io
import json
from functools import partial
from itertools import accumulate, repeat
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.batch import KAFKA, KINESIS, Batch, Coordinates, Partition, Position
from core.errors import PositionLost, SinkError, StalePosition, TransientError
from sinks.parquet import chain
from sinks.parquet.chain import KEY
from sinks.parquet.sink import ParquetSink
from sinks.storage.protocol import Store
from sinks.storage.s3 import S3Store
from sinks.storage.store import FolderStore, open_store
from tests.support.aws import TestAws
from tests.support.batches import FIRST_SEQUENCE, RecordLog
from tests.support.s3_faults import answer, inject, lose_the_answer

A, B = 0, 1
LOG = RecordLog(KAFKA)
PARTITIONS = [LOG.partition(A), LOG.partition(B)]


def sink(store: Store, coordinates: Coordinates = KAFKA) -> ParquetSink:
    """Make a raw sink that has read the ends of A and B."""
    made = ParquetSink(store, "raw", coordinates, "archive")
    made.positions([RecordLog(coordinates).partition(i) for i in (A, B)])
    return made


def held(store: Store) -> pl.DataFrame:
    """All rows, sorted."""
    frames = [pl.read_parquet(store.read(key)) for key in store.list("")]
    return pl.concat(frames).sort(KAFKA.identity)


def raw(batch: Batch) -> pl.DataFrame:
    """Return the raw rows of the batch, sorted."""
    return batch.raw.sort(KAFKA.identity)


@pytest.fixture
def folder(tmp_path: Path) -> FolderStore:
    """Make an empty folder."""
    return FolderStore(tmp_path)


@pytest.fixture
def bucket(aws: TestAws) -> Store:
    """Make an empty bucket."""
    return open_store(f"s3://{aws.bucket()}", aws.config)


@pytest.mark.parametrize(("length", "fits"), [(224, True), (225, False), (249, False)])
def test_a_topic_too_long_for_file_names_is_refused_before_anything_is_written(
    folder: FolderStore, length: int, *, fits: bool
) -> None:
    topic = Partition("t" * length, "0")
    made = ParquetSink(folder, "raw", KAFKA, "archive")
    if fits:
        assert made.positions([topic]) == {topic: None}
        batch = RecordLog(KAFKA, topic.source).batch({A: (0, 3)})
        made.write(batch)
        assert made.positions([topic]) == {topic: Position(3)}
    else:
        with pytest.raises(SinkError, match=rf"cannot hold t+: .* have {length + 31} bytes"):
            made.positions([topic])


def test_a_bucket_takes_the_longest_topic(bucket: Store) -> None:
    topic = Partition("t" * 249, "0")
    made = ParquetSink(bucket, "raw", KAFKA, "archive")
    made.positions([topic])
    made.write(RecordLog(KAFKA, topic.source).batch({A: (0, 3)}))
    assert made.positions([topic]) == {topic: Position(3)}


def test_an_object_is_named_by_where_the_last_one_ended(folder: FolderStore) -> None:
    archive = sink(folder)
    archive.write(LOG.batch({A: (0, 9)}))
    archive.write(LOG.batch({A: (9, 12)}))
    assert folder.list("") == [
        "demo.pin/partition=0/demo.pin+0+00000000000000000000.parquet",
        "demo.pin/partition=0/demo.pin+0+00000000000000000009.parquet",
    ]


def test_a_shard_is_named_by_sequence_and_subsequence(folder: FolderStore) -> None:
    log = RecordLog(KINESIS, "streaming-demo-pin")
    archive = sink(folder, KINESIS)
    archive.positions([log.partition(A)])
    archive.write(log.batch({A: (0, 2)}))
    archive.write(log.batch({A: (2, 3)}))
    shard = "streaming-demo-pin/partition=shardId-000000000000/"
    name = shard + "streaming-demo-pin+shardId-000000000000+"
    assert folder.list("") == [
        f"{name}{0:064d}.0000000000.parquet",
        f"{name}00000000{FIRST_SEQUENCE}.0000000001.parquet",
    ]


def test_metadata_and_footer_both_say_what_an_object_holds(bucket: Store) -> None:
    archive = sink(bucket)
    archive.write(LOG.batch({A: (0, 9)}))
    archive.write(LOG.batch({A: (9, 12)}))
    first, second = [dict(bucket.metadata(key) or {}) for key in bucket.list("")]
    assert json.loads(first[KEY])["end"] == json.loads(second[KEY])["start"] == f"{9:020d}"
    assert json.loads(second[KEY])["records"] == 3
    for key in bucket.list(""):
        footer = pq.read_metadata(io.BytesIO(bucket.read(key))).metadata
        assert footer[KEY.encode()].decode() == dict(bucket.metadata(key) or {})[KEY]


def test_the_archive_is_read_with_one_pattern(folder: FolderStore) -> None:
    archive = sink(folder)
    archive.write(LOG.batch({A: (0, 9), B: (0, 4)}))
    archive.write(LOG.without_rows({A: (9, 11)}))
    archive.write(LOG.batch({A: (11, 13)}))
    found = pl.read_parquet(f"{folder.uri}/**/*.parquet", hive_partitioning=False)
    assert found.height == 15
    assert found.schema == LOG.batch({A: (0, 1)}).raw.schema


def test_positions_must_be_read_before_the_first_write(folder: FolderStore) -> None:
    archive = ParquetSink(folder, "raw", KAFKA, "archive")
    with pytest.raises(StalePosition, match=r"demo\.pin/0"):
        archive.write(LOG.batch({A: (0, 9)}))
    assert folder.list("") == []


def test_an_object_whose_answer_was_lost_is_known_as_our_own(bucket: Store) -> None:
    archive = sink(bucket)
    inject(bucket, "PutObject", [lose_the_answer])
    archive.write(LOG.batch({A: (0, 9)}))
    archive.write(LOG.batch({A: (9, 12)}))
    assert held(bucket).equals(raw(LOG.batch({A: (0, 12)})))


def test_an_object_of_ours_that_landed_late_with_another_end_is_stale(bucket: Store) -> None:
    archive = sink(bucket)
    archive.write(LOG.batch({A: (0, 9)}))
    archive._own[LOG.partition(A)] = None
    with pytest.raises(StalePosition):
        archive.write(LOG.batch({A: (0, 12)}))
    assert archive.positions(PARTITIONS)[LOG.partition(A)] == Position(9)


def test_after_a_fault_of_one_partition_the_same_batch_writes_the_rest(bucket: Store) -> None:
    archive = sink(bucket)
    inject(bucket, "PutObject", [answer(400, "RequestTimeout")] * 3, only="pin%2B1%2B")
    batch = LOG.batch({A: (0, 9), B: (0, 9)})
    with pytest.raises(TransientError):
        archive.write(batch)
    assert held(bucket).equals(raw(LOG.batch({A: (0, 9)})))
    archive.write(batch)
    assert held(bucket).equals(raw(batch))


def test_a_stale_partition_outweighs_a_transient_fault(bucket: Store) -> None:
    archive, owner = sink(bucket), sink(bucket)
    owner.write(LOG.batch({B: (0, 4)}))
    inject(bucket, "PutObject", repeat(answer(400, "RequestTimeout")), only="pin%2B0%2B")
    with pytest.raises(StalePosition):
        archive.write(LOG.batch({A: (0, 9), B: (0, 9)}))


def test_the_footer_serves_where_a_copy_lost_the_metadata(aws: TestAws, bucket: Store) -> None:
    sink(bucket).write(LOG.batch({A: (0, 9)}))
    (key,) = bucket.list("")
    name = bucket.uri.removeprefix("s3://")
    aws.client("s3").put_object(Bucket=name, Key=key, Body=bucket.read(key))
    assert bucket.metadata(key) == {}
    assert sink(bucket).positions(PARTITIONS)[LOG.partition(A)] == Position(9)


@pytest.mark.parametrize("damage", [b"", b"PAR1", b"not parquet at all, but long enough" * 9])
def test_a_damaged_last_object_is_never_taken_for_an_empty_chain(
    folder: FolderStore, damage: bytes
) -> None:
    sink(folder).write(LOG.batch({A: (0, 9)}))
    (key,) = folder.list("")
    Path(folder.uri, key).write_bytes(damage)
    with pytest.raises(PositionLost, match=r"demo\.pin/partition=0"):
        sink(folder)


def test_a_foreign_object_in_the_chain_is_named(folder: FolderStore) -> None:
    sink(folder).write(LOG.batch({A: (0, 9)}))
    folder.put_new("demo.pin/partition=0/notes.txt", b"hello", {})
    with pytest.raises(PositionLost, match=r"notes\.txt"):
        sink(folder)


def test_a_parquet_file_of_another_hand_is_never_taken_for_ours(folder: FolderStore) -> None:
    sink(folder).write(LOG.batch({A: (0, 9)}))
    (key,) = folder.list("")
    pl.DataFrame({"a": [1]}).write_parquet(Path(folder.uri, key))
    with pytest.raises(PositionLost):
        sink(folder)


class Names:
    """A store of names alone, listed in short pages, that counts how often it was asked."""

    uri = "memory"

    def __init__(self, keys: list[str], size: int) -> None:
        self.asked = 0
        self._keys = sorted(keys)
        self._size = size

    def page(self, prefix: str, after: str) -> tuple[list[str], bool]:
        """As S3 answers."""
        self.asked += 1
        found = [key for key in self._keys if key.startswith(prefix) and key > after]
        return found[: self._size], len(found) > self._size


def last_key(names: Names) -> str | None:
    """Return the key that the search takes for the last object of A."""
    own = LOG.partition(A)
    page = partial(names.page, chain.folder(own))
    return chain.last_key(page, lambda number: chain.after(own, number, KAFKA))


def name(start: int) -> str:
    """Return the key of A's object that starts here."""
    return f"demo.pin/partition=0/demo.pin+0+{start:020d}.parquet"


@given(st.lists(st.integers(1, 50) | st.integers(1, 10**9), max_size=60), st.integers(1, 7))
def test_the_last_object_is_found_wherever_objects_start(steps: list[int], size: int) -> None:
    keys = [name(start) for start in accumulate(steps, initial=0)]
    other = name(99999).replace("partition=0", "partition=1")
    assert last_key(Names([*keys, other], size)) == keys[-1]


def test_a_chain_without_objects_has_no_last_one() -> None:
    assert last_key(Names([name(5).replace("partition=0", "partition=1")], 1)) is None


@given(st.integers(1, 10**6), st.integers(1, 1000), st.integers(2, 1000))
def test_the_search_takes_a_logarithmic_number_of_pages(last: int, step: int, size: int) -> None:
    def page(key: str) -> tuple[list[str], bool]:
        asked.append(key)
        first = chain.start_of(key).number // step + 1 if key else 0
        numbers = range(first, min(first + size, last + 1))
        return [name(step * n) for n in numbers], first + size <= last

    asked: list[str] = []
    own = LOG.partition(A)
    assert chain.last_key(page, lambda n: chain.after(own, n, KAFKA)) == name(step * last)
    assert len(asked) <= 4 + 3 * (last * step).bit_length()


def test_the_last_of_very_many_objects_is_found_with_few_questions() -> None:
    names = Names([name(700 * n) for n in range(50_000)], size=100)
    assert last_key(names) == name(700 * 49_999)
    assert names.asked < 30


def test_a_long_chain_in_a_bucket_is_resumed_at_its_end(bucket: Store) -> None:
    archive = sink(bucket)
    for n in range(12):
        archive.write(LOG.batch({A: (n, n + 1)}))

    def two_at_a_time(params: dict[str, Any], **_: Any) -> None:
        params["MaxKeys"] = 2

    assert isinstance(bucket, S3Store)
    event = "before-parameter-build.s3.ListObjectsV2"
    bucket._client.meta.events.register(event, two_at_a_time)
    assert archive.positions(PARTITIONS)[LOG.partition(A)] == Position(12)
