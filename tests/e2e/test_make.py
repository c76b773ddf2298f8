"""The Makefile on a machine without a suitable Python."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.places import ROOT

OLD = "sys.version_info = (3, 10)"
BARE = "sys.modules['ensurepip'] = None"


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize("lack", [OLD, BARE, "raise SystemExit('another program')"])
@pytest.mark.parametrize("target", ["setup", "demo", "docs"])
def test_an_unsuitable_python_is_one_line_and_nothing_is_made(
    tmp_path: Path, lack: str, target: str
) -> None:
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "import sys; {lack}; exec(sys.argv[1])" "$2"\n'
    )
    python.chmod(0o755)
    for name in ("Makefile", "requirements.lock", "requirements-docs.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    before = sorted(tmp_path.iterdir())
    done = subprocess.run(
        ["make", target, "PYTHON=./python"],  # noqa: S607  # whichever make is there
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k not in {"MAKEFLAGS", "MAKELEVEL"}},
        capture_output=True,
        text=True,
        check=False,
    )
    [line, verdict] = done.stderr.splitlines()
    assert done.returncode == 2
    assert line.startswith("pinpip needs Python 3.11 or newer with its venv module")
    assert "make PYTHON=python3.12" in line
    assert verdict.startswith("make: ***")
    assert sorted(tmp_path.iterdir()) == before
