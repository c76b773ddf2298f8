"""Rows replaced in place on real tables, beside consumers, compactions, kills and each other."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from consumers.window import Window
from core.clock import SystemClock
from core.errors import ConfigError, SinkError
from pinpip import configfile
from pinpip import replacing as replay
from pinpip.cli import replace as command
from pinpip.pipelines import tables_of
from pinpip.replaying import Origin
from sinks.delta import settled, txns
from sinks.storage.store import open_store
from tests.support.aws import TestAws
from tests.support.board_lake import OLD
from tests.support.examples import examples
from tests.support.interrupting import before_entry
from tests.support.replacing import TITLES, V1, V2, History, filled, record

BOTH = pytest.mark.parametrize("history", ["folder", "bucket"], indirect=True)


class Killed(BaseException):
    """The process dies here."""


@pytest.fixture
def history(request: pytest.FixtureRequest, tmp_path: Path) -> History:
    if getattr(request, "param", "folder") == "folder":
        return filled(tmp_path)
    aws: TestAws = request.getfixturevalue("aws")
    keys = {"access_key_id": "local", "secret_access_key": "local"}
    sections = {"aws": {"endpoint_url": aws.endpoint, **keys}}
    return filled(tmp_path, root=f"s3://{aws.bucket()}/lake", sections=sections)


def killed_at(step: str) -> Callable[[str], None]:
    def reached(name: str) -> None:
        if name == step:
            raise Killed

    return reached


def compact_of(history: History) -> Callable[[], object]:
    return history.lake.table().optimize.compact


def positions(history: History) -> dict[str, Any]:
    options = tables_of(history.lake.config(), "boards").options
    found = txns.read(history.lake.table(), options)
    return {name: own for name, own in found.items() if not name.startswith("replaced:")}


@BOTH
def test_both_tables_become_what_todays_rules_make_of_the_records(history: History) -> None:
    before, version = positions(history), history.lake.table().version()
    done = history.replace(V2)
    assert (done.removed, done.added, done.unquarantined, done.quarantined) == (5, 5, 4, 3)
    assert positions(history) == before
    assert history.lake.table().version() == version + 1
    history.assert_as_rebuilt(V2)


def test_only_the_selected_records_change(history: History) -> None:
    history.replace(V2, history.selection((0, 1, 4), (0, 5, 6)))
    rules = {0: [V1, V2, V2, V2, V1, V2, V1], 1: [V1, V1]}
    history.assert_equals(rules)


def test_done_twice_in_a_row_it_changes_nothing(history: History) -> None:
    history.replace(V2, id_="once")
    version = history.lake.table().version()
    assert history.replace(V2, id_="once").done
    assert history.lake.table().version() == version


def test_going_back_to_the_first_rules_restores_every_row(history: History) -> None:
    clean, rejected = history.rows("boards"), history.rows("boards_quarantine")
    history.replace(V2)
    history.replace(V1)
    assert_frame_equal(history.rows("boards"), clean, check_row_order=False)
    assert_frame_equal(history.rows("boards_quarantine"), rejected, check_row_order=False)
    history.assert_as_rebuilt(V1)


@BOTH
def test_killed_between_both_tables_verify_says_so_and_any_replacement_finishes_it(
    history: History,
) -> None:
    with pytest.raises(Killed):
        history.replace(V2, reached=killed_at("clean"))
    report = history.verify()
    assert [finding.kind for finding in report.findings] == ["unfinished"]
    history.replace(V2, history.selection((1, 0, 1)))
    history.assert_as_rebuilt(V2)


def test_killed_between_both_tables_the_same_command_finishes_it(history: History) -> None:
    with pytest.raises(Killed):
        history.replace(V2, reached=killed_at("clean"), id_="it")
    history.lake.table().create_checkpoint()
    assert history.replace(V2, id_="it").done
    history.assert_as_rebuilt(V2)


def test_the_command_finishes_what_is_unfinished_before_it_refuses_another_where(
    history: History,
) -> None:
    with pytest.raises(Killed):
        history.replace(V2, reached=killed_at("clean"))
    path = history.lake.path(OLD, V2)
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    tree["pipelines"]["boards"]["source"]["where"] = {"key": "geo"}
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    changed = configfile.load(path, {})

    def run(*, only_diff: bool) -> None:
        with pytest.raises(ConfigError, match="another `where`"):
            command.run(
                changed,
                "boards",
                Window(),
                Origin(),
                lambda *_: pytest.fail("nothing is staged"),
                as_json=True,
                only_diff=only_diff,
            )

    run(only_diff=True)
    assert [finding.kind for finding in history.verify().findings] == ["unfinished"]
    run(only_diff=False)
    history.assert_as_rebuilt(V2)


def test_what_was_staged_since_an_unfinished_replay_is_replaced_as_well(tmp_path: Path) -> None:
    live, staging = (filled(Path(tempfile.mkdtemp(dir=tmp_path)), body=b) for b in (V1, V2))
    config, tables = live.lake.config(OLD, V2), tables_of(staging.lake.config(OLD, V2), "boards")

    def swap(reached: Callable[[str], None]) -> None:
        clock = SystemClock()
        own = replay.staged(config, "boards", tables, Window(), Origin(), clock)
        replay.swap(config, "boards", own, clock, reached)

    with pytest.raises(Killed):
        swap(killed_at("clean"))
    [finding] = live.verify().findings
    assert "(pinpip replay boards --replace (" in finding.detail
    for history, body in ((live, V1), (staging, V2)):
        history.write(body, 0, record("10"), record("13"))
    replay.finish(config, "boards", SystemClock())
    assert live.verify().findings == ()
    swap(lambda _step: None)
    live.assert_as_rebuilt(V2)


@pytest.mark.parametrize("left", [0, 2])
def test_rows_whose_staging_another_replay_removes_meanwhile_are_never_replaced_by_none(
    tmp_path: Path, left: int
) -> None:
    """All of it, or the newest entries of its log first, as a replay that ends removes it."""
    live, staging = (filled(Path(tempfile.mkdtemp(dir=tmp_path)), body=b) for b in (V1, V2))
    config, tables = live.lake.config(OLD, V2), tables_of(staging.lake.config(OLD, V2), "boards")
    own = replay.staged(config, "boards", tables, Window(), Origin(), SystemClock())
    log = open_store(tables.clean, config.aws)
    entries = sorted(log.list("_delta_log/"))
    log.remove(entries[left:])
    with pytest.raises(SinkError, match="was removed meanwhile"):
        replay.swap(config, "boards", own, SystemClock())
    live.assert_as_rebuilt(V1)


def test_killed_before_the_first_entry_nothing_has_changed(history: History) -> None:
    before = history.rows("boards")
    with pytest.raises(Killed):
        history.replace(V2, reached=killed_at("uploaded"))
    assert_frame_equal(history.rows("boards"), before)
    history.assert_as_rebuilt(V1)


def test_a_file_of_an_unfinished_replacement_that_is_gone_is_named(history: History) -> None:
    with pytest.raises(Killed):
        history.replace(V2, reached=killed_at("clean"))
    table = Path(history.lake.root) / "boards_quarantine"
    named = {uri.rpartition("/")[2] for uri in DeltaTable(table).file_uris()}
    for file in table.glob("*.parquet"):
        if file.name not in named:
            file.unlink()
    with pytest.raises(SinkError, match="which an unfinished replacement adds"):
        history.replace(V2)


@BOTH
def test_consumers_commit_meanwhile_and_nobody_fails(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    selection = history.selection()
    before_entry(monkeypatch, lambda: history.write(V1, 0, record("10"), record("Fir")))
    history.replace(V2, selection)
    history.write(V1, 1, record("11"))
    history.assert_equals({0: [V2] * 7 + [V1, V1], 1: [V2, V2, V1]})


def test_a_compaction_meanwhile_is_planned_again(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_entry(monkeypatch, compact_of(history))
    history.replace(V2)
    history.assert_as_rebuilt(V2)


def test_rows_in_compacted_files_are_replaced_one_by_one(history: History) -> None:
    history.lake.table().optimize.compact()
    history.replace(V2, history.selection((0, 2, 3)))
    history.assert_equals({0: [V1, V1, V2, V1, V1, V1, V1], 1: [V1, V1]})


def test_of_two_at_the_same_time_one_follows_the_other(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Both add rows and remove none of each other's files: only their number tells them apart.
    other = History(history.folder, history.lake.root, sent=history.sent, number=100)
    elm = history.selection((1, 0, 1))
    before_entry(monkeypatch, lambda: other.replace(V2, elm))
    history.replace(V2, elm)
    history.assert_equals({0: [V1] * 7, 1: [V2, V1]})


def test_one_that_was_overtaken_between_its_tables_is_finished_first(
    history: History,
) -> None:
    def other(step: str) -> None:
        if step == "clean":
            history.replace(V1, id_="other")

    history.replace(V2, reached=other)
    history.assert_as_rebuilt(V1)


def test_amendments_outlive_the_log(history: History) -> None:
    history.replace(V2, history.selection((0, 1, 4)))
    config = history.lake.config()
    tables = tables_of(config, "boards")
    for uri, last in ((tables.clean, 3), (tables.quarantine, 2)):
        settled.keep(open_store(uri, config.aws), last)
    history.replace(V2)
    for uri in (tables.clean, tables.quarantine):
        store = open_store(uri, config.aws)
        opened = history.rows(uri.rpartition("/")[2])
        assert opened.height
        settled.keep(store, 5)
    history.assert_as_rebuilt(V2)


def test_a_row_too_many_or_too_few_after_a_replacement_is_found(history: History) -> None:
    history.replace(V2)
    history.lake.table().delete("_partition = 0 and _offset = 0")
    assert [finding.kind for finding in history.verify().findings] == ["missing"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("delta.appendOnly", "true", "cannot be changed"),
        ("delta.enableChangeDataFeed", "true", "delta.enableChangeDataFeed"),
    ],
)
def test_a_table_that_asks_more_of_a_remover_is_refused_before_anything_changes(
    history: History, name: str, value: str, said: str
) -> None:
    history.lake.table().alter.set_table_properties({name: value}, raise_if_not_exists=False)
    before = history.rows("boards")
    with pytest.raises(SinkError, match=said):
        history.replace(V2)
    assert_frame_equal(history.rows("boards"), before)


STEP = st.one_of(
    st.tuples(
        st.just("write"),
        st.sampled_from([V1, V2]),
        st.integers(0, 1),
        st.lists(st.sampled_from([*TITLES, ""]), min_size=1, max_size=3),
    ),
    st.tuples(st.just("compact")),
    st.tuples(
        st.just("replace"),
        st.sampled_from([V1, V2]),
        st.integers(0, 1),
        st.tuples(st.integers(0, 6), st.integers(0, 6)).map(sorted),
        st.sampled_from(["", "uploaded", "clean"]),
    ),
)


@settings(max_examples=examples(15), deadline=None)
@given(st.lists(STEP, min_size=1, max_size=8))
def test_any_history_ends_as_the_table_rebuilt_from_zero(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[Any, ...]]
) -> None:
    history = filled(tmp_path_factory.mktemp("boards"))
    rules = {0: [V1] * 7, 1: [V1] * 2}
    for kind, *rest in steps:
        if kind == "write":
            body, partition, titles = rest
            history.write(body, partition, *(record(t) if t else b"bad" for t in titles))
            rules[partition] += [body] * len(titles)
        elif kind == "compact":
            history.lake.table().optimize.compact()
        else:
            body, partition, (first, last), step = rest
            last = min(last, len(rules[partition]))
            if first >= last:
                continue
            selection = history.selection((partition, first, last))
            try:
                history.replace(body, selection, killed_at(step))
            except Killed:
                if step == "uploaded":
                    continue
            rules[partition][first:last] = [body] * (last - first)
    if any(step[0] == "replace" for step in steps):
        history.replace(V2, id_="last")
        history.assert_as_rebuilt(V2)
    else:
        history.assert_equals(rules)
