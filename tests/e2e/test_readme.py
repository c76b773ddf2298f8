"""Every command of the README is run, in its order, by somebody who follows it."""

import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import pytest
import requests

from core.config_file import STATE_FILE
from pinpip import configfile
from pinpip.local.java import free_port
from producers import emulator
from tests.support.database import fill
from tests.support.places import ROOT
from tests.support.processes import Process, count, environment, stop, until
from tests.support.readme import commands

PORT = "8082"


class Reader:
    """A reader with a few terminals, in a folder with config.yaml and rows."""

    def __init__(self, folder: Path, terminals: ExitStack) -> None:
        self.folder = folder
        self.port = str(free_port())
        self._terminals = terminals
        example = (ROOT / "config.yaml").read_text(encoding="utf-8")
        (folder / "config.yaml").write_text(self._own(example), encoding="utf-8")
        rows = [event.rows["pin"] for event in islice(emulator.events(2), 20)]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "rows.ndjson").write_text(lines, encoding="utf-8")
        fill(folder / "pins.db", 20)

    def follow(self, words: Sequence[str]) -> Process | None:
        """Run one command to its end, or start it when it only ends by Ctrl-C."""
        match words:
            case ["make", target]:
                assert target in _targets()
            case ["curl", *arguments]:
                said = self._run(["curl", "--fail-with-body", *map(self._own, arguments)])
                assert "offset" in said or "SequenceNumber" in said
            case ["pinpip", "local", "up"]:
                return self._start(words)
            case ["pinpip", "consume", *_]:
                return self._start(words)
            case ["pinpip", "ui"]:
                self._look([*words, "--port", str(free_port())])
            case ["pinpip", *arguments]:
                self._run([sys.executable, "-m", "pinpip", *map(self._own, arguments)])
            case _:
                pytest.fail(f"the README has a command that no test runs: {shlex.join(words)}")
        return None

    def is_up(self) -> bool:
        """Whether the embedded stack and its gateway answer."""
        if not (self.folder / STATE_FILE).exists():
            return False
        return responds(f"http://127.0.0.1:{self.port}/health")

    def rows(self, table: str) -> int:
        """Rows of a clean table."""
        return count(str(self.folder / ".pinpip" / "lake" / table))

    def log(self) -> str:
        """Return the log of the commands in the other terminals."""
        return (self.folder / "terminals.log").read_text(encoding="utf-8")

    def _look(self, words: Sequence[str]) -> None:
        """Serve the status page until it was seen."""
        process, url = self._start(words), f"http://127.0.0.1:{words[-1]}/"
        until(lambda: responds(url), "the status page")
        assert "streaming_pin" in requests.get(url, timeout=10).text
        assert stop(process) == 0, self.log()

    def _own(self, text: str) -> str:
        return text.replace(PORT, self.port)

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )
        assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _start(self, words: Sequence[str]) -> Process:
        out = self._terminals.enter_context((self.folder / "terminals.log").open("ab"))
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=self.folder,
            env=environment(),
            stdout=out,
            stderr=out,
        )
        self._terminals.enter_context(process)
        self._terminals.callback(process.kill)
        return process


def responds(url: str) -> bool:
    """Whether a GET of `url` succeeds."""
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False


def _targets() -> list[str]:
    """Return the targets that `make help` lists."""
    said = subprocess.run(
        ["make", "help"],  # noqa: S607  # as the README says it
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [line.split()[1] for line in said.stdout.splitlines() if line.startswith("  make ")]


def test_the_readme_works_from_its_first_command_to_its_last(tmp_path: Path) -> None:
    started: list[Process] = []
    with ExitStack() as terminals:
        reader = Reader(tmp_path, terminals)
        for words in commands():
            process = reader.follow(words)
            if process is None:
                continue
            started.append(process)
            if words[1] == "local":
                until(reader.is_up, "the embedded stack")
            else:
                tables = configfile.load(tmp_path / "config.yaml", {}).pipelines
                until(lambda names=tables: all(map(reader.rows, names)), "rows in every table")  # type: ignore[misc]
        stack, consumer = started
        assert stop(consumer) == 0, reader.log()
        assert reader.rows("pin_again") > 0
        assert stop(stack, within=40) == 0, reader.log()


def test_make_help_lists_every_target_that_the_readme_names() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = {word for word in ("demo", "test", "setup", "bench") if f"make {word}" in text}
    assert named == {"demo", "test", "setup", "bench"}
    assert named | {"lint", "types", "help"} <= set(_targets())
