"""The backoff between attempts."""

import random

from hypothesis import given
from hypothesis import strategies as st

from core.retry import Backoff


@given(seed=st.integers(), failures=st.integers(0, 2000), first=st.floats(0.01, 1))
def test_a_wait_stays_below_its_ceiling_and_a_success_resets_it(
    seed: int, failures: int, first: float
) -> None:
    backoff = Backoff(random.Random(seed), first, longest=8 * first)
    for failure in range(failures):
        assert 0 <= backoff.wait() <= first * 2 ** min(failure, 3)
    backoff.reset()
    assert backoff.wait() <= first
