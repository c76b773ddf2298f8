"""How many examples a property test draws: fewer in `make test-fast`."""

from hypothesis import settings

FAST = "fast"  # the name of Hypothesis's profile
SHARE = 10
LEAST = 3


def examples(count: int) -> int:
    """Return `count`, or a share of it in the fast profile."""
    fast = settings.get_current_profile_name() == FAST
    return max(LEAST, count // SHARE) if fast else count
