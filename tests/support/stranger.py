"""Somebody who has the wheel and an empty folder, and follows the README."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from pinpip.local.java import free_port
from tests.support.processes import Process, count

PROGRAM = """#!/bin/sh
exec {python} -P -c 'import sys; from pinpip.cli import main; sys.argv[0] = "pinpip"; main()' "$@"
"""


class Stranger:
    """Somebody with an empty folder and the wheel installed, and nothing else of pinpip."""

    def __init__(self, folder: Path, site: Path) -> None:
        self.folder = folder / "empty"
        self.folder.mkdir()
        program = folder / "bin/pinpip"
        program.parent.mkdir()
        program.write_text(PROGRAM.format(python=sys.executable), encoding="utf-8")
        program.chmod(0o755)
        self.port = free_port()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PINPIP_")}
        self._environment = kept | {
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(site),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            # The only things that are not the README's: a port that nobody else has.
            "PINPIP_GATEWAY__PORT": str(self.port),
            "PINPIP_PRODUCER__GATEWAY_URL": f"http://127.0.0.1:{self.port}/test",
        }

    def type(self, line: str) -> str:
        """Run a command line to its end and return its output."""
        done = subprocess.run(
            ["sh", "-c", line],  # noqa: S607
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    @contextmanager
    def terminal(self, line: str) -> Iterator[Process]:
        """Run a command line in a second terminal while the block runs."""
        command = shlex.split(f"exec {line}")
        with subprocess.Popen(
            ["sh", "-c", shlex.join(command)],  # noqa: S607
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.DEVNULL,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def is_up(self) -> bool:
        """Whether the gateway of the embedded stack responds."""
        try:
            return requests.get(f"http://127.0.0.1:{self.port}/ready", timeout=2).ok
        except requests.RequestException:
            return False

    def rows(self, table: str) -> int:
        """Rows of a table."""
        return count(str(self.folder / ".pinpip/lake" / table))
