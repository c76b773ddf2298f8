"""Read Delta tables on local Spark, and write the rows of each as an Arrow file: `make spark`.

Runs in Spark's own environment. Arguments: folders that have a table each; `rows.arrow` is written
into each.
"""

import sys
from pathlib import Path

import pyarrow as pa

from benchmarks.contestants.spark import session


def main(folders: list[str]) -> None:
    """Write the rows of each table."""
    spark = session()
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    for folder in map(Path, folders):
        rows = spark.read.format("delta").load(str(folder / "table")).toArrow()
        with (
            pa.OSFile(str(folder / "rows.arrow"), "wb") as file,
            pa.ipc.new_file(file, rows.schema) as out,
        ):
            out.write_table(rows)


if __name__ == "__main__":
    main(sys.argv[1:])
