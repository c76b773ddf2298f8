"""How long a bucket takes for a request, drawn from a seed."""

import math
import random
from dataclasses import dataclass, field

P99 = 5.0  # times the median: 40 ms and 200 ms, as a bucket in the same region
_NORMAL_P99 = 2.326  # standard deviations above the mean


@dataclass
class Latency:
    """Log-normal latencies: the median in seconds, and P99 times as much as the 99th percentile."""

    median: float
    rng: random.Random = field(default_factory=random.Random)

    def draw(self) -> tuple[float, float]:
        """Return the seconds that pass before the bucket does what is asked, and those after it."""
        if not self.median:
            return 0.0, 0.0
        whole = self.rng.lognormvariate(math.log(self.median), math.log(P99) / _NORMAL_P99)
        before = whole * self.rng.random()
        return before, whole - before
