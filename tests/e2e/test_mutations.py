"""The rules of exactly-once are watched: a product without one of them fails the tests.

Each rule is taken out of a copy of the product, and the tests that guard it are run on that copy.
A mutation whose text is gone or no longer unique is an error here: it must move with the code.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.places import ROOT

COPIED = shutil.ignore_patterns(".*", "__pycache__", "build", "docs", "benchmarks", "*.md")
PROCESSES = 2
CONTRACT = "tests/contracts/test_sink_contract.py"
DELTA = f"{CONTRACT}::TestDeltaInAFolder::"
LOG = "tests/unit/sinks/delta/test_log.py::"
VANISHED = "tests/unit/sinks/delta/test_vanished_log.py::"
OUR_LOG = "tests/contracts/test_commit_log_contract.py::TestOurLog::"
LANE = "tests/unit/consumers/engine/test_lane.py::"
LOOP = "tests/unit/consumers/engine/test_loop.py::"
STORE = "tests/unit/sinks/storage/test_store.py::"
COMMITS = "tests/unit/sinks/delta/test_sink.py::"
PACE = "tests/unit/sinks/parquet/test_pace.py::"
ARCHIVE = "tests/unit/audit/test_archive.py::"
PARQUET = f"{CONTRACT}::TestParquetInAFolder::"
PARQUET_IN_S3 = f"{CONTRACT}::TestParquetInABucket::"
ZOMBIE = "test_a_zombie_is_stale_and_leaves_no_rows"
RETURNED_ZOMBIE = "test_a_write_to_another_partition_does_not_unfence_a_zombie"
MERGED = "tests/contracts/test_merged_columns.py::"
MAINTAIN = "tests/contracts/test_maintain.py::"
REPLACE = "tests/contracts/test_replacing.py::"
PROOF = "tests/unit/pinpip/test_replacement_proof.py::"
VACUUM = "tests/contracts/test_vacuum.py::"
RESCUE = "tests/contracts/test_rescue.py::"
RETENTION = "tests/contracts/test_archive_retention.py::"
UPKEEP = "tests/contracts/test_archive_upkeep.py::"
LATEST = "tests/unit/sinks/latest/test_steps.py::"
REQUEUE = "tests/contracts/test_requeue.py::"
JUDGED = "tests/unit/pinpip/test_judged_again.py::"
SUMMARY = re.compile(r"^FAILED (\S+?)(?:\[\S*\])? - (.*)$", re.MULTILINE)
BY_ASSERTION = ("assert", "AssertionError", "Failed: DID NOT RAISE")
BY_PROBE = "this store does not honour conditional writes"


@dataclass(frozen=True)
class Mutation:
    """A rule taken out: `old`, found once in the product, becomes `new`; `tests` must fail."""

    name: str
    old: str
    new: str
    tests: tuple[str, ...]


COMPARED = "            moves = self._compare(log, due)\n"
COMMIT = "            match log.append(version):\n"
MUTATIONS = [
    Mutation(
        "compare-and-set removed",
        "if stored != held:",
        "if False:",
        (DELTA + ZOMBIE, DELTA + RETURNED_ZOMBIE),
    ),
    Mutation(
        "a batch committed whose predecessor was not",
        "        self._progress.follow(due.ranges, self._progress.held(moves))\n",
        "",
        (DELTA + "test_a_batch_whose_predecessor_was_not_committed_is_stale",),
    ),
    Mutation(
        "two commits of one sink at once",
        "self._busy = self._busy or bool(due)",
        "pass",
        (LANE + "test_commits_never_run_at_once_and_keep_their_order_in_real_threads",),
    ),
    Mutation(
        "positions committed before the rows",
        COMMIT,
        """\
            log.append(replace(version, files=()))
            match log.append(replace(version, txns=())):
""",
        (f"{COMMITS}test_at_every_version_the_positions_are_where_the_rows_end",),
    ),
    Mutation(
        "committed to a version newer than the compared one",
        COMPARED,
        COMPARED.replace("self._compare", "moves if tried > 1 else self._compare"),
        (f"{COMMITS}test_a_writer_that_commits_after_the_comparison_is_noticed_by_the_commit",),
    ),
    Mutation(
        "an entry beside a hole taken for a commit",
        "if looks and not self._is_read():",
        "if False:",
        (LOG + "test_an_entry_that_was_put_beside_a_hole_is_no_commit",),
    ),
    Mutation(
        "the log not looked at every so many commits",
        "return self.is_due_before or self._beside > 0 or self._commits >= LOOK_EVERY - 1",
        "return self.is_due_before",
        (VANISHED + "test_a_damage_is_noticed_within_so_many_commits",),
    ),
    Mutation(
        "the log not looked at after a pause",
        "return self._alert or self._has_paused",
        "return self._alert",
        (
            VANISHED + "test_a_damage_is_noticed_by_the_first_commit_after_a_pause",
            VANISHED + "test_a_writer_that_is_stopped_before_its_put_looks_after_it",
        ),
    ),
    Mutation(
        "a pause only seen before the put",
        "return self.is_due_before or self._beside > 0 or self._commits >= LOOK_EVERY - 1",
        "return self._alert or self._beside > 0 or self._commits >= LOOK_EVERY - 1",
        (VANISHED + "test_a_writer_that_is_stopped_before_its_put_looks_after_it",),
    ),
    Mutation(
        "the log not looked at after a conflict",
        "            self._watch.conflicted()\n",
        "",
        (OUR_LOG + "test_after_a_conflict_a_version_that_is_gone_is_noticed_by_each_append",),
    ),
    Mutation(
        "a log that is cleaned up soon looked at now and then",
        "alert = kept is None or kept < LEAST_RETENTION",
        "alert = kept is None",
        (VANISHED + "test_a_table_that_keeps_its_log_for_a_short_time_is_looked_at_every_time",),
    ),
    Mutation(
        "commits not proven at the end of a run",
        "            self._log.prove()\n",
        "            pass\n",
        (VANISHED + "test_a_damage_is_noticed_when_the_sink_settles_for_the_end",),
    ),
    Mutation(
        "a bounded run that does not settle",
        "            self._catch_up()\n        except StalePosition",
        "            self._write_all()\n        except StalePosition",
        (LOOP + "test_a_bounded_run_whose_commits_were_lost_reads_them_again_before_it_ends",),
    ),
    Mutation(
        "a hole in the log not seen",
        "self._is_whole = same and not absent",
        "self._is_whole = same",
        (OUR_LOG + "test_what_was_appended_is_lost_when_one_of_its_entries_is",),
    ),
    Mutation(
        "another table taken for this one",
        'same = self._anchored in {b"", _hash(found)}',
        "same = True",
        (VANISHED + "test_what_was_written_to_another_table_of_the_same_age_is_withdrawn",),
    ),
    Mutation(
        "what was put into another table left there",
        "                self._withdraw()\n",
        "                pass\n",
        (VANISHED + "test_what_was_written_to_another_table_of_the_same_age_is_withdrawn",),
    ),
    Mutation(
        "a checkpoint of another history taken for ours",
        "return found.version > self.version or not is_ours",
        "return found.version > self.version",
        (VANISHED + "test_a_checkpoint_of_another_history_is_noticed",),
    ),
    Mutation(
        "entries beyond a hole left in the log",
        "if not (opening.drop_damaged(uri, options) or orphans.set_aside(uri, options)):",
        "if not opening.drop_damaged(uri, options):",
        (VANISHED + "test_entries_that_are_set_aside_are_kept_and_named",),
    ),
    Mutation(
        "many entries beyond a hole set aside",
        "if len(beyond) <= MOST and ",
        "if ",
        (LOG + "test_a_gap_before_many_entries_is_damage",),
    ),
    Mutation(
        "another program's entries set aside",
        "not all(map(_is_ours, bodies.values()))",
        "False",
        (LOG + "test_a_gap_that_every_listing_shows_is_damage",),
    ),
    Mutation(
        "an entry taken away that is another by now",
        "            if held.read_bytes() != body:\n",
        "            if False:\n",
        (STORE + "test_an_object_is_taken_away_unless_it_is_another_by_now",),
    ),
    Mutation(
        "a checkpoint decided upon without reading which is the newest",
        "looks = self._watch.is_due_after or may_be_due",
        "looks = self._watch.is_due_after",
        (VANISHED + "test_a_checkpoint_that_another_wrote_puts_the_next_one_off",),
    ),
    Mutation(
        "S3's 412 ignored",
        "return status != HTTPStatus.PRECONDITION_FAILED",
        "return True",
        (PARQUET_IN_S3 + ZOMBIE, STORE + "test_a_key_is_created_only_once"),
    ),
    Mutation(
        "a file that exists ignored",
        "            except FileExistsError:\n                return False\n",
        "            except FileExistsError:\n                return True\n",
        (PARQUET + ZOMBIE, STORE + "test_a_key_is_created_only_once"),
    ),
    Mutation(
        "another writer's object taken for a lost try of our own",
        'if found["writer"] != about["writer"] or found["end"] != about["end"]:',
        "if False:",
        (PARQUET + ZOMBIE,),
    ),
    Mutation(
        "rows archived that do not follow those that are held",
        "if partition not in self._own or part.start != ends[partition]:",
        "if False:",
        (PACE + "test_rows_that_do_not_follow_those_before_are_stale",),
    ),
    Mutation(
        "an object that was begun grows before its put is repeated",
        """\
            if partition in self.open and partition not in self.sealed:
                self.sealed[partition] = self.open.pop(partition)
""",
        """\
            if partition in self.open:
                part, begun = self.open.pop(partition), self.sealed.get(partition)
                self.sealed[partition] = begun.joined(part) if begun else part
""",
        (PACE + "test_an_object_whose_answer_was_lost_is_ours_though_more_rows_came_meanwhile",),
    ),
    Mutation(
        "what is held of partitions that were given up is archived",
        """\
        self._released |= frozenset(partitions)
        self._held.drop(partitions)
""",
        "",
        (PACE + "test_what_is_held_of_a_partition_that_was_given_up_is_never_written",),
    ),
    Mutation(
        "rows that were dropped are written with those that are read again",
        "self._frames = [rows.remove(gone) for rows in self._frames]",
        "pass",
        (PACE + "test_rows_that_a_zombie_lost_are_not_written_with_those_that_it_reads_again",),
    ),
    Mutation(
        "an archive's end without rows is never stored",
        "return [p for p, part in own if p in late or part.gap or (full and part.records)]",
        "return [p for p, part in own if part.gap or (full and part.records)]",
        (PACE + "test_an_end_without_rows_is_stored_before_retention_can_reach_it",),
    ),
    Mutation(
        "an archive that lags for too long is called waiting",
        "if at < archive.due or not (first.start is None or reaches(end, first.start)):",
        "if False:",
        (
            ARCHIVE + "test_records_that_the_archive_should_have_by_now_are_a_difference",
            ARCHIVE + "test_an_older_commit_that_the_archive_lacks_is_not_hidden_by_a_newer_one",
        ),
    ),
    Mutation(
        "the furthest sink decides where to read",
        "return Known(None if empty else found[0], found[-1], empty)",
        "return Known(None if empty else found[-1], found[-1], empty)",
        (LOOP + "test_partitions_start_at_the_minimum_over_the_sinks",),
    ),
    Mutation(
        "what is buffered of revoked partitions kept",
        "self._held = [records for records in kept if records.spans or records.notes]",
        "del kept",
        (LOOP + "test_revoked_records_are_dropped_from_the_buffer",),
    ),
    Mutation(
        "rows with a column that the metadata does not name",
        "version = replace(entry, txns=txn_actions, metadata=self._setup.metadata)",
        "version = replace(entry, txns=txn_actions)",
        (MERGED + "test_a_later_start_adds_nothing_again",),
    ),
    Mutation(
        "a declaration without a column that others added",
        " if f.name in names and MARK in f.metadata]",
        " if False]",
        (MERGED + "test_an_older_member_that_starts_later_is_refused_before_it_writes",),
    ),
    Mutation(
        "a running member stopped by a newer declaration",
        "if table_id != self._table_id:",
        "if True:",
        (MERGED + "test_two_declarations_that_run_side_by_side_stop_nobody",),
    ),
    Mutation(
        "a replacement that does not see another one between its plan and its entry",
        "if any(log.txn_version(app) != version for app, version in marked.held.items()):",
        "if False:",
        (REPLACE + "test_of_two_at_the_same_time_one_follows_the_other",),
    ),
    Mutation(
        "an unfinished replacement forgotten",
        "    if begun.number == done.number:\n        return False\n",
        "    return False\n",
        (
            REPLACE + "test_killed_between_both_tables_the_same_command_finishes_it",
            REPLACE + "test_both_tables_become_what_todays_rules_make_of_the_records",
        ),
    ),
    Mutation(
        "what was staged since an unfinished replay taken as done",
        ", {_digest(selection.ranges)})",
        ")",
        (REPLACE + "test_what_was_staged_since_an_unfinished_replay_is_replaced_as_well",),
    ),
    Mutation(
        "rows replaced by those of another topic of the name",
        "if at is not None and not at.agrees(end.epoch):",
        "if False:",
        (PROOF + "test_positions_of_another_life_are_refused",),
    ),
    Mutation(
        "rows of a partition whose records expired left as they are in silence",
        "lost = keys_of(places, select(left, window, places[0].target.coordinates))",
        "lost = {}",
        (PROOF + "test_rows_of_a_partition_that_the_source_gives_nothing_of_are_named",),
    ),
    Mutation(
        "rows of a range of time replaced by none, their records having expired",
        "if unknown or (first is not None and rows.item(0) < first):",
        "if False:",
        (
            PROOF + "test_rows_before_the_first_offset_that_a_topic_holds_are_not_replaced_by_time",
            PROOF + "test_a_range_of_time_that_a_stream_may_have_lost_is_refused_for_its_rows",
        ),
    ),
    Mutation(
        "rows replaced by none, their staging being gone",
        "if table is None or str(table.metadata().id) != seen[0] or table.version() < seen[1]:",
        "if table is None:\n            return\n        if False:",
        (
            REPLACE
            + "test_rows_whose_staging_another_replay_removes_meanwhile_are_never_replaced_by_none",
        ),
    ),
    Mutation(
        "the effects of an unfinished replacement alone, not the replacement",
        "if clean.replaced > quarantine.replaced:",
        "if False:",
        (
            REPLACE
            + "test_killed_between_both_tables_verify_says_so_and_any_replacement_finishes_it",
        ),
    ),
    Mutation(
        "the amendments of expired commits lost",
        "app: tuple(amendments.joined(ranges.get(app, ()), own)) for app, own in changes.items()",
        "app: () for app in changes",
        (REPLACE + "test_amendments_outlive_the_log",),
    ),
    Mutation(
        "a file rewritten that another writer removed meanwhile",
        "if outcome.alters or outcome.removed & paths:",
        "if outcome.alters:",
        (
            RESCUE + "test_a_compaction_beside_it_is_planned_again",
            MAINTAIN + "test_files_that_another_writer_removed_are_planned_again",
        ),
    ),
    Mutation(
        "merged files with other rows than before",
        "    _check(target.uri, files, count)\n",
        "",
        (MAINTAIN + "test_a_file_with_other_rows_than_the_log_says_is_one_error",),
    ),
    Mutation(
        "a replaced file removed whatever still reads it",
        "kept = _named(table) | _named(_at(uri, options, base))",
        "kept = _named(table)",
        (VACUUM + "test_replaced_files_go_after_the_retention_and_a_reader_within_it_is_safe",),
    ),
    Mutation(
        "a file removed that a running writer may still commit",
        "newest - since - LONGEST_COMMIT",
        "newest",
        (VACUUM + "test_a_file_that_was_never_committed_goes_and_no_other",),
    ),
    Mutation(
        "a file committed that upkeep may have removed",
        "    commit_log.refuse_late(entry)\n",
        "",
        (VACUUM + "test_a_writer_that_is_too_late_reads_its_records_again",),
    ),
    Mutation(
        "the newest object of an archive removed",
        "keys[:-1])]",
        "keys)]",
        (RETENTION + "test_the_newest_object_stays_and_a_writer_goes_on_from_it",),
    ),
    Mutation(
        "an archive's objects removed whatever lies before them",
        "old = [*takewhile(lambda key: written[key] < bound, keys[:-1])]",
        "old = [key for key in keys[:-1] if written[key] < bound]",
        (RETENTION + "test_a_young_object_keeps_all_after_it",),
    ),
    Mutation(
        "several objects of a chain removed at once",
        "            store.remove([key])\n            gone += 1",
        "            store.remove(old.keys)\n            gone += 1",
        (RETENTION + "test_killed_between_two_removals_a_chain_has_no_hole",),
    ),
    Mutation(
        "old objects removed that no chain proves",
        '    unknown = next(_broken(found), "")\n',
        '    unknown = ""\n',
        (RETENTION + "test_a_chain_that_is_broken_where_it_is_old_is_kept_whole",),
    ),
    Mutation(
        "the name of a removed object taken by a writer that was paused",
        "        self._refuse_removed(partition, part.start)\n",
        "",
        (RETENTION + "test_a_writer_that_was_paused_does_not_take_the_name_of_a_removed_object",),
    ),
    Mutation(
        "an object that went from the middle of a chain passed over by a replay",
        "                raise _removed(store, key)\n",
        "                pass\n",
        ("tests/unit/sinks/parquet/test_walk.py::test_an_object_that_goes_meanwhile_is_an_error",),
    ),
    Mutation(
        "what an archive no longer has not told by a replay",
        "    return {p: links[0] for p, links in chains.items() if links[0].start > Position(0)}\n",
        "    return {}\n",
        (
            UPKEEP + "test_a_replay_without_bounds_says_what_the_archive_no_longer_has",
            UPKEEP + "test_people_are_told_the_same",
            UPKEEP + "test_a_stream_whose_archive_begins_late_says_so",
        ),
    ),
    Mutation(
        "files of two incarnations merged",
        "folders[file.folder].append(file)",
        'folders[""].append(file)',
        (
            "tests/unit/sinks/delta/test_compaction.py::test_files_of_two_incarnations_are_never_merged",
        ),
    ),
    Mutation(
        "a file rewritten that is not in the newest version",
        "return all(o.path in there and can_be_removed(",
        "return all(can_be_removed(",
        (
            RESCUE + "test_a_compaction_beside_it_is_planned_again",
            MAINTAIN + "test_files_that_another_writer_removed_are_planned_again",
        ),
    ),
    Mutation(
        "the versions of the latest table not stored with its rows",
        "            txns=mark.txns(self._now_ms),\n",
        "",
        (
            LATEST + "test_the_position_is_in_the_entry_of_the_rows",
            LATEST + "test_a_step_reads_what_was_added_and_a_second_one_does_nothing",
        ),
    ),
    Mutation(
        "equal orders of two latest rows not decided by the coordinates",
        "return list(dict.fromkeys([self.order, *self.coordinates.identity]))",
        "return [self.order]",
        (LATEST + "test_equal_orders_are_decided_by_the_coordinates_whatever_comes_first",),
    ),
    Mutation(
        "files that the append table lost ignored by the latest table",
        '        replaced += [action["path"] for action in removes]\n',
        "",
        (LATEST + "test_a_file_that_was_removed_whole_gives_way_to_older_rows",),
    ),
    Mutation(
        "tombstones of earlier steps forgotten by the latest table",
        "dead = pl.concat([fallen, older])",
        "dead = fallen",
        (LATEST + "test_a_tombstone_wins_against_older_records_that_come_after_it",),
    ),
    Mutation(
        "an entry of the latest table put after another one than was read",
        "DeltaLog(self._store, self._latest.version(), lambda _: None).append(entry)",
        "DeltaLog(\n"
        '                self._store, len(self._store.list("_delta_log/0")) - 1, lambda _: None\n'
        "            ).append(entry)",
        (LATEST + "test_of_two_followers_at_once_one_wins_and_the_other_did_nothing",),
    ),
    Mutation(
        "a record requeued that its consumer reads again",
        "yield batch.remove(unread)",
        "yield batch",
        (REQUEUE + "test_a_record_that_the_clean_table_has_not_read_is_left_to_its_consumer",),
    ),
    Mutation(
        "a record requeued that another requeue has moved",
        "if leaving not in {None, _height(found[1].gone)}:",
        "if False:",
        (REQUEUE + "test_rows_that_another_moved_meanwhile_are_left_as_that_one_made_them",),
    ),
    Mutation(
        "a record requeued whose header nobody knows",
        "known = rows.filter(is_known)",
        "known = rows",
        (JUDGED + "test_without_its_headers_only_the_ledger_says_that_a_record_was_taken",),
    ),
]


def copied(folder: Path) -> Path:
    """Copy the product and its tests as they are now."""
    return Path(shutil.copytree(ROOT, folder, ignore=COPIED))


def mutated(folder: Path, mutation: Mutation) -> Path:
    """Copy the product without one rule."""
    copy = copied(folder)
    product = [path for path in copy.rglob("*.py") if "tests" not in path.parts]
    [file] = [path for path in product if mutation.old in path.read_text(encoding="utf-8")]
    text = file.read_text(encoding="utf-8")
    assert text.count(mutation.old) == 1
    file.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
    return copy


def checked(copy: Path, tests: tuple[str, ...]) -> "subprocess.CompletedProcess[str]":
    """Run the tests on the copy, with the copy's own configuration."""
    of_this_run = ("PYTEST_", "COVERAGE_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(of_this_run)}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "--quiet", "--no-header", "--tb=no", *tests],
        cwd=copy,
        env=environment | {"PYTHONPATH": str(copy), "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=False,
    )


Verdict = Future["subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Verdict]]:
    """Return the result of the tests per mutation's name; "" names the unchanged product."""
    folder = tmp_path_factory.mktemp("copies")
    everything = tuple(dict.fromkeys(test for m in MUTATIONS for test in m.tests))
    with ThreadPoolExecutor(PROCESSES) as pool:
        begun = {"": pool.submit(lambda: checked(copied(folder / "whole"), everything))}
        for n, m in enumerate(MUTATIONS):
            begun[m.name] = pool.submit(
                lambda m=m, n=n: checked(mutated(folder / str(n), m), m.tests)  # type: ignore[misc]
            )
        yield begun


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.name)
def test_without_this_rule_the_tests_fail(verdicts: dict[str, Verdict], mutation: Mutation) -> None:
    done = verdicts[mutation.name].result()
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    failed = dict(SUMMARY.findall(done.stdout))
    assert set(failed) == set(mutation.tests), done.stdout
    reasons = failed.values()
    assert all(why.startswith(BY_ASSERTION) or BY_PROBE in why for why in reasons), done.stdout


def test_with_all_rules_the_same_tests_pass(verdicts: dict[str, Verdict]) -> None:
    done = verdicts[""].result()
    assert done.returncode == pytest.ExitCode.OK, done.stdout + done.stderr
