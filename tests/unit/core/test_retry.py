"""The backoff between attempts, and what an outage tells."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from core.errors import TransientError, UnknownFault
from core.retry import Backoff, Outage, retry
from tests.support.clock import ManualClock


@given(seed=st.integers(), failures=st.integers(0, 2000), first=st.floats(0.01, 1))
def test_a_wait_stays_below_its_ceiling_and_a_success_resets_it(
    seed: int, failures: int, first: float
) -> None:
    backoff = Backoff(random.Random(seed), first, longest=8 * first)
    for failure in range(failures):
        assert 0 <= backoff.wait() <= first * 2 ** min(failure, 3)
    backoff.reset()
    assert backoff.wait() <= first


def test_each_fault_is_counted_by_its_kind() -> None:
    clock, kinds = ManualClock(), Counter[str]()
    faults = [
        TransientError("503", kind="SlowDown"),
        TransientError("503 again", kind="SlowDown"),
        UnknownFault("what is this"),
    ]

    def step() -> str:
        if faults:
            raise faults.pop(0)
        return "done"

    outage = Outage("clean", clock, lambda kind: kinds.update([kind]))
    assert retry(step, clock, random.Random(1), lambda: 60.0, outage) == "done"
    assert kinds == {"SlowDown": 2, "UnknownFault": 1}


def test_an_outage_tells_how_long_what_and_what_to_do_until_it_is_over() -> None:
    clock = ManualClock()
    outage = Outage("source", clock)
    outage.failed("shard 1", "throttled", "split the shard", "SlowDown")
    assert told(outage) == (0, "throttled", "split the shard")
    clock.advance(7)
    outage.failed("shard 2", "no answer")
    assert told(outage) == (7, "no answer", "")
    clock.advance(1)
    outage.over("shard 1")
    assert outage.seconds() == 1
    outage.over("shard 2")
    assert told(outage) == (0, "", "")


def told(outage: Outage) -> tuple[float, str, str]:
    """Return what another thread may ask."""
    return outage.seconds(), outage.fault, outage.hint
