"""What today's schema, transform and `where` make of the rows of a quarantine.

A row has all that a consumer decodes: value, key, coordinates and timestamp. It lacks the headers:
where `where` tests one, only the ledger says that today's test took the record.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from audit.snapshot import Snapshot
from core.batch import VALUE, Partition, Records, Stretch
from core.config import Config, Pipeline
from pinpip.pipelines import process_of, where_of
from sinks.delta.target import Tables

FILTERED = "the transform leaves it out"
NOT_TAKEN = "`where` does not take it"
NO_HEADERS = "`where` tests a header, which the quarantine does not have"
WHY = "why"


@dataclass(frozen=True)
class Judged:
    """Each row is in one of these.

    `clean`: as a consumer would write it. `rejected`: again, with today's `reason` and `detail`.
    `left`: coordinates, and in WHY what keeps a row that is neither from leaving the quarantine.
    """

    clean: pl.DataFrame
    rejected: pl.DataFrame
    left: pl.DataFrame


Judge = Callable[[pl.DataFrame], Judged]


def judge_of(config: Config, name: str, tables: Tables) -> Judge:
    """Return the function that judges rows of the quarantine of the pipeline `name`.

    Raises ConfigError for a schema or transform that cannot be loaded.
    """
    pipeline = config.pipeline(name)
    where, c = pipeline.source.where, tables.coordinates
    is_known = pl.lit(value=True)
    if where is not None and where.header_name is not None:
        is_known, pipeline = _tested_alike(pipeline, tables), _without_where(pipeline)
    process = process_of(pipeline, keep_values=False)

    def judge(rows: pl.DataFrame) -> Judged:
        known = rows.filter(is_known)
        batch = process(Records(known.select(*c.metadata, VALUE), {}, c))
        out = batch.clean.clear() if batch.left_out is None else batch.left_out
        told = [frame.select(c.identity) for frame in (batch.clean, batch.rejected, out)]
        left = {
            NO_HEADERS: rows.remove(is_known),
            NOT_TAKEN: out,
            FILTERED: known.join(pl.concat(told), on=c.identity, how="anti"),
        }
        parts = [o.select(*c.identity, pl.lit(w).alias(WHY)) for w, o in left.items()]
        return Judged(batch.clean, batch.rejected, pl.concat(parts))

    return judge


def _without_where(pipeline: Pipeline) -> Pipeline:
    source = pipeline.source.model_copy(update={"where": None})
    return pipeline.model_copy(update={"source": source})


def _tested_alike(pipeline: Pipeline, tables: Tables) -> pl.Expr:
    """Select the rows of commits that are in the log and had the pipeline's test of today."""
    rest = (tables.options, tables.coordinates, tables.app, tables.folder)
    found: dict[Partition, list[Stretch]] = defaultdict(list)
    for _, entry in reversed(Snapshot(tables.clean, "clean", *rest).commits()):
        for r in entry.ranges if entry.where == where_of(pipeline) else ():
            joins = bool(found[r.of]) and found[r.of][-1].end == r.start
            start = found[r.of].pop().start if joins else r.start
            found[r.of].append(Stretch(start, r.end))
    parts = [tables.coordinates.within({p: one}) for p, own in found.items() for one in own]
    return pl.any_horizontal(parts) if parts else pl.lit(value=False)
