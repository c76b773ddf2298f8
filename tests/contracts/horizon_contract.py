"""What every live source tells of the ends of its partitions: see `Source.horizons`."""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from core.batch import VALUE, Partition, Records
from core.observer import Horizon
from core.protocols import Source
from tests.contracts.source_contract import (
    Recorder,
    SourceBackend,
    ends,
    numbered,
    opened,
    poll_until,
    read,
    rows,
)
from tests.support.waiting import PATIENCE

RECENT = timedelta(seconds=5)
Told = Mapping[Partition, Horizon]


def now() -> datetime:
    """Return the wall clock of this machine, which the sources date horizons by."""
    return datetime.now(UTC)


def horizons_when(source: Source, done: Callable[[Told], bool]) -> dict[Partition, Horizon]:
    """Poll until `done` says so of the newest horizon of each partition, and return those."""
    deadline, found = time.monotonic() + PATIENCE, dict(source.horizons())
    while not done(found):
        assert time.monotonic() < deadline, f"only {found} was told in {PATIENCE} s"
        source.poll(0.2)
        found |= source.horizons()
    return found


@contextmanager
def producing(backend: SourceBackend, values: list[bytes]) -> Iterator[dict[bytes, datetime]]:
    """Store `values` beside the block, a few at a time; by when each was stored, once it is."""
    stored: dict[bytes, datetime] = {}

    def fill() -> None:
        for start in range(0, len(values), 20):
            part = values[start : start + 20]
            backend.fill(part)
            stored.update(dict.fromkeys(part, now()))
            time.sleep(0.02)

    with ThreadPoolExecutor(1) as pool:
        filling = pool.submit(fill)
        yield stored
        filling.result()


def assert_claims(told: list[Told], parts: list[Records], stored: Mapping[bytes, datetime]) -> None:
    """No record that was stored before a horizon's `until` lies beyond its `position`."""
    for part in parts:
        names = part.coordinates
        for horizons in told:
            beyond = part.frame.filter(names.beyond({p: h.position for p, h in horizons.items()}))
            columns = beyond.select(names.source, names.partition, VALUE)
            for source, partition, value in columns.iter_rows():
                until = horizons[Partition(source, str(partition))].until
                assert stored[value] >= until, f"{value} of {partition} was stored before {until}"


class HorizonContract:
    """The behaviours; `backend` is the subclass's fixture."""

    @pytest.fixture
    def backend(self) -> SourceBackend:
        """Overridden by each subclass."""
        raise NotImplementedError

    def test_a_reader_at_the_end_is_told_so_for_the_present(self, backend: SourceBackend) -> None:
        backend.fill(numbered(100))
        stored = now()
        with opened(backend.source(), Recorder()) as source:
            reached = ends(read(source, 100))
            found = horizons_when(
                source,
                lambda told: (
                    told.keys() == reached.keys() and all(h.until > stored for h in told.values())
                ),
            )
        assert {p: h.position for p, h in found.items()} == reached
        assert all(now() - RECENT < h.until <= now() for h in found.values())

    def test_an_idle_partition_stays_fresh(self, backend: SourceBackend) -> None:
        backend.fill(numbered(8))
        with opened(backend.source(), Recorder()) as source:
            read(source, 8)
            first = horizons_when(source, lambda told: told.keys() == set(backend.partitions))
            later = max(h.until for h in first.values()) + timedelta(seconds=1)
            second = horizons_when(
                source,
                lambda told: (
                    told.keys() == first.keys() and all(h.until > later for h in told.values())
                ),
            )
        assert {p: h.position for p, h in second.items()} == (
            {p: h.position for p, h in first.items()}
        )

    def test_a_partition_that_never_held_a_record_is_fresh(self, backend: SourceBackend) -> None:
        with opened(backend.source(), Recorder()) as source:
            found = horizons_when(source, lambda told: told.keys() == set(backend.partitions))
        assert {h.position.number for h in found.values()} == {0}

    def test_new_records_move_the_end(self, backend: SourceBackend) -> None:
        backend.fill(numbered(8))
        with opened(backend.source(), Recorder()) as source:
            read(source, 8)
            first = horizons_when(source, lambda told: told.keys() == set(backend.partitions))
            backend.fill(numbered(8, since=8))
            horizons_when(
                source,
                lambda told: (
                    told.keys() == first.keys()
                    and all(h.position > first[p].position for p, h in told.items())
                ),
            )

    def test_each_is_told_once(self, backend: SourceBackend) -> None:
        backend.fill(numbered(8))
        with opened(backend.source(), Recorder()) as source:
            horizons_when(source, bool)
            assert source.horizons() == {}

    def test_nothing_stored_before_the_moment_lies_beyond_the_end(
        self, backend: SourceBackend
    ) -> None:
        told: list[Told] = []

        def note(source: Source, parts: list[Records], *, enough: int) -> bool:
            told.append(source.horizons())
            return rows(parts) >= enough and sum(map(bool, told)) >= 4

        with (
            producing(backend, numbered(2000)) as stored,
            opened(backend.source(), Recorder()) as source,
        ):
            parts = poll_until(source, lambda parts: note(source, parts, enough=800))
            source.pause()
            paused = [(source.poll(0.1), source.horizons()) for _ in range(15)]
            source.resume()
            parts += [part for part, _ in paused if part is not None]
            told += [horizons for _, horizons in paused]
            missing = 2000 - rows(parts)
            parts += poll_until(source, lambda more: note(source, more, enough=missing))
        assert_claims(told, parts, stored)
