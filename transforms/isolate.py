"""Find the rows that a transform fails on, by halving.

A transform is row-wise: the outcome of a record depends on that record alone. So a frame fails if
and only if it has a row that fails by itself, and the outcome of a row is the same in every batch.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import polars as pl

from core.batch import Coordinates
from core.errors import TooManyRejects
from transforms.record import MAX_DETAIL, Reason
from transforms.refusals import broken, words

Run = Callable[[pl.DataFrame], pl.DataFrame]

# Faults of the program or of the machine: no record causes them, and a retry may pass.
NO_RECORDS_FAULT = (MemoryError, OSError, ImportError, SystemExit)
FAULTS = (Exception, pl.exceptions.PanicException)  # a panic of polars is no Exception


class TransformFailed(Exception):
    """A transform raised an exception; `str` gives its type and its words."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(words(error))


class MostRejects(NamedTuple):
    """The share of rejects that stops a consumer, over so many records."""

    ratio: float
    window: int


def isolate(
    name: str, run: Run, rows: pl.DataFrame, coordinates: Coordinates, limit: MostRejects | None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return what the rows become without those that fail, and those; see `_Isolation`.

    Raises ConfigError when `run` fails without rows, as a transform that lost a file: then no
    record is the cause.
    """
    try:
        nothing = run(rows.clear())
    except TransformFailed as error:
        raise broken(name, str(error)) from error
    found = _Isolation(name, run, coordinates, limit, len(rows))
    found.halve(rows)
    return pl.concat([nothing, *found.clean]), found.failed


def joined(decoded: pl.DataFrame, failed: pl.DataFrame, payloads: pl.DataFrame) -> pl.DataFrame:
    """Return the decoder's rejects and the `failed` rows as rejects, in the order of `payloads`."""
    own, columns = failed.columns[:-2], decoded.columns
    values = payloads.select(columns[:-2])
    late = values.join(failed, on=own, how="inner", maintain_order="left").select(columns)
    everything = pl.concat([decoded, late])
    order = values.select(own).join(everything, on=own, how="inner", maintain_order="left")
    return order.select(columns)


@dataclass
class _Isolation:
    """Halve the frames that `run` fails on; collect what the others become.

    `clean`: in input order. `failed`: the coordinates of each row that fails by itself, with
    `reason` and `detail`. For k failures among n rows `run` is called at most 2 k log2(n) times,
    and never more than 2 n times. A frame of at least `limit.window` rows is given up as soon as
    its failures exceed the limit, whatever the other rows are: TooManyRejects.
    """

    name: str
    run: Run
    coordinates: Coordinates
    limit: MostRejects | None
    records: int
    clean: list[pl.DataFrame] = field(default_factory=list)
    _failed: list[tuple[Any, ...]] = field(default_factory=list)
    _judged: int = 0

    @property
    def failed(self) -> pl.DataFrame:
        """The rows that fail by themselves."""
        own = {name: self.coordinates.metadata[name] for name in self.coordinates.identity}
        schema = own | {"reason": pl.String(), "detail": pl.String()}
        return pl.DataFrame(self._failed, schema=schema, orient="row")

    def halve(self, rows: pl.DataFrame) -> None:
        """Judge the rows of a frame that failed."""
        half = (len(rows) + 1) // 2
        for part in (rows[:half], rows[half:]):
            try:
                self.clean.append(self.run(part))
                self._judged += len(part)
            except TransformFailed as error:
                if len(part) > 1:
                    self.halve(part)
                else:
                    self._fail(part, str(error))

    def _fail(self, row: pl.DataFrame, said: str) -> None:
        detail = said.encode("utf-8", "backslashreplace").decode()[:MAX_DETAIL]
        at = row.select(self.coordinates.identity).row(0)
        self._failed.append((*at, Reason.TRANSFORM_FAILED.value, detail))
        self._judged += 1
        self._stop_beyond_limit(detail)

    def _stop_beyond_limit(self, detail: str) -> None:
        if self.limit is None or self.records < self.limit.window:
            return
        bad = len(self._failed)
        if bad > self.limit.ratio * max(self.limit.window, self._judged):
            raise TooManyRejects(
                f"transform {self.name} failed on {bad:,} of the first {self._judged:,} of"
                f" {self.records:,} records: {detail}",
                "did the producers change their records? Nothing of this batch is written. Fix the"
                " transform, or let the rejects through: pinpip consume PIPELINE --accept-rejects",
            )
