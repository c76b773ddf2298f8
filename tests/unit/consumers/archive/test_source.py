"""What a source over files gives, and what it refuses."""

import io
import json
import random
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.archive.source import FileSource
from consumers.window import Window
from core.batch import KAFKA, KINESIS, VALUE, Coordinates, Partition, Position, Records
from core.errors import SourceError, TopicRecreated
from core.merge import merge
from core.topic_id import Known
from sinks.parquet import chain
from sinks.parquet.walk import wanted
from sinks.storage.store import FolderStore
from tests.contracts.source_contract import Recorder, ends, numbered, opened, values
from tests.support.archive_backend import STARTED, ArchiveBackend
from tests.support.examples import examples

FIRST = Partition("demo.user", "0")


def everything(backend: ArchiveBackend, window: Window, at: Recorder) -> list[Records]:
    """All that a source gives from where the listener is until it is exhausted."""
    parts: list[Records] = []
    with opened(backend.source(window), at) as source:
        drain(source, parts)
    return parts


def drain(source: FileSource, parts: list[Records]) -> None:
    """Add what the source gives until it is exhausted."""
    while not source.exhausted:
        part = source.poll(1.0)
        parts += [] if part is None else [part]


def rewritten(backend: ArchiveBackend, name: int, rows: pl.DataFrame | None) -> Path:
    """Replace the rows of an object of the first partition; None: of its metadata the count."""
    key = backend.store.list(chain.folder(FIRST))[name]
    path = Path(backend.store.uri) / key
    about = json.loads(pl.read_parquet_metadata(path)[chain.KEY])
    if rows is None:
        rows, about["records"] = pl.read_parquet(path), about["records"] + 1
    body = io.BytesIO()
    rows.write_parquet(body, metadata={chain.KEY: json.dumps(about)})
    path.write_bytes(body.getvalue())
    return path


@pytest.fixture
def archive(tmp_path: Path) -> ArchiveBackend:
    """Archive 400 records: 100 in each partition, in four objects."""
    backend = ArchiveBackend(FolderStore(tmp_path), KAFKA)
    backend.fill(numbered(400))
    return backend


@settings(max_examples=examples(40))
@given(
    sizes=st.lists(st.integers(1, 150), min_size=1, max_size=3),
    bounds=st.tuples(st.none() | st.integers(0, 120), st.none() | st.integers(0, 120)),
    times=st.tuples(st.none() | st.integers(0, 120), st.none() | st.integers(0, 120)),
    resumed=st.integers(0, 120),
)
@pytest.mark.parametrize("coordinates", [KAFKA, KINESIS], ids=["kafka", "kinesis"])
def test_a_window_gives_its_records_once_wherever_it_is_resumed(
    coordinates: Coordinates,
    sizes: list[int],
    bounds: tuple[int | None, int | None],
    times: tuple[int | None, int | None],
    resumed: int,
) -> None:
    first, last = bounds if coordinates is KAFKA else (None, None)
    moments = [None if t is None else STARTED.replace(minute=t // 60, second=t % 60) for t in times]
    window = Window(first, last, moments[0], moments[1])
    with TemporaryDirectory() as folder:
        backend = ArchiveBackend(FolderStore(Path(folder)), coordinates)
        for since, size in enumerate(sizes):
            backend.fill(numbered(size, since=1000 * since))
        whole = everything(backend, Window(), Recorder())
        rows = merge(whole).frame
        assert len(rows) == sum(sizes)
        held = max(resumed, first or 0)
        at = {p: backend.at(held) for p in backend.partitions}
        parts = everything(backend, window, Recorder(at))
        wanted_rows = window.inside(rows).filter(coordinates.beyond(at))
        if last is not None:
            wanted_rows = wanted_rows.filter(pl.col(KAFKA.number) < last)
    found = [] if not parts else merge(parts).frame[VALUE].to_list()
    assert sorted(found) == sorted(wanted_rows[VALUE].to_list())


def test_spans_chain_through_the_slices_of_an_object_and_carry_its_topic(tmp_path: Path) -> None:
    backend = ArchiveBackend(FolderStore(tmp_path), KAFKA, epoch=11)
    backend.fill([random.Random(n).randbytes(2_000_000) for n in range(80)])
    parts = everything(backend, Window(), Recorder())
    assert max(part.nbytes for part in parts) < 10_000_000
    whole = merge(parts)
    assert [span.records for span in whole.spans.values()] == [20] * 4
    assert {end.epoch for end in ends(whole).values()} == {11}


def test_a_seek_in_the_midst_of_an_object_leaves_its_other_slices(tmp_path: Path) -> None:
    backend = ArchiveBackend(FolderStore(tmp_path), KAFKA)
    backend.fill([random.Random(n).randbytes(2_000_000) for n in range(80)])
    parts: list[Records] = []
    with opened(backend.source(), Recorder()) as source:
        first = source.poll(10.0)
        assert first is not None
        [partition] = first.spans
        assert first.frame.height < 20
        source.seek({partition: None})
        drain(source, parts)
    whole = merge(parts)
    assert whole.frame.filter(KAFKA.of(partition))[KAFKA.number].to_list() == list(range(20))
    assert whole.frame.height == 80


def test_an_object_without_rows_moves_the_position(archive: ArchiveBackend) -> None:
    path = rewritten(archive, 0, pl.DataFrame(schema={**KAFKA.metadata, VALUE: pl.Binary()}))
    about = json.loads(pl.read_parquet_metadata(path)[chain.KEY]) | {"records": 0}
    body = io.BytesIO()
    pl.read_parquet(path).write_parquet(body, metadata={chain.KEY: json.dumps(about)})
    path.write_bytes(body.getvalue())
    whole = merge(everything(archive, Window(), Recorder()))
    assert whole.frame.filter(KAFKA.of(FIRST)).height == 70
    assert whole.spans[FIRST].end == Position(100)


@pytest.mark.parametrize("what", ["count", "order", "twice", "other", "bytes", "gone"])
def test_a_damaged_object_is_named_and_none_of_it_is_given(
    archive: ArchiveBackend, what: str
) -> None:
    key = archive.store.list(chain.folder(FIRST))[1]
    path = Path(archive.store.uri) / key
    rows = pl.read_parquet(path)
    number = pl.col(KAFKA.number)
    spoilt = {
        "order": rows.reverse(),
        "twice": pl.concat([rows.head(1), rows.head(1), rows.slice(2)]),
        "other": rows.with_columns(number + 100),
    }
    source = archive.source()
    if what == "bytes":
        path.write_bytes(path.read_bytes()[:200])
    elif what == "gone":
        path.unlink()
    else:
        rewritten(archive, 1, spoilt.get(what, rows.tail(-1)))
    given: list[Records] = []
    with opened(source, Recorder()), pytest.raises(SourceError, match=re.escape(path.name)):
        drain(source, given)
    own = [part for part in given if FIRST in part.spans]
    assert sum(map(len, map(values, own))) == 30


def test_sinks_of_another_topic_of_that_name_are_refused(archive: ArchiveBackend) -> None:
    source = archive.source()
    with opened(source, Recorder()):
        source.bind({FIRST: Known(Position(3), Position(3, epoch=archive.epoch))})
        with pytest.raises(TopicRecreated, match="these objects are of the topic"):
            source.bind({FIRST: Known(None, Position(3, epoch=8))})


def test_a_position_before_the_window_would_leave_a_gap(archive: ArchiveBackend) -> None:
    held = Recorder({FIRST: Position(2)})
    with (
        pytest.raises(SourceError, match="up to 2, the replay starts at 5"),
        opened(archive.source(Window(5)), held),
    ):
        pass


@given(
    starts=st.sets(st.integers(0, 50), min_size=1).map(sorted),
    first=st.none() | st.integers(0, 60),
    last=st.none() | st.integers(0, 60),
)
def test_the_objects_that_a_range_needs_are_walked(
    starts: list[int], first: int | None, last: int | None
) -> None:
    keys = [chain.key_of(FIRST, chain.spelled(Position(n), KAFKA)) for n in starts]
    found = wanted(keys, first, last)
    ends_of = dict(zip(keys, [*starts[1:], 1000], strict=True))
    for key, start in zip(keys, starts, strict=True):
        needed = (first is None or ends_of[key] > first) and (last is None or start < last)
        if needed and (first is None or last is None or first < last):
            assert key in found
