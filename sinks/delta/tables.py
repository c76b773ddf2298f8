"""Where the two Delta tables of a pipeline are."""

from dataclasses import dataclass

from core.batch import Coordinates
from core.protocols import Options


@dataclass(frozen=True)
class Tables:
    """A pipeline's clean table and its quarantine, and the app id of its positions.

    `folder`: where the data files of this incarnation lie (see `sinks.delta.lives`).
    """

    clean: str
    quarantine: str
    options: Options
    coordinates: Coordinates
    app: str
    folder: str = ""
