"""Checkpoints of a table in a bucket are written from a copy of its log."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import polars as pl
import pytest
from botocore.awsrequest import AWSPreparedRequest
from deltalake import DeltaTable

from core.batch import KAFKA, Position
from sinks.delta import listing, mirror
from sinks.delta.checkpoints import CheckpointWriter
from sinks.delta.log import HINT, name_of, read_hint
from sinks.storage.s3 import S3Store, client
from tests.support.aws import TestAws
from tests.support.delta_logs import LOG, A, in_threes, opened
from tests.support.sink_backends import DeltaBackend

pytestmark = pytest.mark.moto
COMMITS = 12


class Home:
    """A table in a bucket; `read` names the entries that a program of ours has asked for."""

    def __init__(self, aws: TestAws) -> None:
        self.store = S3Store(client(aws.config), aws.bucket(), uuid4().hex)
        self.options = aws.storage_options
        self.read: list[str] = []
        events: Any = self.store._client.meta.events
        events.register("before-send.s3", self._note)
        sink = opened(DeltaBackend(self.store, self.options, "clean", KAFKA), A)
        in_threes(sink, range(COMMITS))
        self.files = self._listed()

    def _listed(self) -> list[tuple[str, int]]:
        """Return name and size of each data file as delta-rs has them."""
        actions = DeltaTable(self.store.uri, storage_options=self.options()).get_add_actions()
        found = pl.DataFrame(actions).select("path", "size_bytes")
        return sorted(found.iter_rows())

    def _note(self, request: AWSPreparedRequest, **_: object) -> None:
        key = request.url.partition("?")[0].rpartition("/")[2]
        if request.method == "GET" and key.endswith(".json"):
            self.read.append(key)

    def body(self, version: int) -> bytes:
        """Return an entry of the log."""
        return cast(bytes, self.store.find(name_of(version)))

    def newest(self) -> int:
        """Return the table's version."""
        return listing.listed(self.store).entries[-1]

    def checkpoint(self, known: Mapping[int, bytes]) -> None:
        """Write one, and wait for it."""
        writer = CheckpointWriter("clean", self.store.uri, self.options, self.store)
        self.read.clear()
        writer.start(known)
        assert writer._running is not None
        writer._running.result(60)
        writer.close()

    def holds_all(self) -> None:
        """Assert that delta-rs finds every file and position by the checkpoint alone."""
        hint = read_hint(self.store)
        assert hint is not None
        assert hint.version == self.newest()
        self.store.remove([name_of(version) for version in range(hint.version)])
        assert self._listed() == self.files
        sink = opened(DeltaBackend(self.store, self.options, "clean", KAFKA), A)
        assert sink.positions([LOG.partition(A)]) == {LOG.partition(A): Position(3 * COMMITS)}


@pytest.fixture
def home(aws: TestAws) -> Home:
    return Home(aws)


def known(home: Home, versions: range) -> dict[int, bytes]:
    return {version: home.body(version) for version in versions}


def test_entries_that_the_writer_still_has_are_not_read(home: Home) -> None:
    home.checkpoint(known(home, range(home.newest() + 1)))
    assert [key for key in home.read if key != HINT.rpartition("/")[2]] == [
        name_of(home.newest()).rpartition("/")[2]
    ]
    home.holds_all()


def test_without_known_entries_each_is_read_once(home: Home) -> None:
    home.checkpoint({})
    entries = [key for key in home.read if not key.startswith("_")]
    assert sorted(entries) == [f"{v:020d}.json" for v in range(home.newest() + 1)]
    home.holds_all()


def test_entries_of_others_after_the_known_ones_are_read(home: Home) -> None:
    home.checkpoint(known(home, range(home.newest() - 2)))
    home.holds_all()


def test_what_was_known_of_a_log_that_was_replaced_is_not_used(home: Home) -> None:
    newest = home.newest()
    stale = known(home, range(newest + 1))
    stale = {v: body.replace(b'"size":', b'"size":1') for v, body in stale.items()}
    home.checkpoint(stale)
    home.holds_all()


def test_a_later_checkpoint_starts_from_the_one_before(home: Home) -> None:
    home.checkpoint({})
    first = home.newest()
    home.store.remove([name_of(version) for version in range(first)])
    in_threes(opened(DeltaBackend(home.store, home.options, "clean", KAFKA), A), range(COMMITS, 14))
    home.checkpoint({})
    assert [key for key in home.read if not key.startswith("_")] == [
        f"{version:020d}.json" for version in (first + 1, first + 2)
    ]
    hint = read_hint(home.store)
    assert hint is not None
    assert hint.version == home.newest()


def test_an_incomplete_log_is_not_copied(home: Home) -> None:
    home.store.remove([name_of(3)])
    with mirror.copied(home.store, {}) as folder:
        assert folder is None


def test_the_copy_is_removed(home: Home) -> None:
    with mirror.copied(home.store, {}) as folder:
        assert folder is not None
        assert (folder / name_of(0)).is_file()
    assert not Path(folder).exists()
