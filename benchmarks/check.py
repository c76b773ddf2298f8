"""Check a contestant's table: every record once, cleaned as pinpip cleans it."""

import polars as pl

from benchmarks.topic import Topic, pins
from core.batch import KAFKA, TIMESTAMP, VALUE, Records
from transforms import pin
from transforms.process import processor

SAMPLE = 997  # a prime: the sample covers every partition
_COORDINATES = ["_partition", "_offset"]


def faults(table: str, topic: Topic, options: dict[str, str] | None = None) -> list[str]:
    """Return the faults of the table as sentences; none when it holds the topic's pins once."""
    rows = pl.scan_delta(table, storage_options=options)
    return [*misplaced(rows, topic), *miscleaned(rows, topic)]


def misplaced(table: pl.LazyFrame, topic: Topic) -> list[str]:
    """Return the partitions whose offsets are not 0 to the end, each once."""
    offset = pl.col("_offset")
    found = (
        table.group_by(pl.col("_partition").cast(pl.Int32))
        .agg(pl.len(), offset.n_unique().alias("distinct"), offset.min(), offset.max().alias("max"))
        .collect()
    )
    held = {number: tuple(rest) for number, *rest in found.rows()}
    faulty = []
    for number in range(topic.partitions):
        rows = len(range(number, topic.records, topic.partitions))
        own = held.pop(number, (0, 0, None, None))
        if rows and own != (rows, rows, 0, rows - 1):
            found_rows = "{} rows of {} offsets from {} to {}".format(*own)
            faulty.append(f"partition {number} holds {found_rows}, not {rows} once each")
    return faulty + [f"partition {number} does not exist" for number in held]


def miscleaned(table: pl.LazyFrame, topic: Topic) -> list[str]:
    """Return the columns of sampled rows that differ from the result of pinpip's transform."""
    wanted = expected(topic)
    names = [name for name in wanted.columns if name not in _COORDINATES]
    coordinates = [pl.col("_partition").cast(pl.Int32), pl.col("_offset").cast(pl.Int64)]
    rows = table.select(*coordinates, *names)
    found = (
        wanted.lazy().select(_COORDINATES).join(rows, on=_COORDINATES).collect().sort(_COORDINATES)
    )
    if len(found) != len(wanted):
        return [f"{len(found)} rows of a sample of {len(wanted)} are there"]
    return [
        f"column {name} differs from pinpip's"
        for name in names
        if not found[name].equals(wanted[name], null_equal=True)
    ]


def expected(topic: Topic, every: int = SAMPLE) -> pl.DataFrame:
    """Return coordinates and clean columns of each `every`-th pin of the topic, in order."""
    numbers, pool = range(0, topic.records, every), pins()
    frame = pl.DataFrame(
        {
            "_topic": topic.name,
            "_partition": pl.Series([n % topic.partitions for n in numbers], dtype=pl.Int32),
            "_offset": pl.Series([n // topic.partitions for n in numbers], dtype=pl.Int64),
            "_key": pl.Series([None] * len(numbers), dtype=pl.String),
            "_timestamp": pl.Series([None] * len(numbers), dtype=TIMESTAMP),
            VALUE: [pool[n % len(pool)] for n in numbers],
        }
    )
    process = processor(pin.SCHEMA, pin.clean, KAFKA, keep_values=False)
    clean = process(Records(frame, {}, KAFKA)).clean
    names = [name for name in clean.columns if not name.startswith("_")]
    return clean.select(*_COORDINATES, *names).sort(_COORDINATES)
