"""A run of many commits under upkeep: bounded files, a bounded log, flat memory."""

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from benchmarks.upkeep_run import upkeep_run

STEP = timedelta(hours=6)
COMMITS, BETWEEN = 480, 80  # turns are at most so many commits apart
DAY = timedelta(days=1)
SLACK = 40  # files and entries of the upkeep itself
CHECKPOINT = 200  # commits from one to the next, and until the one before is replaced
GROWTH = 25  # MB


@pytest.mark.slow
def test_many_commits_under_upkeep_end_with_few_files_a_short_log_and_flat_memory(
    tmp_path: Path,
) -> None:
    found = upkeep_run(tmp_path, commits=COMMITS, step=STEP, samples=COMMITS // BETWEEN)
    rows = pl.DataFrame(found.rows)
    assert rows["commits"].to_list() == [BETWEEN * n for n in range(1, 7)]
    assert rows["files of the table"].max() < SLACK  # type: ignore[operator]
    assert rows["files on disk"].max() < 8 * DAY / STEP + BETWEEN + SLACK  # type: ignore[operator]
    assert rows["log entries"].max() < 30 * DAY / STEP + CHECKPOINT + SLACK  # type: ignore[operator]
    assert rows["writer MB"][-1] < rows["writer MB"][0] + GROWTH
    table = pl.read_delta(str(tmp_path / "pin"))
    assert table.height == table["_offset"].n_unique() == 200 * COMMITS
