"""Run Spark Structured Streaming, local[2], into Delta; ready when its session is up.

`PINPIP_SPARK_JARS` is the folder of the Kafka and Delta jars. Rows are cleaned by Spark SQL.
"""

import os
import sys
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as f

from benchmarks.contestants import BATCH, Task, note, task

FIELDS = (
    "index bigint, unique_id string, title string, description string, poster_name string,"
    " follower_count string, tag_list string, is_image_or_video string, image_src string,"
    " save_location string, category string"
)
PLACEHOLDERS = {
    "title": ("No Title Data Available", ""),
    "description": (
        "No description available Story format",
        "No description available",
        "Untitled",
    ),
    "poster_name": ("User Info Error",),
    "follower_count": ("User Info Error",),
    "tag_list": ("N,o, ,T,a,g,s, ,A,v,a,i,l,a,b,l,e",),
    "image_src": ("Image src error.", "Image src error"),
}
_COUNT = r"^([0-9.,]+)([kKmMbB]?)$"
_CONF = {
    "spark.ui.enabled": "false",
    "spark.driver.memory": "2g",
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    "spark.databricks.delta.snapshotPartitions": "2",
}


def session() -> SparkSession:
    """Start a session on two cores, tuned for Delta on a small machine."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    jars = sorted(str(jar) for jar in Path(os.environ["PINPIP_SPARK_JARS"]).glob("*.jar"))
    builder = SparkSession.builder.master("local[2]").config("spark.jars", ",".join(jars))
    for name, value in _CONF.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    spark.range(1000).selectExpr("sum(id)").collect()  # the first job starts the executor
    return spark


def clean(messages: DataFrame) -> DataFrame:
    """Clean the rows of Kafka."""
    own = f.from_json(f.col("value").cast("string"), FIELDS).alias("pin")
    pin = messages.select(own, "partition", "offset").select("pin.*", "partition", "offset")
    for name, gone in PLACEHOLDERS.items():
        pin = pin.withColumn(name, f.when(~f.col(name).isin(*gone), f.col(name)))
    return pin.select(
        f.col("index").alias("ind"),
        "unique_id",
        "title",
        "description",
        _followers(f.col("follower_count")).alias("follower_count"),
        "poster_name",
        "tag_list",
        "is_image_or_video",
        "image_src",
        f.regexp_replace("save_location", "^Local save in ", "").alias("save_location"),
        "category",
        f.col("partition").alias("_partition"),
        f.col("offset").alias("_offset"),
    )


def _followers(text: Column) -> Column:
    digits = f.regexp_replace(f.regexp_extract(text, _COUNT, 1), ",", "").cast("decimal(28,9)")
    unit = f.lower(f.regexp_extract(text, _COUNT, 2))
    scale = f.when(unit == "k", 1e3).when(unit == "m", 1e6).when(unit == "b", 1e9).otherwise(1)
    return (digits * scale).cast("bigint")


def run(given: Task) -> None:
    """Consume until killed."""
    spark = session()
    note(given.folder, "ready")
    note(given.folder, "first")  # the first read is not observable
    source = {
        "kafka.bootstrap.servers": given.bootstrap,
        "subscribe": given.topic,
        "startingOffsets": "earliest",
        "maxOffsetsPerTrigger": str(4 * BATCH),
    }
    messages = spark.readStream.format("kafka").options(**source).load()
    writer = clean(messages).writeStream.format("delta")
    state = str(given.folder / "checkpoint")
    writer.option("checkpointLocation", state).start(given.table).awaitTermination()


if __name__ == "__main__":
    run(task())
