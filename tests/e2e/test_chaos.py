"""The short run of `pinpip chaos`: a round on S3, proved afterwards."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.support.places import ROOT
from tests.support.processes import environment

pytestmark = [pytest.mark.real_broker, pytest.mark.timeout(900)]
SECONDS, RATE = 10, 1000


def output(command: list[str], folder: Path) -> str:
    """Return the command's output; when it times out, end its consumers, broker and S3 with it."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=environment(),
    )
    try:
        said, complaint = process.communicate()
    finally:
        process.terminate()
        process.wait()
    assert process.returncode == 0, said + complaint
    return said


def test_nothing_is_lost_doubled_or_changed_whatever_breaks(tmp_path: Path) -> None:
    tree = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    tree["batching"] |= {"max_wait": 0.3}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    command = [sys.executable, "-m", "pinpip", "chaos", "pin", "--seed", "11", "--lake", "s3"]
    command += ["--seconds", str(SECONDS), "--rate", str(RATE), "--consumers", "2", "--json"]
    [played] = json.loads(output(command, tmp_path))
    assert (played["lost"], played["doubled"], played["differences"]) == (0, 0, [])
    assert played["records"] >= SECONDS * RATE
    assert played["counts"]["kills"] >= 2
    assert played["counts"].get("broker restarts", 0) + played["counts"].get("broker kills", 0)
    assert sum(played["storage"].values()) > 0
