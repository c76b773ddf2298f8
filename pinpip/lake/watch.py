"""Keeps a look at the tables of some pipelines fresh, at little cost to a consumer."""

from collections.abc import Callable, Mapping

from core.clock import Clock
from pinpip.lake.view import LakeView
from pinpip.watch import Watch

SHARE = 0.01  # of the time


class LakeWatch(Watch[LakeView]):
    """What the tables of each pipeline said last; metrics read `latest`, pages `view`.

    A slow store makes the views older, not the consumer slower: looking takes 1 % of the time.
    """

    def __init__(self, looks: Mapping[str, Callable[[], LakeView]], clock: Clock) -> None:
        super().__init__(looks, LakeView(), clock, SHARE)
