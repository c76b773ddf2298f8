"""The Delta tables of a pipeline, and what one sink writes into one of them."""

from dataclasses import dataclass
from typing import Literal

import polars as pl

from core.batch import Coordinates
from core.protocols import Options


@dataclass(frozen=True)
class Tables:
    """A pipeline's clean table and its quarantine, and the app id of its positions.

    `folder`: where the data files of this incarnation are (see `sinks.delta.incarnation`).
    """

    clean: str
    quarantine: str
    options: Options
    coordinates: Coordinates
    app: str
    folder: str = ""


@dataclass(frozen=True)
class DeltaTarget:
    """One table: its URI, its rows, and the app id of its positions.

    `stage` names the frame of a batch that becomes rows; `defer` is for how many seconds a
    commit that has no rows may wait for one that has (0: never; a crash re-reads that much); an
    idle loop commits it then.
    `rules` is a digest of what decides on rejects, empty where nobody counts them.
    `where`: which records the pipeline takes, as JSON; None: all.
    `folder` is where the files of this incarnation are (see `sinks.delta.incarnation`); `begins`
    lets it begin in a table that has rows of another.
    """

    uri: str
    options: Options
    schema: pl.Schema
    coordinates: Coordinates
    app: str
    stage: Literal["clean", "rejected"] = "clean"
    defer: float = 0.0
    folder: str = ""
    begins: bool = False
    rules: str = ""
    where: str | None = None
