"""What every source must do; a backend's test class subclasses `SourceContract`.

It overrides the fixture `backend`: see tests/contracts/test_source_contract.py.
"""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Protocol, TypeVar

import polars as pl
import pytest

from core.batch import VALUE, Coordinates, Partition, Position, Positions, Records
from core.merge import merge
from core.protocols import Source
from tests.support.waiting import PATIENCE


class SourceBackend(Protocol):
    """An empty topic or stream for each test, and the sources that read it."""

    coordinates: Coordinates
    partitions: Collection[Partition]

    def fill(self, values: Sequence[bytes | None]) -> None:
        """Store `values`, spread over the partitions, in order within each; durable on return."""
        ...

    def source(self) -> Source:
        """Make a new, unopened source; all sources of one backend are the same consumer."""
        ...


class Recorder:
    """A listener that starts partitions where it is told and remembers what it heard."""

    def __init__(self, positions: Positions | None = None) -> None:
        self.positions = dict(positions or {})
        self.held: set[Partition] = set()
        self.lost: list[Partition] = []
        self._source: Source | None = None

    def starts(self, source: Source) -> None:
        """Seek partitions of `source` when they are assigned; else they stay unstarted."""
        self._source = source

    def assigned(self, partitions: Collection[Partition]) -> None:
        """Start them at the known positions."""
        self.held |= set(partitions)
        if self._source is not None:
            self._source.seek({p: self.positions.get(p) for p in partitions})

    def revoked(self, partitions: Collection[Partition]) -> None:
        """Remember them as lost."""
        self.held -= set(partitions)
        self.lost += partitions


S = TypeVar("S", bound=Source)


@contextmanager
def opened(source: S, listener: Recorder, *, start: bool = True) -> Iterator[S]:
    """`source`, open, and closed at the end; `listener` starts its partitions, if `start`."""
    if start:
        listener.starts(source)
    with closing(source):
        source.open(listener)
        yield source


def poll_until(source: Source, done: Callable[[list[Records]], bool]) -> list[Records]:
    """Poll until `done` says so of what came."""
    deadline = time.monotonic() + PATIENCE
    parts: list[Records] = []
    while not done(parts):
        assert time.monotonic() < deadline, f"only {rows(parts)} records came in {PATIENCE} s"
        part = source.poll(0.2)
        parts += [part] if part is not None else []
    return parts


def rows(parts: Sequence[Records]) -> int:
    """How many records `parts` hold."""
    return sum(part.frame.height for part in parts)


def read(source: Source, count: int) -> Records:
    """Read at least `count` records; one more poll shows that no others follow."""
    parts = poll_until(source, lambda parts: rows(parts) >= count)
    after = source.poll(0.2)
    return merge([*parts, after] if after is not None else parts)


def values(records: Records) -> list[bytes | None]:
    """All values."""
    return records.frame[VALUE].to_list()


def ordered(found: Sequence[bytes | None]) -> list[bytes]:
    """Values sorted; none of them may be null."""
    return sorted(value for value in found if value is not None)


def numbered(count: int, since: int = 0) -> list[bytes]:
    """Values whose order is their content."""
    return [b'{"index": %06d}' % n for n in range(since, since + count)]


def ends(records: Records) -> dict[Partition, Position]:
    """Where each partition's next read starts."""
    return {p: span.end for p, span in records.spans.items()}


def middles(records: Records) -> dict[Partition, Position]:
    """Return a position in the middle of each partition that has records."""
    coordinates = records.coordinates
    found = {}
    for partition in records.spans:
        own = records.frame.filter(coordinates.of(partition))
        if own.height:
            row = own.row(own.height // 2, named=True)
            sub = None if coordinates.sub is None else row[coordinates.sub]
            found[partition] = coordinates.after(row[coordinates.number], sub)
    return found


def later(records: Records, positions: Positions) -> list[bytes]:
    """Return the values at or beyond `positions`, sorted."""
    frame = records.frame.filter(records.coordinates.beyond(positions))
    return ordered(frame[VALUE].to_list())


class SourceContract:
    """The behaviours of all sources, bounded ones too; `backend` is the subclass's fixture."""

    @pytest.fixture
    def backend(self) -> SourceBackend:
        """Overridden by each subclass."""
        raise NotImplementedError

    def test_everything_is_read_once(self, backend: SourceBackend) -> None:
        backend.fill(numbered(300))
        with opened(backend.source(), Recorder()) as source:
            assert ordered(values(read(source, 300))) == numbered(300)

    def test_records_of_a_partition_keep_their_order(self, backend: SourceBackend) -> None:
        backend.fill(numbered(300))
        with opened(backend.source(), Recorder()) as source:
            got = read(source, 300)
        for partition in got.spans:
            own = got.frame.filter(got.coordinates.of(partition))
            assert own[VALUE].is_sorted()
            assert own[got.coordinates.number].is_sorted()

    def test_the_frame_has_the_columns_of_its_coordinates(self, backend: SourceBackend) -> None:
        backend.fill(numbered(10))
        with opened(backend.source(), Recorder()) as source:
            got = read(source, 10)
        wanted = {**backend.coordinates.metadata, VALUE: pl.Binary()}
        assert dict(got.frame.schema) == wanted
        assert got.frame.select(backend.coordinates.identity).null_count().sum_horizontal()[0] == 0

    def test_every_partition_is_announced_before_its_records(self, backend: SourceBackend) -> None:
        backend.fill(numbered(50))
        listener = Recorder()
        with opened(backend.source(), listener) as source:
            parts = poll_until(source, lambda parts: rows(parts) >= 50)
            assert listener.held == set(backend.partitions)
        assert all(set(part.spans) <= set(backend.partitions) for part in parts)

    def test_no_record_lies_beyond_its_span(self, backend: SourceBackend) -> None:
        backend.fill(numbered(100))
        with opened(backend.source(), Recorder()) as source:
            got = read(source, 100)
        assert later(got, ends(got)) == []
        assert all(span.start is None for span in got.spans.values() if span.records)

    def test_it_starts_where_it_is_sought(self, backend: SourceBackend) -> None:
        backend.fill(numbered(200))
        with opened(backend.source(), Recorder()) as source:
            everything = read(source, 200)
        start = middles(everything)
        wanted = later(everything, dict.fromkeys(backend.partitions) | start)
        with opened(backend.source(), Recorder(start)) as source:
            got = read(source, len(wanted))
        assert ordered(values(got)) == wanted
        assert all(got.spans[p].start == start[p] for p in start if p in got.spans)

    def test_an_acknowledged_position_is_only_a_hint(self, backend: SourceBackend) -> None:
        backend.fill(numbered(60))
        with opened(backend.source(), Recorder()) as source:
            source.acknowledge(ends(read(source, 60)))
        with opened(backend.source(), Recorder()) as source:
            assert ordered(values(read(source, 60))) == numbered(60)

    def test_reopened_at_its_end_it_has_no_gap_and_no_double(self, backend: SourceBackend) -> None:
        backend.fill(numbered(100))
        with opened(backend.source(), Recorder()) as source:
            first = read(source, 100)
        backend.fill(numbered(100, since=100))
        with opened(backend.source(), Recorder(ends(first))) as source:
            second = read(source, 100)
        assert ordered(values(second)) == numbered(100, since=100)

    def test_seek_reads_again_from_exactly_there(self, backend: SourceBackend) -> None:
        backend.fill(numbered(200))
        with opened(backend.source(), Recorder()) as source:
            everything = read(source, 200)
            start = middles(everything)
            source.seek(start)
            wanted = later(everything, start)
            got = read(source, len(wanted))
        assert ordered(values(got)) == wanted
        assert {p: got.spans[p].start for p in start if p in got.spans} == (
            {p: start[p] for p in start if p in got.spans}
        )

    def test_seek_to_none_reads_from_the_first(self, backend: SourceBackend) -> None:
        backend.fill(numbered(80))
        listener = Recorder()
        with opened(backend.source(), listener) as source:
            read(source, 80)
            source.seek(dict.fromkeys(listener.held))
            again = read(source, 80)
        assert ordered(values(again)) == numbered(80)
        assert {s.start for s in again.spans.values()} == {None}

    def test_nothing_is_read_of_a_partition_before_its_first_seek(
        self, backend: SourceBackend
    ) -> None:
        backend.fill(numbered(100))
        listener = Recorder()
        with opened(backend.source(), listener, start=False) as source:
            parts = poll_until(source, lambda _: listener.held == set(backend.partitions))
            assert [*parts, *(source.poll(0.2) for _ in range(3))] == [None] * 3
            one, *others = sorted(listener.held)
            source.seek({one: None})
            first = poll_until(source, bool)
            source.seek(dict.fromkeys(others))
            rest = poll_until(source, lambda parts: rows(parts) + rows(first) >= 100)
        assert set(merge(first).spans) == {one}
        assert ordered(values(merge([*first, *rest]))) == numbered(100)

    def test_a_pause_in_the_midst_of_reading_neither_skips_nor_repeats(
        self, backend: SourceBackend
    ) -> None:
        backend.fill(numbered(400))
        parts: list[Records] = []
        with opened(backend.source(), Recorder()) as source:
            parts += poll_until(source, bool)
            for _ in range(3):
                source.pause()
                late = source.poll(0.0)
                source.resume()
                parts += [] if late is None else [late]
                parts += poll_until(source, lambda _: True)
            parts += poll_until(source, lambda more: rows(more) + rows(parts) >= 400)
        assert ordered(values(merge(parts))) == numbered(400)

    def test_a_seek_while_paused_is_obeyed_when_resumed(self, backend: SourceBackend) -> None:
        backend.fill(numbered(200))
        with opened(backend.source(), Recorder()) as source:
            everything = read(source, 200)
            start = middles(everything)
            source.pause()
            source.seek(start)
            assert source.poll(0.2) is None
            source.resume()
            wanted = later(everything, start)
            assert ordered(values(read(source, len(wanted)))) == wanted

    def test_a_pause_right_after_a_seek_keeps_its_place(self, backend: SourceBackend) -> None:
        backend.fill(numbered(200))
        with opened(backend.source(), Recorder()) as source:
            everything = read(source, 200)
            start = middles(everything)
            wanted = later(everything, start)
            source.seek(start)
            early = source.poll(0.0)
            source.pause()
            late = source.poll(0.2)
            source.resume()
            had = [part for part in (early, late) if part is not None]
            more = poll_until(source, lambda parts: rows(parts) + rows(had) >= len(wanted))
        assert ordered(values(merge([*had, *more]))) == wanted

    def test_acknowledging_a_partition_that_is_not_held_is_harmless(
        self, backend: SourceBackend
    ) -> None:
        backend.fill(numbered(5))
        with opened(backend.source(), Recorder()) as source:
            read(source, 5)
            source.acknowledge({Partition("elsewhere", "0"): Position(7)})


class LiveContract(SourceContract):
    """What a source does besides that new records reach, and that tells their times."""

    def test_every_record_has_its_time(self, backend: SourceBackend) -> None:
        backend.fill(numbered(10))
        with opened(backend.source(), Recorder()) as source:
            assert read(source, 10).frame["_timestamp"].null_count() == 0

    def test_spans_chain_and_count_their_records(self, backend: SourceBackend) -> None:
        backend.fill(numbered(200))
        with opened(backend.source(), Recorder()) as source:
            first = read(source, 200)
            backend.fill(numbered(100, since=200))
            second = read(source, 100)
        both = merge([first, second])
        assert {p: s.records for p, s in both.spans.items() if s.records} == (
            both.coordinates.counts(both.frame)
        )

    def test_paused_it_gives_nothing_and_resumed_it_goes_on(self, backend: SourceBackend) -> None:
        backend.fill(numbered(100))
        with opened(backend.source(), Recorder()) as source:
            first = read(source, 100)
            source.pause()
            backend.fill(numbered(100, since=100))
            parts = [part for _ in range(10) if (part := source.poll(0.1)) is not None]
            assert rows(parts) == 0
            source.resume()
            second = read(source, 100)
        assert ordered(values(merge([first, second]))) == numbered(200)

    def test_a_poll_without_records_is_none(self, backend: SourceBackend) -> None:
        backend.fill(numbered(1))
        with opened(backend.source(), Recorder()) as source:
            read(source, 1)
            started = time.monotonic()
            assert source.poll(0.1) is None
            assert time.monotonic() - started < 5
            assert not source.exhausted


class BytesContract:
    """What a source of records that are any bytes has to do besides."""

    def test_bytes_come_back_as_they_were(self, backend: SourceBackend) -> None:
        odd = [b"\x00\xff\xfe", "κόσμε 🎉".encode(), b" ", bytes(range(256)), b"x" * 100_000]
        backend.fill(odd)
        with opened(backend.source(), Recorder()) as source:
            assert ordered(values(read(source, len(odd)))) == sorted(odd)


class NullsContract:
    """What a source of records that may be null has to do besides."""

    def test_a_null_value_is_null(self, backend: SourceBackend) -> None:
        backend.fill([None, b"after"])
        with opened(backend.source(), Recorder()) as source:
            assert set(values(read(source, 2))) == {None, b"after"}
