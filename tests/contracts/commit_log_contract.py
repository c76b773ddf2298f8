"""What every `CommitLog` must do; a test module subclasses `CommitLogContract`."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from shutil import rmtree

import polars as pl
import pytest
from deltalake import CommitProperties, DeltaTable, Field, Transaction, write_deltalake
from deltalake.schema import PrimitiveType
from polars.testing import assert_frame_equal

from core.errors import StalePosition
from sinks.delta import history, txns, watch
from sinks.delta.commit_log import Action, CommitLog, Committed, Conflict, Version
from sinks.delta.positions import Lookup
from sinks.delta.prepared import Upload
from sinks.storage.protocol import Store
from sinks.storage.store import FolderStore

ROWS = pl.DataFrame({"a": [1, 2, 3]})
OLD, NEW = "pinpip/pin/1/demo.pin/0", "pinpip/pin/1/demo.pin/1"

Made = Callable[[Store, int, Lookup], CommitLog]


def version(ledger_: str = "{}", **positions: int) -> Version:
    """Return an entry without files that moves the named positions."""
    ids = {"old": OLD, "new": NEW}
    moved = [Transaction(ids[name], value, 17) for name, value in positions.items()]
    return Version(ledger_, now_ms=17, txns=moved)


class CommitLogContract:
    """Behaviour of any `CommitLog`; `made` opens one at a version of a table in a folder."""

    @pytest.fixture
    def made(self) -> Made:
        """Return the implementation."""
        raise NotImplementedError

    @pytest.fixture
    def lost_answer(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
        """Return what makes the next append's first response get lost."""
        raise NotImplementedError

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Return a table at version 1 with three rows, in which OLD is at 3."""
        write_deltalake(tmp_path, ROWS.to_arrow())
        table = DeltaTable(tmp_path)
        table.create_write_transaction(
            [],
            "append",
            table.schema(),
            commit_properties=CommitProperties(app_transactions=[Transaction(OLD, 3, 5)]),
        )
        return tmp_path

    @pytest.fixture
    def opened(self, made: Made, folder: Path) -> Callable[[], CommitLog]:
        """Return what opens the log at the table's newest version."""

        def open_() -> CommitLog:
            table = DeltaTable(folder)
            return made(FolderStore(folder), table.version(), txns.versions(table, dict))

        return open_

    @pytest.fixture
    def pauses(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let much time pass before each call."""
        monkeypatch.setattr(watch, "PAUSE_S", -1.0)

    @staticmethod
    def entry(folder: Path, number: int) -> list[Action]:
        """Return the actions of one entry."""
        text = (folder / "_delta_log" / f"{number:020d}.json").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def test_an_append_is_the_next_version_with_its_rows_positions_and_ledger(
        self, opened: Callable[[], CommitLog], folder: Path
    ) -> None:
        log = opened()
        rows = Upload(FolderStore(folder), ROWS, ["a"], "incarnation=2/", 17)
        rows.run()
        assert rows.file is not None
        told = Version('{"of": "pin"}', 17, [Transaction(NEW, 6, 17)], [rows.file])
        assert isinstance(log.append(told), Committed)
        assert log.version == 2
        table = DeltaTable(folder)
        assert table.version() == 2
        assert_frame_equal(pl.read_delta(str(folder)), pl.concat([ROWS, ROWS]))
        assert table.transaction_version(NEW) == 6
        assert [c.text for c in history.commits(table, dict)] == ['{"of": "pin"}']

    def test_a_position_has_the_time_at_which_it_was_written(
        self, opened: Callable[[], CommitLog], folder: Path
    ) -> None:
        opened().append(version(new=6))
        [txn] = [action["txn"] for action in self.entry(folder, 2) if "txn" in action]
        assert txn == {"appId": NEW, "version": 6, "lastUpdated": 17}

    def test_positions_are_those_of_the_start_and_of_every_version_since(
        self, opened: Callable[[], CommitLog]
    ) -> None:
        log, other = opened(), opened()
        assert (log.txn_version(OLD), log.txn_version(NEW)) == (3, None)
        log.append(version(new=6))
        log.append(version(old=2))
        assert (log.txn_version(OLD), log.txn_version(NEW)) == (2, 6)
        other.append(version(new=7))
        assert (other.txn_version(OLD), other.txn_version(NEW)) == (3, 6)
        other.append(version(new=7))
        assert (other.txn_version(OLD), other.txn_version(NEW)) == (2, 6)

    def test_of_two_appends_after_one_version_the_second_is_a_conflict(
        self, opened: Callable[[], CommitLog], folder: Path
    ) -> None:
        first, second = opened(), opened()
        assert isinstance(first.append(version(new=6)), Committed)
        assert second.append(version(new=9)) == Conflict(alters=False)
        assert (second.version, second.txn_version(NEW)) == (2, 6)
        assert isinstance(second.append(version(new=9)), Committed)
        assert DeltaTable(folder).transaction_version(NEW) == 9
        assert DeltaTable(folder).version() == 3

    def test_a_conflict_says_whether_the_table_was_altered(
        self, opened: Callable[[], CommitLog], folder: Path
    ) -> None:
        log = opened()
        write_deltalake(folder, ROWS.to_arrow(), mode="append")
        DeltaTable(folder).alter.set_table_properties({"delta.appendOnly": "false"})
        DeltaTable(folder).alter.add_columns(Field("b", PrimitiveType("long")))
        answers = [log.append(version(new=6)) for _ in range(4)]
        assert answers[:3] == [Conflict(alters) for alters in (False, True, True)]
        assert isinstance(answers[3], Committed)

    def test_an_append_whose_answer_was_lost_is_committed_once(
        self, opened: Callable[[], CommitLog], folder: Path, lost_answer: Callable[[], None]
    ) -> None:
        log = opened()
        lost_answer()
        assert isinstance(log.append(version(new=6)), Committed)
        assert (log.version, DeltaTable(folder).version()) == (2, 2)
        assert isinstance(log.append(version(new=7)), Committed)

    def test_the_newest_checkpoint_comes_with_a_commit(
        self, opened: Callable[[], CommitLog], folder: Path
    ) -> None:
        assert opened().append(version(new=6)) == Committed(None)
        DeltaTable(folder).create_checkpoint()
        done = opened().append(version(new=7))
        assert isinstance(done, Committed)
        assert done.checkpoint is not None
        assert done.checkpoint.version == 2

    @pytest.mark.usefixtures("pauses")
    def test_a_version_is_here_as_long_as_an_entry_or_a_checkpoint_says_it(
        self, opened: Callable[[], CommitLog], folder: Path
    ) -> None:
        log = opened()
        assert log.is_here()
        DeltaTable(folder).create_checkpoint()
        for number in (0, 1):
            (folder / "_delta_log" / f"{number:020d}.json").unlink()
        assert log.is_here()
        rmtree(folder)
        assert not log.is_here()

    @pytest.mark.parametrize("gone", [[2], [3], [2, 3, 4], [4], range(5)], ids=str)
    def test_what_was_appended_is_lost_when_one_of_its_entries_is(
        self, opened: Callable[[], CommitLog], folder: Path, gone: Iterable[int]
    ) -> None:
        log = opened()
        log.prove()
        for n in range(3):
            log.append(version(new=n))
        log.prove()
        other = opened()
        for n in range(3):
            log.append(version(new=n))
        for number in gone:
            (folder / "_delta_log" / f"{number + 3:020d}.json").unlink(missing_ok=True)
        with pytest.raises(StalePosition):
            log.prove()
        assert other.version == 4

    @pytest.mark.usefixtures("pauses")
    def test_after_a_pause_a_version_that_is_gone_is_noticed_before_an_append(
        self, opened: Callable[[], CommitLog], folder: Path
    ) -> None:
        log = opened()
        log.append(version(new=6))
        rmtree(folder)
        assert not log.is_here()

    def test_after_a_conflict_a_version_that_is_gone_is_noticed_by_each_append(
        self, opened: Callable[[], CommitLog], folder: Path
    ) -> None:
        log, other = opened(), opened()
        other.append(version(new=1))
        assert isinstance(log.append(version(old=6)), Conflict)
        assert isinstance(log.append(version(old=6)), Committed)
        (folder / "_delta_log" / f"{3:020d}.json").unlink()
        with pytest.raises(StalePosition):
            log.append(version(old=7))

    def test_an_entry_where_the_log_was_cleaned_up_is_no_commit(
        self, opened: Callable[[], CommitLog], folder: Path
    ) -> None:
        late, other = opened(), opened()
        for n in range(3):
            other.append(version(new=n))
        DeltaTable(folder).create_checkpoint()
        for number in range(5):
            (folder / "_delta_log" / f"{number:020d}.json").unlink()
        with pytest.raises(StalePosition):
            late.append(version(new=9))
        assert DeltaTable(folder).version() == 4
        assert DeltaTable(folder).transaction_version(NEW) == 2

    def test_metadata_changes_together_with_positions(
        self, opened: Callable[[], CommitLog], folder: Path
    ) -> None:
        [held] = [a for a in self.entry(folder, 0) if "metaData" in a]
        changed = held["metaData"] | {"configuration": {"delta.appendOnly": "true"}}
        entry = Version("{}", 17, [Transaction(NEW, 6, 17)], (), [{"metaData": changed}])
        assert isinstance(opened().append(entry), Committed)
        table = DeltaTable(folder)
        assert table.metadata().configuration == {"delta.appendOnly": "true"}
        assert (table.version(), table.transaction_version(NEW)) == (2, 6)
