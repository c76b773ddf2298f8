"""`pinpip demo`: the whole main job, as a new user sees it."""

import fcntl
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import polars as pl
import pytest
from polars import selectors as cs
from polars.testing import assert_frame_equal

from core.errors import FatalError
from pinpip import configfile
from pinpip.cli.demo_processes import check
from producers import emulator
from producers.malformed import MalformedRecords
from tests.support.commands import the_error
from tests.support.places import ROOT
from tests.support.processes import environment, until
from tests.support.waiting import STOPPING

EVENTS = 600
# A company's machine: a proxy that reaches nothing of this test's.
COMPANY = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), "http://127.0.0.1:1")
COMPANY |= {"HTTPS_PROXY": "http://127.0.0.1:1", "NO_PROXY": "", "no_proxy": ""}
BAD = 0.05
PIPELINES = list(configfile.load(ROOT / "config.yaml", {}).pipelines)


@dataclass(frozen=True)
class Demo:
    """What a demo left behind."""

    folder: Path
    done: subprocess.CompletedProcess[str]

    def table(self, name: str) -> pl.DataFrame:
        """Read a table's data columns, sorted: coordinates differ between the demo's routes."""
        frame = pl.read_delta(str(self.folder / ".pinpip/demo/lake" / name))
        own = frame.select(~cs.starts_with("_"))
        return own.sort(cs.all())


def demo(folder: Path, *arguments: str) -> Demo:
    """Run it in a folder that holds the documented configuration and nothing else."""
    shutil.copy(ROOT / "config.yaml", folder)
    done = subprocess.run(
        [sys.executable, "-m", "pinpip", "demo", "--events", str(EVENTS), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=folder,
        env=environment() | COMPANY,
    )
    return Demo(folder, done)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """With good records only."""
    return demo(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """With bad payloads beside the same good ones."""
    return demo(tmp_path_factory.mktemp("spoilt"), "--bad", str(BAD))


def test_the_demo_proves_that_each_record_is_there_once(plain: Demo) -> None:
    assert plain.done.returncode == 0, plain.done.stderr
    assert f"exactly once: {3 * EVENTS:,} rows" in plain.done.stdout
    assert sum(plain.table(name).height for name in PIPELINES) == 3 * EVENTS


def test_the_demo_with_bad_payloads_succeeds_too(spoilt: Demo) -> None:
    assert spoilt.done.returncode == 0, spoilt.done.stderr
    assert "exactly once" in spoilt.done.stdout


def test_the_closing_hint_works_as_printed_when_the_stack_is_gone(plain: Demo) -> None:
    hint = plain.done.stdout.rpartition("look again: ")[2].strip()
    command = [*shlex.split(hint), "1", "2", "--json"]
    again = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=plain.folder,
        env=environment() | COMPANY,
    )
    assert again.returncode == 0, again.stderr
    assert [tree["number"] for tree in json.loads(again.stdout)] == [1, 2, 2]


@pytest.mark.parametrize("name", PIPELINES)
def test_bad_payloads_leave_the_clean_tables_as_they_were(
    plain: Demo, spoilt: Demo, name: str
) -> None:
    assert_frame_equal(spoilt.table(name), plain.table(name))


@pytest.mark.parametrize("name", PIPELINES)
def test_each_bad_payload_is_in_quarantine_with_its_reason(spoilt: Demo, name: str) -> None:
    rejected = spoilt.table(f"{name}_quarantine")
    assert rejected.height == sent_bad(name)
    assert rejected["reason"].null_count() == 0
    assert not set(rejected["reason"]) & {""}


def test_a_second_demo_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    lock = tmp_path / ".pinpip" / "demo.lock"
    lock.parent.mkdir()
    with lock.open("w") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        second = demo(tmp_path)
    assert the_error(second.done).startswith("error: another demo is running in ")


def test_an_error_of_a_demos_consumer_is_quoted(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    with subprocess.Popen([sys.executable, "-c", "raise SystemExit(1)"]) as ended:
        ended.wait()
    log = tmp_path / "consume-pin.log"
    log.write_text("a line\nerror: the disk is full\nnext:  make room\n", encoding="utf-8")
    with pytest.raises(FatalError, match=r"pin ended with code 1: the disk is full"):
        check(config, {"pin": ended})


@pytest.fixture
def terminal() -> Iterator[int]:
    """Open a terminal for a process."""
    master, terminal = os.openpty()
    yield terminal
    os.close(terminal)
    os.close(master)


@pytest.mark.parametrize("moment", ["local-up.log", "lake/pin/_delta_log"])
def test_ctrl_c_ends_a_demo_and_all_that_it_started(
    tmp_path: Path, terminal: int, moment: str
) -> None:
    assert_ends_at(signal.SIGINT, tmp_path, terminal, moment)


def test_a_closed_terminal_ends_a_demo_and_all_that_it_started(
    tmp_path: Path, terminal: int
) -> None:
    assert_ends_at(signal.SIGHUP, tmp_path, terminal, "local-up.log")


def assert_ends_at(number: int, folder: Path, terminal: int, moment: str) -> None:
    """Send the signal once the file `moment` is there; the demo and its processes must end."""
    shutil.copy(ROOT / "config.yaml", folder)
    command = [sys.executable, "-m", "pinpip", "demo", "--events", "20000"]
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment(),
        stdin=terminal,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        until((folder / ".pinpip" / "demo" / moment).exists, "the demo to get there")
        process.send_signal(number)
        _, said = process.communicate(timeout=STOPPING)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "error:" not in said
    assert not processes_of(folder)


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of the processes that run in `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cwd").resolve() == folder.resolve():
                found.append((process / "cmdline").read_text())
    return found


def sent_bad(name: str) -> int:
    """How many bad payloads the demo sends to a pipeline: routes take turns, Kafka is first."""
    record, text_only = name.removeprefix("streaming_"), name.startswith("streaming_")
    spoiler = MalformedRecords(BAD, seed=1)
    numbered = list(enumerate(islice(emulator.events(1), EVENTS)))[1 if text_only else 0 :: 2]
    return sum(
        len(list(spoiler.beside(number, record, event.rows[record], text_only=text_only)))
        for number, event in numbered
    )
