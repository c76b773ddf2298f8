"""What a Delta sink fills."""

from dataclasses import dataclass
from typing import Literal

import polars as pl

from core.batch import Coordinates
from core.protocols import Options


@dataclass(frozen=True)
class Target:
    """One table: where it is, what it holds, and under which name its positions are kept.

    `stage` names the frame of a batch that becomes rows; `defer` is for how many seconds a
    commit that has no rows may wait for one that has (0: never; a crash re-reads that much).
    `rules` is a digest of what decides on rejects, empty where nobody counts them.
    `folder` is where the files of this incarnation lie (see `lives`); `begins` lets it begin in a
    table that holds rows of another.
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
