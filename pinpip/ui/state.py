"""How a pipeline is by its tables and its source: in words that say why, and what to do."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from monitor import health
from monitor.health import Facts
from monitor.recent import Recent, Sample
from monitor.view import Level, State
from pinpip.status import PipelineStatus
from pinpip.ui.looks import Fault

IDLE = timedelta(seconds=30)  # without a commit while records wait: nobody consumes
_MINUTE = 60


@dataclass(frozen=True)
class Known:
    """What decides. `tables`, `source`: why they cannot be read.

    `begins`: they were not read yet. `gone`: the table was there before. `behind`: what of a stream
    waits for too long. `unsure`: why the lag is not known. `moves`: positions were seen to move;
    `idle`: for how long they were not.
    """

    status: PipelineStatus
    at: datetime
    tables: Fault | None = None
    source: Fault | None = None
    begins: bool = False
    gone: str = ""
    behind: tuple[str, ...] = ()
    unsure: str = ""
    last_commit: datetime | None = None
    moves: bool = False
    idle: timedelta = timedelta()
    top_reason: str = ""


def state(known: Known, recent: Recent, sample: Sample | None) -> State:
    """Return how the pipeline is; `since` only where it is known."""
    return (
        _unread(known)
        or _lost(known)
        or _unconsumed(known)
        or health.state(_facts(known, recent, sample), known.at)
    )


def _unread(known: Known) -> State | None:
    """Return the state of a pipeline whose tables or source cannot be read."""
    if known.gone:
        hint = "restore it, or start the consumer: it makes a new table from what the source holds"
        return State("bad", "table is gone", None, known.gone, hint)
    if known.tables is not None:
        fault = known.tables
        level: Level = "bad" if fault.lasting else "unknown"
        return State(level, "table not readable", None, fault.message, fault.next)
    if known.begins:
        return State("unknown", "starting", None, "the tables and the source are being read")
    if known.source is not None:
        fault = known.source
        return State("unknown", "source not readable", None, fault.message, fault.next)
    return None


def _lost(known: Known) -> State | None:
    """Return the state of a pipeline whose source lost what the tables need."""
    name, rows = known.status.pipeline, known.status.partitions
    recreated = sorted({row.partition.source for row in rows if row.recreated})
    if recreated:
        what = ", ".join(recreated)
        why = f"{what} was deleted and created again: the table's positions count in the old one"
        hint = f"set a new incarnation, then: pinpip consume {name} --new-incarnation"
        return State("bad", "source re-created", None, why, hint)
    gone = sum(row.gone or 0 for row in rows)
    if gone:
        why = f"retention removed {gone:,} offsets before they were read"
        hint = f"lengthen the retention; to go on without them: pinpip consume {name} --accept-gap"
        return State("bad", "records expired", None, why, hint)
    if known.behind:
        more = f" and {len(known.behind) - 1} more" if len(known.behind) > 1 else ""
        hint = f"see that its consumer runs: pinpip consume {name}"
        return State("bad", "behind", known.last_commit, f"{known.behind[0]}{more}", hint)
    if known.status.lag is None:
        why = known.unsure or "the source has not told where it ends yet"
        return State("unknown", "lag not known", None, why)
    return None


def _unconsumed(known: Known) -> State | None:
    """Return the state of a pipeline whose records wait while nobody commits."""
    name, lag, last = known.status.pipeline, known.status.lag, known.last_commit
    if not lag:
        return None
    waits = f"{lag:,} {'record waits' if lag == 1 else 'records wait'}"
    is_old = last is None or known.at - last > IDLE
    start = f"start its consumer: pinpip consume {name}"
    if is_old and known.idle > IDLE:
        age = (
            "was ever committed" if last is None else f"was committed for {_told(known.at - last)}"
        )
        why = f"{waits} and nothing {age}"
        return State("bad", "nobody is consuming", last, why, start)
    if is_old and not known.moves:
        since = "nothing was ever committed" if last is None else "the last commit is old"
        hint = f"wait half a minute; if it stays so, {start}"
        return State("warn", "behind", last, f"{waits}, and {since}", hint)
    return None


def _facts(known: Known, recent: Recent, sample: Sample | None) -> Facts:
    rejected, some = recent.rejected(sample) if sample else (0, 0)
    return Facts(
        name=known.status.pipeline,
        begun=True,
        turned=0.0,
        assigned=1,
        outages=(),
        silent=0.0,
        stuck=0.0,
        lag=known.status.lag,
        lag_seconds=sample.lag_seconds if sample else None,
        growing=recent.is_growing(sample) if sample else False,
        rejected=rejected,
        recent=some,
        top_reason=known.top_reason,
        error=None,
    )


def _told(time: timedelta) -> str:
    seconds = int(time.total_seconds())
    return f"{seconds} s" if seconds < 2 * _MINUTE else f"{seconds // _MINUTE} min"
