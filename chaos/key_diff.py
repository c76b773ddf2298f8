"""Compare the numbers that the producer sent with the keys that tables and archives hold.

The topic is not read: the broker's acknowledgements say what must be there.
"""

from collections.abc import Collection
from dataclasses import dataclass

import polars as pl

from core.batch import KAFKA
from core.paths import to_delta_rs
from core.protocols import Options

_MAX_SHOWN = 5


@dataclass(frozen=True)
class KeyDifference:
    """Numbers that are missing, stored more than once, or stored without having been sent."""

    lost: tuple[int, ...] = ()
    doubled: tuple[int, ...] = ()
    foreign: tuple[int, ...] = ()

    def messages(self, place: str) -> list[str]:
        """Return one sentence per kind of difference; none when nothing differs."""
        kinds = (("lost", self.lost), ("doubled", self.doubled), ("foreign", self.foreign))
        return [
            f"{place}: {len(numbers):,} numbers {kind}: "
            f"{', '.join(map(str, numbers[:_MAX_SHOWN]))} …"
            for kind, numbers in kinds
            if numbers
        ]


def table_keys(uris: Collection[str], options: Options) -> pl.Series:
    """Return the records' keys in several Delta tables, concatenated."""
    frames = [
        pl.scan_delta(to_delta_rs(uri), storage_options=options()).select(KAFKA.key) for uri in uris
    ]
    return pl.concat(frames).collect().to_series()


def archive_keys(uri: str, topic: str, options: Options) -> pl.Series:
    """Return the records' keys in an archive of Parquet objects."""
    objects = f"{uri.rstrip('/')}/{topic}/**/*.parquet"
    held = pl.scan_parquet(objects, storage_options=options() or None, hive_partitioning=False)
    return held.select(KAFKA.key).collect().to_series()


def compare(keys: pl.Series, wanted: Collection[int], allowed: Collection[int]) -> KeyDifference:
    """Compare `keys` (numbers as text) with the numbers sent.

    Each number of `wanted` must be there once, each of `allowed` at most once, and no other. A
    key that is not a number is foreign and reported as -1.
    """
    numbers = keys.cast(pl.Int64, strict=False).fill_null(-1)
    held = set(numbers)
    return KeyDifference(
        lost=tuple(sorted(set(wanted) - held)),
        doubled=tuple(sorted(numbers.filter(numbers.is_duplicated()).unique())),
        foreign=tuple(sorted(held - set(wanted) - set(allowed))),
    )
