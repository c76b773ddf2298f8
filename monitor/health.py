"""Whether a pipeline is alive and ready, and how it is, in words.

Alive: its loop turns; only a restart helps one that does not. Ready: it has partitions, source and
store respond, and it commits while there is lag. An outage makes it unready, never dead.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor.view import OutageView, State

DEAD_S = 60.0  # seconds without a turn of the loop
STARTS_S = 300.0  # the same before its first turn
FROZEN_S = 6.0  # seconds without a turn after which it is not ready
OUTAGE_S = 5.0  # seconds that calls on a part have had no success
SILENT_S = 8.0  # seconds without a response that tells where a partition ends
LOST_S = 5.5  # the same when partitions are taken away: more is no rebalance
STUCK_S = 6.0  # seconds without a commit while records wait, beside batching.max_wait
BEHIND_S = 60.0  # seconds of lag: beyond it the pipeline is catching up or falling behind
REJECTED = 0.05  # share of the last minute's records
MANY = 20  # rejects in the last minute that are worth a warning


@dataclass(frozen=True)
class Facts:
    """What the verdicts need of one pipeline, all durations in seconds.

    `turned`: since the loop's last turn, or since the start when it has not `begun`. `silent`:
    since the source last told the end of the partition that it told of longest ago. `stuck`: since
    the last commit while records wait, else 0. `rejected` of `recent` records: in the last minute.
    `error`: why the pipeline ended. `max_wait`: how long a record may wait for others.
    """

    name: str
    begun: bool
    turned: float
    assigned: int
    outages: tuple[OutageView, ...]
    silent: float
    stuck: float
    lag: int | None
    lag_seconds: float | None
    growing: bool
    rejected: int
    recent: int
    top_reason: str
    error: str | None
    max_wait: float = 0.0


def unlive(facts: Facts) -> str | None:
    """Return why the pipeline is not alive; None: it is."""
    limit = DEAD_S if facts.begun else STARTS_S
    if facts.turned > limit:
        return f"the loop has not turned for {facts.turned:.0f} s"
    return None


def unready(facts: Facts, now: datetime) -> str | None:
    """Return why the pipeline is not ready; None: it is."""
    state = _trouble(facts, now)
    return None if state is None else state.why


def state(facts: Facts, now: datetime) -> State:
    """Return how the pipeline is; `since` only where a fault tells it."""
    return _trouble(facts, now) or _pace(facts)


def _trouble(facts: Facts, now: datetime) -> State | None:
    if facts.error is not None:
        return State("bad", "stopped", None, facts.error, "remove the cause and start it again")
    if not facts.begun:
        return State("unknown", "starting", None, "the source is not open yet")
    if facts.turned > FROZEN_S:
        return State(
            "bad",
            "frozen",
            now - timedelta(seconds=facts.turned),
            f"the loop has not turned for {facts.turned:.0f} s",
            "restart the process: nothing is lost or doubled",
        )
    return _outage(facts, now) or _idle(facts, now)


def _outage(facts: Facts, now: datetime) -> State | None:
    for outage in facts.outages:
        seconds = (now - outage.since).total_seconds()
        if seconds >= OUTAGE_S:
            fault = f": {outage.fault}" if outage.fault else ""
            return State(
                "bad",
                "waiting",
                outage.since,
                f"{outage.part} has not responded for {seconds:.0f} s{fault}",
                outage.next or "the pipeline goes on by itself once it responds",
            )
    return None


def _idle(facts: Facts, now: datetime) -> State | None:
    if facts.silent > SILENT_S:
        return State(
            "bad",
            "waiting",
            now - timedelta(seconds=facts.silent),
            f"the source has not responded for {facts.silent:.0f} s",
            "look at the brokers or at Kinesis: the pipeline goes on by itself once it responds",
        )
    if not facts.assigned:
        return State(
            "warn",
            "standby",
            None,
            "no partition is assigned",
            "there may be more consumers than partitions, or the topic does not exist yet",
        )
    if facts.stuck > STUCK_S + facts.max_wait:
        return State(
            "bad",
            "stuck",
            now - timedelta(seconds=facts.stuck),
            f"nothing was committed for {facts.stuck:.0f} s while records wait",
            "look at the log of the process and at the store",
        )
    return None


def _pace(facts: Facts) -> State:
    if facts.lag_seconds is None:
        return State("unknown", "starting", None, "the source has not told its ends yet")
    if facts.lag_seconds > BEHIND_S:
        word = "falling behind" if facts.growing else "catching up"
        records = "" if facts.lag is None else f"{facts.lag:,} records and "
        why = f"it is {records}{facts.lag_seconds:.0f} s behind"
        more = "start more consumers, up to one for each partition" if facts.growing else ""
        return State("warn", word, None, why, more)
    if facts.rejected >= MANY and facts.rejected > REJECTED * facts.recent:
        share = facts.rejected / facts.recent
        return State(
            "warn",
            "rejecting",
            None,
            f"{share:.0%} of the last minute's records were quarantined, most of them: "
            f"{facts.top_reason}",
            f"look at them: pinpip quarantine list {facts.name}; then correct producer or schema",
        )
    return State("ok", "up to date")
