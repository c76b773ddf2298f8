"""Without asking the topic: what the producer was told is stored, against what the tables hold."""

from collections.abc import Collection
from dataclasses import dataclass

import polars as pl

from core.batch import KAFKA
from core.protocols import Options

_SHOWN = 5


@dataclass(frozen=True)
class KeyDifference:
    """Numbers that are not there, there more than once, and there without having been sent."""

    lost: tuple[int, ...] = ()
    doubled: tuple[int, ...] = ()
    foreign: tuple[int, ...] = ()

    def said(self, place: str) -> list[str]:
        """One sentence per kind, none when nothing differs."""
        kinds = (("lost", self.lost), ("doubled", self.doubled), ("foreign", self.foreign))
        return [
            f"{place}: {len(numbers):,} numbers {kind}: {', '.join(map(str, numbers[:_SHOWN]))} …"
            for kind, numbers in kinds
            if numbers
        ]


def table_keys(uris: Collection[str], options: Options) -> pl.Series:
    """Return the records' keys in some Delta tables together."""
    frames = [pl.scan_delta(uri, storage_options=options()).select(KAFKA.key) for uri in uris]
    return pl.concat(frames).collect().to_series()


def archive_keys(uri: str, topic: str, options: Options) -> pl.Series:
    """Return the records' keys in an archive of Parquet objects."""
    objects = f"{uri.rstrip('/')}/{topic}/**/*.parquet"
    held = pl.scan_parquet(objects, storage_options=options() or None, hive_partitioning=False)
    return held.select(KAFKA.key).collect().to_series()


def compare(keys: pl.Series, wanted: Collection[int], allowed: Collection[int]) -> KeyDifference:
    """`keys`: texts of numbers; each of `wanted` once, each of `allowed` at most once, no other.

    A key that is no number is foreign, and told as -1.
    """
    numbers = keys.cast(pl.Int64, strict=False).fill_null(-1)
    held = set(numbers)
    return KeyDifference(
        lost=tuple(sorted(set(wanted) - held)),
        doubled=tuple(sorted(numbers.filter(numbers.is_duplicated()).unique())),
        foreign=tuple(sorted(held - set(wanted) - set(allowed))),
    )
