"""Records that an earlier release decoded in another way.

What it wrote stays in the tables: a record that is stored as it decoded it is no difference.
"""

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from core.batch import Batch


def as_stored(now: Batch, earlier: Batch, clean: pl.DataFrame, rejected: pl.DataFrame) -> Batch:
    """Return `now` with the outcomes of `earlier` for the records that are stored so.

    `clean` and `rejected`: the stored rows. A record is stored so if it is in the quarantine and
    `earlier` alone rejects it, or if its row is the one that `earlier` makes. The outcome of a
    record is taken whole from one of the batches: both tables must show the same.
    """
    own = now.coordinates.identity
    late = earlier.rejected.join(now.rejected, on=own, how="anti")
    quarantined = late.join(rejected, on=own, how="semi").select(own)
    old = pl.concat([quarantined, _equal(earlier.clean, clean, own)])
    return replace(
        now,
        clean=_mixed(now.clean, earlier.clean, old, own),
        rejected=_mixed(now.rejected, earlier.rejected, old, own),
    )


def _equal(made: pl.DataFrame, stored: pl.DataFrame, own: Sequence[str]) -> pl.DataFrame:
    """Return the coordinates of the rows of `made` that are stored just so, and once."""
    once = stored.unique(own, keep="none")
    have = once.join(made, on=own, how="semi").sort(own)
    want = made.join(once, on=own, how="semi").sort(own)
    if have.is_empty() or set(want.columns) - set(have.columns):
        return want.select(own).clear()
    have = have.select(want.columns).cast(want.schema)
    same = pl.DataFrame([want[name].eq_missing(have[name]) for name in want.columns])
    return want.filter(same.select(pl.all_horizontal(pl.all())).to_series()).select(own)


def _mixed(
    now: pl.DataFrame, earlier: pl.DataFrame, old: pl.DataFrame, own: Sequence[str]
) -> pl.DataFrame:
    kept = now.join(old, on=own, how="anti", maintain_order="left")
    taken = earlier.join(old, on=own, how="semi", maintain_order="left")
    return pl.concat([kept, taken])
