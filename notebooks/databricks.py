# Databricks notebook source
# MAGIC %md
# MAGIC # pinpip's tables on Spark
# MAGIC
# MAGIC This notebook reads what pinpip wrote, answers the nine questions of `pinpip report` with
# MAGIC the same SQL files, and keeps current views up to date with a stream.
# MAGIC
# MAGIC | widget | meaning | examples |
# MAGIC |---|---|---|
# MAGIC | `stage` | what to read | `tables`: Delta tables; `clean` or `raw`: a Parquet archive |
# MAGIC | `place` | where it is | `s3://bucket/lake`, `catalog.schema`, `s3://bucket/archive` |
# MAGIC | `topics` | prefix of the archive's topics, the `id` of config.yaml | `demo` |
# MAGIC | `questions` | folder of the SQL files | `../reports/questions` (in a Git folder) |
# MAGIC | `output` | where the stream writes; empty: no stream | `s3://bucket/views` |
# MAGIC
# MAGIC No cell has a secret. The cluster reads S3 by its instance profile, or by an external
# MAGIC location of Unity Catalog. Outside Databricks each widget is an environment variable:
# MAGIC `PINPIP_NOTEBOOK_PLACE`.

# COMMAND ----------

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f

spark = SparkSession.builder.getOrCreate()  # on Databricks this is the notebook's own session
spark.conf.set("spark.sql.session.timeZone", "UTC")  # the year of a timestamp is that in UTC


def setting(name: str, default: str, choices: Sequence[str] = ()) -> str:
    """Return the value of a widget; outside Databricks, that of PINPIP_NOTEBOOK_<NAME>."""
    dbutils = globals().get("dbutils")
    if dbutils is None:
        return os.environ.get(f"PINPIP_NOTEBOOK_{name.upper()}", default)
    if choices:
        dbutils.widgets.dropdown(name, default, choices)
    else:
        dbutils.widgets.text(name, default)
    return str(dbutils.widgets.get(name))


def shown(frame: DataFrame) -> None:
    """Show a frame: as Databricks's table with charts where `display` is there, else as text."""
    display = globals().get("display")
    if display is None:
        frame.show(10, truncate=48)
    else:
        display(frame)


STAGE = setting("stage", "tables", ["tables", "clean", "raw"])
PLACE = setting("place", "s3://my-bucket/lake").rstrip("/")
TOPICS = setting("topics", "demo")
QUESTIONS = Path(setting("questions", "../reports/questions"))
OUTPUT = setting("output", "").rstrip("/")

# COMMAND ----------

# MAGIC %md
# MAGIC ## Read
# MAGIC
# MAGIC Each record type has a table for its Kafka topic and one for its Kinesis stream. Leave out
# MAGIC a table that you do not have. Every table has the columns of its records, and where each
# MAGIC row comes from: `_topic, _partition, _offset` or `_stream, _shard, _sequence,
# MAGIC _subsequence`.

# COMMAND ----------

TABLES = {
    "pin": ["pin", "streaming_pin"],
    "geo": ["geo", "streaming_geo"],
    "user": ["user", "streaming_user"],
}


def table(name: str) -> DataFrame:
    """Read a Delta table: below a path, or of a schema of Unity Catalog."""
    if "/" in PLACE:
        return spark.read.format("delta").load(f"{PLACE}/{name}")
    return spark.read.table(f"{PLACE}.{name}")


def archive(record: str) -> DataFrame:
    """Read the objects of a topic in a Parquet archive of stage `clean` or `raw`."""
    return spark.read.option("recursiveFileLookup", "true").parquet(f"{PLACE}/{TOPICS}.{record}")


def united(parts: Iterable[DataFrame]) -> DataFrame:
    """Return the rows of all parts; a column that a part lacks is null there."""
    first, *others = parts
    for part in others:
        first = first.unionByName(part, allowMissingColumns=True)
    return first


# COMMAND ----------

# MAGIC %md
# MAGIC ### Raw records
# MAGIC
# MAGIC The archive of stage `raw` has the bytes as they came. pinpip's own schema and transform
# MAGIC clean them on the workers, so the rows are those of the tables. For this stage alone,
# MAGIC install pinpip's wheel as a library of the cluster. Rejected records are left out, as they
# MAGIC are in a clean table.

# COMMAND ----------

RECORDS = {  # the columns of a cleaned record, and where it comes from
    "pin": "ind long, category string, poster_name string, follower_count long",
    "geo": "ind long, country string, timestamp timestamp",
    "user": "ind long, user_name string, age long, date_joined timestamp",
}
Batches = Iterator[Any]  # of pyarrow.RecordBatch
ORIGIN = "_topic string, _partition int, _offset long, _key string, _timestamp timestamp"


def cleaned(record: str) -> DataFrame:
    """Clean the raw records of a topic."""
    rows = archive(record).selectExpr(
        "_topic", "_partition", "_offset", "_key", "_timestamp", "_value"
    )
    return rows.mapInArrow(cleaner(record), f"{RECORDS[record]}, {ORIGIN}")


def cleaner(record: str) -> Callable[[Batches], Batches]:
    """Return the function from Arrow batches of raw records to batches of clean rows."""
    names = [column.split()[0] for column in f"{RECORDS[record]}, {ORIGIN}".split(", ")]

    def clean(batches: Batches) -> Batches:
        import polars as pl

        from core.batch import KAFKA, Records
        from transforms.load import load_schema, load_transform
        from transforms.process import processor

        schema = load_schema(f"transforms.{record}:SCHEMA")
        transform = load_transform(f"transforms.{record}:clean")
        process = processor(schema, transform, KAFKA, keep_values=False)
        for batch in batches:
            rows = process(Records(pl.DataFrame(pl.from_arrow(batch)), {}, KAFKA)).clean
            yield from (
                rows.select(names).to_arrow(compat_level=pl.CompatLevel.oldest()).to_batches()
            )

    return clean


# COMMAND ----------

# MAGIC %md
# MAGIC ## The current views
# MAGIC
# MAGIC pinpip keeps every record, also those that were sent twice. The questions are about the
# MAGIC newest row of each key (`ind`): the latest `_timestamp`, then the highest coordinates.

# COMMAND ----------

VIEWS = {
    "pin": ("pin", ["category", "poster_name", "follower_count"]),
    "geo": ("geo", ["country", "timestamp"]),
    "users": ("user", ["user_name", "age", "date_joined"]),
}
ORDER = [
    "_timestamp",
    "_topic",
    "_partition",
    "_offset",
    "_stream",
    "_shard",
    "_sequence",
    "_subsequence",
    "_incarnation",
]


def rows(record: str) -> DataFrame:
    """Read all rows of a record type, from where the widgets say."""
    if STAGE == "raw":
        return cleaned(record)
    return archive(record) if STAGE == "clean" else united(map(table, TABLES[record]))


def newest(rows: DataFrame, columns: Sequence[str]) -> DataFrame:
    """Return the columns of the newest row of each key; works for a stream as well."""
    order = f.struct(*[name for name in ORDER if name in rows.columns])
    row = f.max_by(f.struct(*columns), order).alias("row")
    return rows.groupBy("ind").agg(row).select("ind", "row.*")


for view, (record, columns) in VIEWS.items():
    newest(rows(record), columns).createOrReplaceTempView(view)

shown(
    spark.sql(
        "SELECT 'pin' AS view, COUNT(*) AS keys FROM pin UNION ALL "
        "SELECT 'geo', COUNT(*) FROM geo UNION ALL SELECT 'users', COUNT(*) FROM users"
    )
)

# COMMAND ----------

# MAGIC %md
# MAGIC ## The nine answers
# MAGIC
# MAGIC The SQL is that of `pinpip report`: the files are read, not copied. The comment at the
# MAGIC head of each file is the question and its definitions.

# COMMAND ----------


def answered() -> dict[str, DataFrame]:
    """Run each SQL file over the current views; by the file's name."""
    paths = sorted(QUESTIONS.glob("q*.sql"))
    return {path.stem: spark.sql(path.read_text(encoding="utf-8")) for path in paths}


def told(name: str) -> str:
    """Return the comment at the head of a question's file."""
    lines = (QUESTIONS / f"{name}.sql").read_text(encoding="utf-8").splitlines()
    return "\n".join(line.removeprefix("-- ") for line in lines if line.startswith("-- "))


answers = answered()
for name, answer in answers.items():
    print(told(name))
    shown(answer)

# COMMAND ----------

# MAGIC %md
# MAGIC ## The same as a stream
# MAGIC
# MAGIC With `output` set, a stream reads the Delta tables and keeps a Delta table of each current
# MAGIC view below it. `availableNow` reads what is there and ends: run the notebook as a job,
# MAGIC every few minutes, and each run reads only what is new. For a stream that never ends, use
# MAGIC `.trigger(processingTime="1 minute")` in its place.

# COMMAND ----------


def stream(name: str) -> DataFrame:
    """Read a Delta table as a stream of its new rows."""
    if "/" in PLACE:
        return spark.readStream.format("delta").load(f"{PLACE}/{name}")
    return spark.readStream.table(f"{PLACE}.{name}")


def updated(view: str) -> int:
    """Bring the Delta table of one current view up to date; return how many rows that read."""
    record, columns = VIEWS[view]
    query = (
        newest(united(map(stream, TABLES[record])), columns)
        .writeStream.format("delta")
        .outputMode("complete")
        .option("checkpointLocation", f"{OUTPUT}/_checkpoints/{view}")
        .trigger(availableNow=True)
        .start(f"{OUTPUT}/{view}")
    )
    query.awaitTermination()
    return sum(progress["numInputRows"] for progress in query.recentProgress)


streamed: dict[str, DataFrame] = {}
read: dict[str, int] = {}
if OUTPUT and STAGE == "tables":
    for view in VIEWS:
        read[view] = updated(view)
        spark.read.format("delta").load(f"{OUTPUT}/{view}").createOrReplaceTempView(view)
    print(f"rows read by the stream: {read}")
    streamed = answered()
    for name, answer in streamed.items():
        print(told(name))
        shown(answer)
