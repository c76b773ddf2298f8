"""Seeded latencies: log-normal by their median and 99th percentile, as those of a real service."""

from math import exp, log
from random import Random

from pydantic import BaseModel, ConfigDict, Field

_Z99 = 2.3263  # standard deviations from the median to the 99th percentile
_MB = 1_000_000


class Profile(BaseModel):
    """How slow a store is. Without `p50` there is no delay at all.

    `p50`, `p99`: seconds of a small request; a LIST takes `lists` times as long. `upload` and
    `download`: MB/s of one connection. `slow_down`: the share of requests that get a 503.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    p50: float = Field(0.0, ge=0)
    p99: float = Field(0.0, ge=0)
    lists: float = Field(1.5, gt=0)
    upload: float = Field(20.0, gt=0)
    download: float = Field(60.0, gt=0)
    slow_down: float = Field(0.0, ge=0, le=1)
    seed: int = 1


def profile(p50_ms: float, slow_down: float = 0.0) -> Profile:
    """Return the profile of a bucket whose small requests have this median and 5 times that as p99.

    A PUT of a megabyte takes 50 ms longer than a small one.
    """
    return Profile(p50=p50_ms / 1000, p99=5 * p50_ms / 1000, slow_down=slow_down)


class Delays:
    """Samples delays in seconds; the same seed gives the same sequence."""

    def __init__(self, own: Profile) -> None:
        self._own = own
        self._random = Random(own.seed)
        self._sigma = log(own.p99 / own.p50) / _Z99 if own.p50 else 0.0

    def small(self) -> float:
        """Return the delay of a request without its body."""
        return self._own.p50 * exp(self._sigma * self._random.gauss(0, 1)) if self._own.p50 else 0.0

    def listing(self) -> float:
        """Return the delay of a LIST."""
        return self._own.lists * self.small()

    def upload(self, size: int) -> float:
        """Return the delay of a PUT of `size` bytes."""
        return self.small() + self.transfer(size, self._own.upload)

    def download(self, size: int) -> float:
        """Return the delay of a GET of `size` bytes."""
        return self.small() + self.transfer(size, self._own.download)

    def slows_down(self) -> bool:
        """Return whether this request gets a 503."""
        return self._own.slow_down > 0 and self._random.random() < self._own.slow_down

    def transfer(self, size: int, rate: float) -> float:
        """Return how long so many bytes take at this rate in MB/s."""
        return size / (rate * _MB) if self._own.p50 else 0.0
