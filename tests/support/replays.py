"""Replays in place by the command: two transforms, runs that are killed, and what must come out."""

import json
import signal
import subprocess
import sys

from tests.support.archives import change_pipeline
from tests.support.processes import Home, assert_same_tables, environment, version
from tests.support.waiting import PATIENCE

YESTERDAY = """
import polars as pl

from transforms import user


def clean(rows):
    # Every 1,000th is refused, as others are by the transform of today.
    return user.clean(rows).with_columns(
        ind=pl.col("ind") + pl.when(pl.col("ind") % 1000 == 9).then(pl.lit("x"))
        .otherwise(pl.lit("0")).cast(pl.Int64)
    )
"""
FIXED = """
import polars as pl

from transforms import user


def clean(rows):
    kept = rows.filter(pl.col("ind") % 10 != 3)
    made = user.clean(kept).with_columns(user_name=pl.col("user_name").str.to_uppercase())
    # Every 1,000th is refused now.
    return made.with_columns(
        ind=pl.col("ind") + pl.when(pl.col("ind") % 1000 == 7).then(pl.lit("x"))
        .otherwise(pl.lit("0")).cast(pl.Int64)
    )
"""
# The command, killed (-9) after the clean table's entry and before its quarantine's.
BETWEEN = """
import os
import signal
import sys
from functools import partial

from pinpip import cli, replacing


def reached(step):
    if step == "clean":
        os.kill(os.getpid(), signal.SIGKILL)


replacing.swap = partial(replacing.swap, reached=reached)
cli.main()
"""


def transform(home: Home, module: str, text: str) -> None:
    """Give the pipeline a transform."""
    (home.folder / f"{module}.py").write_text(text, encoding="utf-8")
    change_pipeline(home, transform=f"{module}.py:clean")


def fix(home: Home) -> None:
    """Give the pipeline the transform of today."""
    transform(home, "fixed", FIXED)


def killed_between(home: Home, *options: str) -> None:
    """Replay in place in a process that is killed (-9) between the entries of both tables."""
    words = ["--config", str(home.config_path), "replay", "user", "--replace", *options]
    done = subprocess.run(
        [sys.executable, "-c", BETWEEN, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        cwd=home.folder,
        env=environment(),
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def the_finding(home: Home) -> str:
    """Return what verify says of a replacement that is not finished: exit code 3, nothing else."""
    [finding] = home.verify()["findings"]
    assert finding["kind"] == "unfinished"
    return str(finding["detail"])


def replaced(home: Home, *options: str) -> dict[str, object]:
    done = home.run("replay", "user", "--replace", "--json", *options)
    assert done.returncode == 0, done.stderr
    [tree] = json.loads(done.stdout)
    return dict(tree)


def versions(home: Home) -> list[int]:
    return [version(home.uri(name)) for name in ("user", "user_quarantine")]


def assert_as_fresh(home: Home, *options: str) -> None:
    """Assert that the live tables are as the transform of today makes them from zero."""
    done = home.run("replay", "user", "--into", "fresh", *options)
    assert done.returncode == 0, done.stderr
    assert_same_tables(home, "user", "fresh")


def assert_rebuilt(home: Home, *options: str) -> None:
    """Assert the same, that verify agrees, and that nothing is staged any more."""
    assert_as_fresh(home, *options)
    told = home.verify("--reread")
    assert (told["findings"], told["unknown"]) == ([], [])
    assert not list((home.folder / "lake").glob("user_replacing_*/*.parquet"))
