"""What the objects of Kafka Connect's S3 sink hold, and what is refused."""

import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.archive import connect
from consumers.archive.source import FileSource
from consumers.window import Window
from core.batch import KAFKA, VALUE, Partition, Position, Records
from core.errors import SourceError
from core.merge import merge
from sinks.storage.store import FolderStore
from tests.contracts.source_contract import Recorder, opened
from tests.support.connect_folder import ConnectBackend, put
from tests.support.examples import examples

FIRST = Partition("demo.user", "0")


def drain(source: FileSource, at: Recorder, given: list[Records] | None = None) -> list[Records]:
    """All that the source gives until it is exhausted; `given` has it also after an error."""
    parts = [] if given is None else given
    with opened(source, at):
        while not source.exhausted:
            part = source.poll(1.0)
            parts += [] if part is None else [part]
    return parts


def lines(count: int, since: int = 0) -> list[bytes]:
    return [b'{"index": %d}' % n for n in range(since, since + count)]


@settings(max_examples=examples(60))
@given(
    sizes=st.lists(st.integers(2, 6), min_size=1, max_size=6),
    first=st.integers(0, 1000),
    spoilt=st.dictionaries(st.integers(0, 4), st.sampled_from([1, -1, None]), max_size=2),
    resumed=st.none() | st.integers(0, 30),
    kind=st.sampled_from(["json", "json.gz", "parquet", "snappy.parquet"]),
)
def test_a_history_is_given_whole_or_up_to_what_is_wrong(
    sizes: list[int],
    first: int,
    spoilt: dict[int, int | None],  # by object: records too many; None: the object is missing
    resumed: int | None,
    kind: str,
) -> None:
    starts = [first + sum(sizes[:n]) for n in range(len(sizes))]
    counts = dict(zip(starts, sizes, strict=True))
    for n, more in spoilt.items():
        if n >= len(sizes) - 1:
            continue
        if more is None:
            del counts[starts[n]]
        else:
            counts[starts[n]] += more
    ends = dict(zip(counts, [*list(counts)[1:], first + sum(sizes)], strict=True))
    begin = min(counts)
    at = begin if resumed is None else min(begin + resumed, first + sum(sizes))
    wrong = next((s for s, n in counts.items() if ends[s] > at and s + n != ends[s]), None)
    with TemporaryDirectory() as folder:
        backend = ConnectBackend(FolderStore(Path(folder)))
        for start, count in counts.items():
            put(backend.store, FIRST, start, lines(count, start), kind)
        parts: list[Records] = []
        held = Recorder({} if resumed is None else {FIRST: Position(at)})
        if wrong is not None:
            with pytest.raises(SourceError, match=f"{wrong:010d}"):
                drain(backend.source(), held, parts)
        else:
            drain(backend.source(), held, parts)
    found = merge(parts).frame[KAFKA.number].to_list() if parts else []
    assert found == list(range(at, ends[max(counts)] if wrong is None else max(wrong, at)))


def test_key_time_and_headers_are_null_and_values_are_the_lines(tmp_path: Path) -> None:
    backend = ConnectBackend(FolderStore(tmp_path))
    backend.fill(lines(3))
    frame = merge(drain(backend.source(), Recorder())).frame
    assert frame["_key"].null_count() == frame["_timestamp"].null_count() == 3
    assert sorted(frame[VALUE].to_list()) == lines(3)


def test_large_objects_are_given_in_slices(tmp_path: Path) -> None:
    backend = ConnectBackend(FolderStore(tmp_path), "json.gz")
    values = [random.Random(n).randbytes(500_000).hex().encode() for n in range(24)]
    put(backend.store, FIRST, 5, values, "json.gz")
    parts = drain(backend.source(), Recorder())
    assert max(part.nbytes for part in parts) < 20_000_000
    whole = merge(parts)
    assert whole.frame[VALUE].to_list() == values
    assert whole.spans[FIRST].end == Position(29)


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("t/partition=0/t+0+0000000012.json", ("t", "0", 12)),
        ("t/partition=3/t+3+12345678901.json.gz", ("t", "3", 12345678901)),
        ("a.b/year=2026/month=01/a.b+10+0000000000.snappy.parquet", ("a.b", "10", 0)),
        ("t/partition=0/t+0+0000000012.keys.json", None),
        ("t/partition=0/t+0+0000000012.headers.avro", None),
        ("t/partition=0/_SUCCESS", None),
    ],
)
def test_the_name_has_the_coordinates(key: str, found: tuple[str, str, int] | None) -> None:
    named = connect.named(key, "place")
    assert (named and (*named.partition, named.first)) == found


def test_another_format_is_refused() -> None:
    with pytest.raises(SourceError, match="is in a format that is not imported: avro"):
        connect.named("t/partition=0/t+0+0000000000.avro", "place")


def refused(backend: ConnectBackend) -> str:
    with pytest.raises(SourceError) as error:
        drain(backend.source(), Recorder())
    return error.value.message


def test_what_is_damaged_is_named(tmp_path: Path) -> None:
    backend = ConnectBackend(FolderStore(tmp_path / "gz"))
    key = put(backend.store, FIRST, 0, lines(4), "json.gz")
    put(backend.store, FIRST, 4, lines(4), "json.gz")
    path = Path(backend.store.uri) / key
    path.write_bytes(path.read_bytes()[:-9])
    assert f"{key} cannot be read" in refused(backend)
    backend = ConnectBackend(FolderStore(tmp_path / "two"))
    keys = [put(backend.store, FIRST, 0, lines(4), kind) for kind in ("json", "json.gz")]
    assert all(key in refused(backend) for key in keys)
    backend = ConnectBackend(FolderStore(tmp_path / "line"))
    put(backend.store, FIRST, 0, [b"{}", b"", b"{}"])
    assert "it has an empty line" in refused(backend)
    backend = ConnectBackend(FolderStore(tmp_path / "empty"))
    put(backend.store, FIRST, 0, [])
    assert "is empty" in refused(backend)


@pytest.mark.parametrize(
    ("column", "complaint"),
    [
        ([1.5, float("nan")], "NaN or infinity"),
        ([{"a": [float("inf")]}, None], "NaN or infinity"),
        ([b"bytes", None], "which JSON has not"),
    ],
)
def test_rows_that_json_has_not_are_refused(
    tmp_path: Path, column: list[Any], complaint: str
) -> None:
    backend = ConnectBackend(FolderStore(tmp_path))
    key = put(backend.store, FIRST, 0, lines(2), "parquet")
    pl.DataFrame({"column": column}).write_parquet(Path(backend.store.uri) / key)
    assert complaint in refused(backend)


def test_rows_of_parquet_are_json(tmp_path: Path) -> None:
    backend = ConnectBackend(FolderStore(tmp_path))
    value = b'{"index":1,"text":"\xc3\xa9\\"","list":[1,2],"nested":{"x":null,"y":1.5}}'
    put(backend.store, FIRST, 0, [value], "parquet")
    assert merge(drain(backend.source(), Recorder())).frame[VALUE].to_list() == [value]


def test_a_window_of_offsets_passes_a_hole_by(tmp_path: Path) -> None:
    backend = ConnectBackend(FolderStore(tmp_path))
    for first, count in ((0, 10), (10, 8), (20, 10)):
        put(backend.store, FIRST, first, lines(count, first))
    assert "leaves a hole" in refused(backend)
    offsets = []
    for window in (Window(None, 10), Window(20, None)):
        found = merge(drain(backend.source(window), Recorder())).frame
        offsets += found[KAFKA.number].to_list()
    assert offsets == [*range(10), *range(20, 30)]
