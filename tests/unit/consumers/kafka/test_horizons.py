"""What two offsets prove about the freshness of a partition with transactions."""

from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.kafka.horizons import Proof
from core.observer import NEVER
from tests.support.examples import examples

_BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
STEPS = st.sampled_from(["plain", "open 0", "open 1", "end 0", "end 1", "send", "high", "stable"])


def at(step: int) -> datetime:
    """Return the moment of a step."""
    return _BEGUN + timedelta(seconds=step)


class Log:
    """One partition: its records with their arrivals, and its open transactions' first offsets."""

    def __init__(self) -> None:
        self.arrivals: list[datetime] = []
        self.open: dict[str, int] = {}

    def append(self, step: int) -> None:
        """Add a record, or the marker of a transaction's end."""
        self.arrivals.append(at(step))

    def stable(self) -> int:
        """Return the last stable offset."""
        return min(self.open.values(), default=len(self.arrivals))

    def turn(self, what: str, step: int) -> None:
        """Have a producer do something."""
        kind, _, name = what.partition(" ")
        if kind == "open":
            self.open.setdefault(name, len(self.arrivals))
        if kind == "end" and self.open.pop(name, None) is None:
            return
        self.append(step)


@given(steps=st.lists(STEPS, max_size=120))
@settings(max_examples=examples(300), deadline=None)
def test_no_record_before_the_moment_lies_at_or_beyond_the_last_stable_offset(
    steps: list[str],
) -> None:
    log, proof = Log(), Proof()
    sent: datetime | None = None
    high: int | None = None
    for step, what in enumerate(steps):
        if what == "send":
            sent, high = at(step), None
        elif what == "high":
            high = len(log.arrivals) if sent else None
        elif what == "stable" and sent is not None and high is not None:
            proof = proof.after(sent, high, stable := log.stable())
            sent = None
            assert all(arrived >= proof.until for arrived in log.arrivals[stable:])
        elif what != "stable":
            log.turn(what, step)


def test_without_an_open_transaction_the_end_is_fresh() -> None:
    assert Proof().after(at(1), high=10, stable=10).until == at(1)
    assert Proof().after(at(1), high=10, stable=12).until == at(1)


def test_a_transaction_holds_freshness_back_until_it_ends() -> None:
    fresh = Proof().after(at(1), high=10, stable=10)
    held = fresh.after(at(2), high=15, stable=12).after(at(3), high=20, stable=12)
    assert held.until == at(1)
    assert held.after(at(4), high=25, stable=15).until == at(2)
    assert held.after(at(4), high=25, stable=25).until == at(4)


def test_transactions_without_a_pause_hold_it_back_by_one_request_at_a_time() -> None:
    proof = Proof().after(at(0), high=10, stable=9)
    for step in range(1, 20):
        proof = proof.after(at(step), high=10 * step + 10, stable=10 * step + 9)
        assert proof.until == at(step - 1)


def test_a_transaction_that_was_open_before_leaves_everything_unproven() -> None:
    assert Proof().after(at(1), high=10, stable=9).until == NEVER
