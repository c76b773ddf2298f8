"""The watch looks when asked, each minute otherwise, and never too much."""

import threading
from collections.abc import Callable

from pinpip.lake.view import LakeView
from pinpip.lake.watch import LakeWatch
from tests.support.clock import ManualClock
from tests.support.waiting import PATIENCE


class Looks:
    """Counts the looks at each pipeline; one look takes `took` seconds."""

    def __init__(self, *names: str) -> None:
        self.clock = ManualClock()
        self.took = 0.0
        self.seen: list[str] = []
        self.looked = threading.Event()
        self.watch = LakeWatch({name: self._look_at(name) for name in names}, self.clock)

    def _look_at(self, name: str) -> Callable[[], LakeView]:
        def look() -> LakeView:
            self.seen.append(name)
            self.clock.advance(self.took)
            self.looked.set()
            return LakeView(at=self.clock.now(), clean=len(self.seen))

        return look

    def run(self, seconds: float) -> None:
        """Let the watch turn for so long."""
        end = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end:
            wait = self.watch.turn()
            self.clock.advance(max(0.01, min(wait, end - self.clock.monotonic())))


def test_what_nobody_asks_for_is_looked_at_once_a_minute() -> None:
    looks = Looks("pin")
    looks.run(179)
    assert len(looks.seen) == 3


def test_what_is_asked_for_is_five_seconds_old_at_most() -> None:
    looks = Looks("pin")
    for _ in range(60):
        looks.watch.view("pin")
        looks.run(1)
    assert len(looks.seen) == 12


def test_asking_for_one_pipeline_does_not_renew_another() -> None:
    looks = Looks("pin", "geo")
    for _ in range(50):
        looks.watch.view("pin")
        looks.run(1)
    assert looks.seen.count("geo") == 1


def test_looking_takes_one_percent_of_the_time_at_most() -> None:
    looks = Looks("pin", "geo", "user")
    looks.took = 2.0
    for _ in range(3_600):
        for name in ("pin", "geo", "user"):
            looks.watch.view(name)
        looks.run(1)
    elapsed = looks.clock.monotonic()
    assert 0.005 < len(looks.seen) * looks.took / elapsed <= 0.0105
    each = [looks.seen.count(name) for name in ("pin", "geo", "user")]
    assert max(each) - min(each) <= 1


def test_metrics_do_not_ask() -> None:
    looks = Looks("pin")
    looks.run(1)
    for _ in range(30):
        assert looks.watch.latest("pin").clean == 1
        looks.run(1)
    assert looks.seen == ["pin"]


def test_its_thread_looks_at_once_and_ends() -> None:
    looks = Looks("pin")
    assert looks.watch.view("pin") == LakeView()
    looks.watch.start()
    assert looks.looked.wait(PATIENCE)
    looks.watch.stop()
    looks.watch.join(PATIENCE)
    assert looks.watch.latest("pin").clean == 1
