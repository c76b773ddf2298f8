"""What verify reads again."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """What is read again: everything, or `sample` stretches of 1,000 records that `seed` draws."""

    sample: int | None = None
    seed: int = 0
