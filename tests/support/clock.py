"""A clock that a test moves."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class ManualClock:
    """Time stands until `advance` or `sleep` moves it."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def monotonic(self) -> float:
        return self._seconds

    def now(self) -> datetime:
        return _EPOCH + timedelta(seconds=self._seconds)

    def sleep(self, seconds: float) -> None:
        self._seconds += seconds

    def advance(self, seconds: float) -> None:
        self._seconds += seconds
