"""What the gateway does and what its document says, compared by schemathesis."""

import os
import subprocess
import sys

import pytest

from tests.support import brokers
from tests.support.brokers import Broker
from tests.support.places import ROOT


@pytest.mark.timeout(900)
def test_the_gateway_does_what_its_document_says_and_nothing_else(broker: Broker) -> None:
    options = ["--examples", "200", "--seed", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.contracts.openapi_contract", *options],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), brokers.GIVEN: broker.bootstrap},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    requests, failures, _ = done.stdout.splitlines()[-1].split(", ")
    assert int(requests.removesuffix(" requests")) > 300
    assert failures == "0 failures"
