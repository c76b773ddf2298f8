"""What a chain proves: of a real archive with objects taken away, added and exchanged."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.batch import KAFKA, Position
from core.errors import SourceError
from sinks.parquet import chain
from sinks.parquet.sink import ParquetSink
from sinks.parquet.walk import walk
from sinks.storage.protocol import Store
from sinks.storage.store import FolderStore
from tests.support.batches import RecordLog
from tests.support.examples import examples

LOG = RecordLog(KAFKA)
PARTITION = LOG.partition(0)


def written(store: Store, sizes: list[int]) -> list[str]:
    """Archive batches of these sizes; return the keys of the chain."""
    sink = ParquetSink(store, "raw", KAFKA, "archive")
    sink.positions([PARTITION])
    first = 0
    for size in sizes:
        sink.write(LOG.batch({0: (first, first + size)}))
        first += size
    return store.list(chain.folder(PARTITION))


def stray(store: FolderStore, start: int, end: int, epoch: int | None = None) -> str:
    """Put an object beside the chain; return its key."""
    texts = [chain.spelled(Position(n), KAFKA) for n in (start, end)]
    about = {"start": texts[0], "end": texts[1], "records": 0, "writer": "w", "epoch": epoch}
    key = chain.key_of(PARTITION, texts[0])
    body = pl.DataFrame({"_offset": []}, schema={"_offset": pl.Int64})
    body.write_parquet(Path(store.uri) / key, metadata={chain.KEY: json.dumps(about)})
    return key


@settings(max_examples=examples(60))
@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=6),
    gone=st.sets(st.integers(0, 5)),
    strays=st.dictionaries(st.integers(1, 30), st.integers(1, 9), max_size=3),
)
def test_only_what_follows_from_the_first_object_is_walked(
    sizes: list[int], gone: set[int], strays: dict[int, int]
) -> None:
    with TemporaryDirectory() as folder:
        store = FolderStore(Path(folder))
        keys = written(store, sizes)
        starts = [chain.start_of(key).number for key in keys]
        ends = [*starts[1:], sum(sizes)]
        kept = [n for n in range(len(keys)) if n not in gone]
        store.remove([key for n, key in enumerate(keys) if n in gone])
        own = {starts[n]: ends[n] for n in kept}
        own |= {s: s + size for s, size in strays.items() if s not in starts}
        for start in own.keys() - {starts[n] for n in kept}:
            stray(store, start, own[start])
        path: list[int] = []
        while own and (at := own[path[-1]] if path else min(own)) in own:
            path.append(at)
        has_hole = any(start >= own[path[-1]] for start in own) if path else False
        found = store.list(chain.folder(PARTITION))
        if has_hole:
            with pytest.raises(SourceError, match="has a hole"):
                walk(store, found)
        else:
            assert [link.named.number for link in walk(store, found)] == path


def test_an_object_of_another_topic_is_refused(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    written(store, [4])
    keys = [stray(store, 4, 8, 1), stray(store, 8, 12), stray(store, 12, 16, 2)]
    found = store.list(chain.folder(PARTITION))
    assert len(walk(store, found[:-1])) == 3
    with pytest.raises(SourceError, match="is of another topic") as refused:
        walk(store, found)
    assert keys[-1] in refused.value.message


def test_an_object_that_was_renamed_is_refused(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    first, second = written(store, [4, 4])
    (tmp_path / second).rename(tmp_path / first)
    with pytest.raises(SourceError, match="says that it holds 4 to 8"):
        walk(store, [first])


@pytest.mark.parametrize("gone", [1, 2, 3])
def test_an_object_that_goes_meanwhile_is_an_error(tmp_path: Path, gone: int) -> None:
    store = FolderStore(tmp_path)
    keys = written(store, [3, 3, 3, 3])
    store.remove([keys[gone]])
    with pytest.raises(SourceError, match="was removed since it was listed"):
        walk(store, keys)


@pytest.mark.parametrize("gone", [1, 2, 3])
def test_first_objects_that_go_meanwhile_are_passed_over(tmp_path: Path, gone: int) -> None:
    store = FolderStore(tmp_path)
    keys = written(store, [3, 3, 3, 3])
    store.remove(keys[:gone])
    assert [link.key for link in walk(store, keys)] == keys[gone:]


def test_a_chain_that_goes_meanwhile_is_an_error(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    keys = written(store, [3, 3])
    store.remove(keys)
    with pytest.raises(SourceError, match="was removed since it was listed"):
        walk(store, keys)
