"""`pinpip report` where a company's proxy stands between this machine and what lies outside."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.identities import Cloud, cloud_behind_a_proxy
from tests.support.places import ROOT
from tests.support.report_tables import BY_HAND, GEOS, PINS, USERS, on_kafka

DEAD = "http://127.0.0.1:1"
OUTSIDE = "tables.example"
NAMES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY")


@pytest.fixture(scope="module")
def lake() -> Iterator[tuple[Cloud, str]]:
    """Start a cloud that is also a proxy, and write a lake to it."""
    with cloud_behind_a_proxy() as cloud:
        root = f"s3://{cloud.direct.bucket()}"
        options = cloud.direct.storage_options()
        for name, rows in (("pin", PINS), ("geo", GEOS), ("user", USERS)):
            # Delta has no type for the stranger column, which is null throughout.
            frame = on_kafka(name, rows, 200).drop("_rescued").collect()
            frame.write_delta(f"{root}/{name}", storage_options=options)
        yield cloud, root


def reported(
    root: str, endpoint: str, folder: Path, proxy: str, spared: str = ""
) -> subprocess.CompletedProcess[str]:
    """`pinpip report 4` by a user whose company has a proxy."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    keys = {"access_key_id": "KEY1", "secret_access_key": "secret"}
    config |= {"lake": {"root": root}, "aws": {"endpoint_url": endpoint, **keys}}
    config["kafka"] = {"bootstrap.servers": "127.0.0.1:1"}  # a report asks no broker
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    kept |= dict.fromkeys(NAMES, proxy) | {"NO_PROXY": spared, "no_proxy": spared}
    command = [sys.executable, "-m", "pinpip", "report", "4", "--json"]
    return subprocess.run(
        command, cwd=folder, env=kept, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_report_over_loopback_asks_no_proxy(
    lake: tuple[Cloud, str], tmp_path: Path, host: str
) -> None:
    cloud, root = lake
    endpoint = cloud.endpoint.replace("127.0.0.1", host)
    done = reported(root, endpoint, tmp_path, DEAD)
    assert done.returncode == 0, done.stderr
    [found] = json.loads(done.stdout)
    columns, rows = BY_HAND[found["title"]]
    assert found["rows"] == [dict(zip(columns, row, strict=True)) for row in rows]


def test_a_report_over_a_store_outside_asks_the_proxy(
    lake: tuple[Cloud, str], tmp_path: Path
) -> None:
    cloud, root = lake
    cloud.calls.clear()
    done = reported(root, f"http://{OUTSIDE}", tmp_path, cloud.endpoint)
    assert done.returncode == 0, done.stderr
    libraries = ("boto3", "delta-rs", "polars")
    assert {(c.library, c.host) for c in cloud.calls} == {(name, OUTSIDE) for name in libraries}


def test_a_report_over_a_store_in_no_proxy_does_not_ask_the_proxy(
    lake: tuple[Cloud, str], tmp_path: Path
) -> None:
    cloud, root = lake
    cloud.calls.clear()
    done = reported(root, f"http://{OUTSIDE}", tmp_path, cloud.endpoint, OUTSIDE)
    assert done.returncode == 1
    assert OUTSIDE in done.stderr
    assert cloud.calls == []
