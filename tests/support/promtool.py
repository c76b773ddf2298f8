"""Prometheus's own tool, where it is installed."""

import shutil
import subprocess
from pathlib import Path

import pytest


def promtool(*arguments: str, folder: Path) -> tuple[int, str]:
    """Return its exit code and what it says; skip the test where there is none."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("needs promtool (Debian's package prometheus)")
    command = [program, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr
