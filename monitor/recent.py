"""The last hour of a pipeline, one sample every few seconds, in memory."""

from collections import deque
from dataclasses import dataclass

from monitor.view import SeriesView

SAMPLE_S = 5.0
HOUR = int(3600 / SAMPLE_S)
MINUTE = int(60 / SAMPLE_S)
RATE_OVER = 2  # samples


@dataclass(frozen=True, slots=True)
class Sample:
    """What was true at `at` (seconds since 1970): totals since the start, and the lag then."""

    at: float
    records: int
    quarantined: int
    lag: int | None
    lag_seconds: float | None


class Recent:
    """The samples of the last hour. The rate of a sample is that since the one before it."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=HOUR)

    def is_due(self, at: float) -> bool:
        """Whether it is time for the next sample."""
        return not self._samples or at - self._samples[-1].at >= SAMPLE_S

    def add(self, sample: Sample) -> None:
        """Keep a sample; the oldest one is dropped after an hour."""
        self._samples.append(sample)

    def rate(self, now: Sample) -> float | None:
        """Return records/s over the last ten seconds; None: too early."""
        if len(self._samples) < RATE_OVER:
            return None
        before = self._samples[-RATE_OVER]
        return _rate(before, now)

    def rejected(self, now: Sample) -> tuple[int, int]:
        """Return how many records of the last minute were quarantined, and how many there were."""
        before = self._minute_ago()
        if before is None:
            return now.quarantined, now.records
        return now.quarantined - before.quarantined, now.records - before.records

    def is_growing(self, now: Sample) -> bool:
        """Whether the lag is larger than a minute ago."""
        before = self._minute_ago()
        if before is None or before.lag_seconds is None or now.lag_seconds is None:
            return False
        return now.lag_seconds > before.lag_seconds

    def view(self) -> SeriesView:
        """Return the samples as series for charts."""
        own = list(self._samples)
        rates = [None, *map(_rate, own, own[1:])][: len(own)]
        return SeriesView(
            at=tuple(round(one.at, 1) for one in own),
            rate=tuple(None if rate is None else round(rate, 1) for rate in rates),
            lag=tuple(one.lag for one in own),
            lag_seconds=tuple(
                None if one.lag_seconds is None else round(one.lag_seconds, 1) for one in own
            ),
        )

    def _minute_ago(self) -> Sample | None:
        """Return the sample of a minute ago, or the first one there is."""
        return self._samples[max(0, len(self._samples) - MINUTE)] if self._samples else None


def _rate(before: Sample, after: Sample) -> float | None:
    """Return records/s between two samples; None for a gap, or clocks that went back."""
    seconds = after.at - before.at
    return (after.records - before.records) / seconds if seconds > 0 else None
