"""`batching.memory` is kept, whatever the size of the records: measured on real processes."""

from pathlib import Path

import pytest

from benchmarks.contest import BenchmarkSetup
from benchmarks.memory import FACTOR, Case, memory
from tests.support.brokers import Broker

NOISE = 0.2  # of the budget: a busy machine encodes late

pytestmark = pytest.mark.real_broker  # the mock cluster keeps 5 MB of a partition


@pytest.mark.parametrize("case", [Case(1_000_000), Case(100_000, pipelines=2)], ids=str)
def test_large_records_keep_within_the_budget(case: Case, broker: Broker, tmp_path: Path) -> None:
    setup = BenchmarkSetup(broker.bootstrap, None, tmp_path)
    [row] = memory(setup, [case], megabytes=400, budget="256MiB").rows
    assert row["of memory"] < FACTOR + NOISE, row
