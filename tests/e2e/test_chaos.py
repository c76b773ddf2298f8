"""Short rounds of `pinpip chaos`, proved afterwards: on one broker and on a cluster of them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from chaos.schedule import CLUSTER
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


def played(folder: Path, seed: int, seconds: int, *options: str) -> dict[str, Any]:
    """Play a round of two consumers on S3 and return its row; nothing is lost, doubled, changed."""
    tree = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    tree["batching"] |= {"max_wait": 0.3}
    (folder / "config.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    command = [sys.executable, "-m", "pinpip", "chaos", "pin", "--seed", str(seed), "--lake", "s3"]
    command += ["--seconds", str(seconds), "--rate", str(RATE), "--consumers", "2", "--json"]
    row: dict[str, Any]
    [row] = json.loads(output([*command, *options], folder))
    assert (row["lost"], row["doubled"], row["differences"]) == (0, 0, [])
    assert row["records"] >= seconds * RATE
    return row


def test_nothing_is_lost_doubled_or_changed_whatever_breaks(tmp_path: Path) -> None:
    row = played(tmp_path, 11, SECONDS)
    assert row["counts"]["kills"] >= 2
    assert row["counts"].get("broker restarts", 0) + row["counts"].get("broker kills", 0)
    assert sum(row["storage"].values()) > 0


def test_nothing_is_lost_doubled_or_changed_while_a_cluster_of_brokers_is_broken(
    tmp_path: Path,
) -> None:
    row = played(tmp_path, 7, 40, "--brokers", "3")
    assert {f"{kind}s" for kind in CLUSTER} <= set(row["counts"])
    assert row["gateway"]["acknowledged"] > 1000
    assert row["counts"]["kills"] >= 2
