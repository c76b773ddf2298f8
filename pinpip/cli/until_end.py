"""`pinpip consume --until-end`: take what is there, and end."""

from collections.abc import Callable, Sequence
from concurrent.futures import ALL_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

from core.errors import FatalError, PinpipError
from pinpip.cli.shared import awaited, complain, leaving_in_time, progress_bar, stopping_on_signals
from pinpip.cli.tables import show
from pinpip.runtime import tuned_interpreter

if TYPE_CHECKING:
    from rich.progress import Progress

    from core.clock import Clock
    from core.config import Config
    from monitor.state import PipelineState
    from pinpip.observed import States
    from pinpip.until_end import Accepted, UntilEndRun

_NAMED = 3  # partitions in a message
_AGAIN = "run the same command again: it goes on where it was; nothing is lost or doubled"


def run(
    config: "Config",
    states: "States",
    accepted: "Accepted",
    *,
    timeout: float | None,
    as_json: bool,
) -> None:
    """Run the pipelines beside each other until each has its end, and print what they did.

    Raises the first error once all have ended, and FatalError when one was stopped before its end.
    """
    from consumers.engine.loop import MOST_THREADS, THREADS
    from core.clock import SystemClock
    from core.threads import ContextPool
    from pinpip.until_end import UntilEndRun

    clock = SystemClock()
    with ContextPool(min(THREADS * len(states), MOST_THREADS), "batch") as workers:
        runs = [
            UntilEndRun(
                config,
                name,
                clock,
                workers,
                state,
                accepted,
            )
            for name, state in states.items()
        ]
        why, errors = _run_all(runs, clock, timeout, quiet=as_json)
    _tell(runs, states, as_json=as_json)
    for error in errors[1:]:
        complain(error)
    if errors:
        raise errors[0]
    if not all(run.is_complete for run in runs):
        raise _incomplete(runs, why)


def _run_all(
    runs: "Sequence[UntilEndRun]", clock: "Clock", timeout: float | None, *, quiet: bool
) -> tuple[str, list[PinpipError]]:
    """Return why the runs were stopped, empty if they were not, and the errors that ended some."""
    from pinpip.journals import named

    why: list[str] = []

    def stop(because: str) -> None:
        why.append(because)
        leave()
        for one in runs:
            one.stop()

    deadline = None if timeout is None else clock.monotonic() + timeout
    with (
        leaving_in_time(lambda: _incomplete(runs, why[0])) as leave,
        ThreadPoolExecutor(len(runs), "loop") as threads,
        stopping_on_signals(lambda: stop("stopped by a signal")),
        progress_bar(quiet=quiet) as bar,
        tuned_interpreter(),
    ):
        running = [threads.submit(named, one.name, one.run) for one in runs]
        tell = _telling(bar, runs)

        def over(seconds: float) -> bool:
            tell()
            if deadline is not None and clock.monotonic() >= deadline and not why:
                stop(f"stopped after {timeout:g} s")
            left = seconds if deadline is None else max(0.0, deadline - clock.monotonic())
            patience = seconds if why else min(seconds, left)
            return not wait(running, patience, ALL_COMPLETED).not_done

        awaited(over)
    return "".join(why[:1]), _errors(running)


def _errors(running: "Sequence[Future[None]]") -> list[PinpipError]:
    """Return the errors of the pipelines; raise what is none of ours."""
    errors = []
    for one in running:
        error = one.exception()
        if isinstance(error, PinpipError):
            errors.append(error)
        elif error is not None:
            raise error
    return errors


def _telling(bar: "Progress", runs: "Sequence[UntilEndRun]") -> Callable[[], None]:
    """Return what moves the bars: offsets of a topic, records of a stream."""
    tasks = {one.name: bar.add_task(one.name, total=None) for one in runs}
    totals: dict[str, int] = {}

    def tell() -> None:
        for one in runs:
            left = one.left
            if left is None:
                bar.update(tasks[one.name], completed=one.records)
            else:
                total = totals.setdefault(one.name, left)
                bar.update(tasks[one.name], total=total, completed=max(0, total - left))

    return tell


def _tell(runs: "Sequence[UntilEndRun]", states: "States", *, as_json: bool) -> None:
    rows = [_row(one, states[one.name]) for one in runs]
    if not as_json:
        rows = [{k: v for k, v in row.items() if k not in {"complete", "behind"}} for row in rows]
    show("Consumed until the end", rows, as_json=as_json)


def _row(one: "UntilEndRun", state: "PipelineState") -> dict[str, Any]:
    counts = {o: state.totals.outcomes[o] for o in ("clean", "quarantined", "filtered")}
    return {
        "pipeline": one.name,
        "records": one.records,
        **counts,
        "partitions": one.partitions,
        "seconds": round(one.seconds, 1),
        "complete": one.is_complete,
        "behind": one.behind(),
    }


def _incomplete(runs: "Sequence[UntilEndRun]", why: str) -> FatalError:
    """Say which partitions are not at their ends."""
    missing = [
        f"{row['partition']} ({one.name}) at {row['position'] or 'no position'}"
        + (f" of {row['end']}" if row["end"] else "")
        for one in runs
        for row in one.behind()
    ]
    named = ", ".join(missing[:_NAMED]) or ", ".join(r.name for r in runs if not r.is_complete)
    more = f", and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    return FatalError(f"not complete, {why}: {named}{more}", _AGAIN)
