"""polars, DuckDB through Arrow and delta-rs read equal rows after each operation.

`make spark` compares Spark in the same way.
"""

from pathlib import Path

import pytest

from tests.support.brokers import Broker
from tests.support.operations import operations
from tests.support.reading import ENGINES, assert_same, polars


@pytest.mark.slow
def test_three_engines_read_equal_rows_after_each_operation(
    mock_broker: Broker, tmp_path: Path
) -> None:
    for done in operations(tmp_path, mock_broker):
        assert done.tables, done.name
        for table in done.tables:
            wanted = polars(table)
            for engine, read in ENGINES.items():
                assert_same(f"{engine} after {done.name}, {table.name}", read(table), wanted)
