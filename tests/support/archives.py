"""Pipelines that write an archive beside their table."""

from pathlib import Path

import polars as pl
import yaml

from tests.support.brokers import Broker
from tests.support.processes import Home, kafka_home


def archived(folder: Path, broker: Broker, topic: str) -> Home:
    """Make a home whose pipeline writes an archive and a table."""
    home = kafka_home(folder, broker, topic)
    archive = {"parquet": str(folder / "archive"), "stage": "raw", "flush": {"seconds": 0}}
    change_pipeline(home, sinks=[{"delta": "user"}, archive])
    return home


def change_pipeline(home: Home, **pipeline: object) -> None:
    """Write these keys into the pipeline's configuration."""
    tree = yaml.safe_load(home.config_path.read_text(encoding="utf-8"))
    tree["pipelines"]["user"] |= pipeline
    home.config_path.write_text(yaml.safe_dump(tree), encoding="utf-8")


def kept(home: Home) -> int:
    """Count the records in the archive."""
    found = list((home.folder / "archive").rglob("*.parquet"))
    return sum(pl.read_parquet(path, columns=["_offset"]).height for path in found)
