"""A consumer's page joins what it knows with what only the tables tell."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from monitor.view import CommitView, FilesView, PipelineView, ReasonView, Sample, State, VerdictView
from pinpip.lake.view import LakeView, merged

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(seconds=3)
OLD, NEW = Sample("t/0:1", "old", "{"), Sample("t/0:9", "new", "[")
LIVE = PipelineView("pin", "demo.pin", "lake/pin", State("ok", "up to date"), clean=7)
LAKE = LakeView(at=NOON, clean=100, quarantined=5)


def commit(version: int, read: int = 1) -> CommitView:
    return CommitView(version, NOON + timedelta(seconds=version), read, read, 0, ())


def reason(rows: int, last: datetime | None, *samples: Sample, name: str = "bad") -> ReasonView:
    return ReasonView(name, rows, last, samples)


def test_what_a_consumer_counts_since_its_start_stays() -> None:
    joined = merged(LIVE, LAKE)
    assert (joined.clean, joined.quarantined) == (7, 5)


def test_commits_of_both_are_shown_once_the_newest_first() -> None:
    live = replace(LIVE, commits=(commit(30, 2), commit(29)))
    lake = replace(LAKE, commits=tuple(commit(n) for n in range(29, 5, -1)))
    joined = merged(live, lake)
    assert [c.version for c in joined.commits] == list(range(30, 10, -1))
    assert joined.last_commit == commit(30).at


def test_the_last_commit_is_the_newest_that_anybody_knows() -> None:
    lake = replace(LAKE, commits=(commit(1),))
    assert merged(LIVE, lake).last_commit == commit(1).at
    assert merged(replace(LIVE, last_commit=LATER), lake).last_commit == LATER
    assert merged(LIVE, LAKE).last_commit is None


def test_newer_samples_of_the_consumer_win_and_the_tables_rows_count() -> None:
    live = replace(LIVE, reasons=(reason(2, LATER, NEW),))
    lake = replace(LAKE, reasons=(reason(90, NOON, OLD),))
    assert merged(live, lake).reasons == (reason(90, LATER, NEW),)


def test_newer_samples_of_the_table_stay() -> None:
    live = replace(LIVE, reasons=(reason(2, NOON, OLD),))
    lake = replace(LAKE, reasons=(reason(90, LATER, NEW),))
    assert merged(live, lake).reasons == (reason(90, LATER, NEW),)


def test_a_newer_reason_without_samples_keeps_those_of_the_table() -> None:
    live = replace(LIVE, reasons=(reason(2, LATER),))
    lake = replace(LAKE, reasons=(reason(90, NOON, OLD),))
    assert merged(live, lake).reasons == (reason(90, LATER, OLD),)


def test_reasons_of_either_are_shown_the_most_frequent_first() -> None:
    live = replace(LIVE, reasons=(reason(2, LATER, NEW),))
    lake = replace(LAKE, reasons=(reason(90, NOON, OLD, name="other"),))
    assert [r.reason for r in merged(live, lake).reasons] == ["other", "bad"]


def test_files_verdict_and_reasons_for_not_knowing_come_from_the_tables() -> None:
    verdict, files = VerdictView(NOON, "ok", "exactly once"), (FilesView("clean", 1, 1, 9),)
    lake = replace(LAKE, files=files, verdict=verdict, unknown={"reasons": "so far"})
    joined = merged(replace(LIVE, unknown={"demo.pin": "silent"}), lake)
    assert (joined.files, joined.verdict) == (files, verdict)
    assert joined.unknown == {"reasons": "so far", "demo.pin": "silent"}
