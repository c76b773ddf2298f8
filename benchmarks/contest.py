"""Run one contestant over a filled topic, from the beginning into a new folder."""

import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import commits, config, contestants, measure
from benchmarks.measure import Usage
from benchmarks.topic import Topic
from pinpip.cli.shared import progress_bar

PROGRESS_TIMEOUT_S = 180.0  # without a new row; a Spark session starts slowly
POLL_INTERVAL_S = 0.1


@dataclass(frozen=True)
class BenchmarkSetup:
    """A broker, its process id if known, and a folder for all tables."""

    bootstrap: str
    broker: int | None
    folder: Path


@dataclass(frozen=True)
class Contestant:
    """A module of benchmarks.contestants, the interpreter that runs it, environment variables.

    `target`: the wanted ratio of pinpip's rate to its rate.
    """

    name: str
    target: float | None = None
    python: str = sys.executable
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Moment:
    """CPU seconds at a time of the wall clock."""

    at: float
    cpu: float


@dataclass(frozen=True)
class SteadyState:
    """From the first commit with rows (wall clock) to the last: rows and commits after the first.

    `busy`: CPU seconds per second, of the contestant alone.
    """

    begin: float
    end: float
    rows: int
    commits: int
    busy: float

    @property
    def rate(self) -> float:
        """Records per second."""
        return self.rows / (self.end - self.begin)


PINPIP = Contestant("pinpip")
OWN = (
    Contestant("drain", 0.30),
    Contestant("loop", 4.0),
    Contestant("sequential", 1.8),
    PINPIP,
)


@dataclass(frozen=True)
class RunMeasurement:
    """The figures of one run: seconds, CPU seconds per million records, memory in MB.

    `seconds`: from the first records read to the last row committed. `whole`: from the start, or
    from the moment that the contestant notes as ready, which is `ready` seconds after the start.
    `first_row`: from there to the first commit with rows. `reading_cpu`: `cpu` without the CPU
    time before the first read. `steady`: what happened between the first commit and the last.
    """

    name: str
    records: int
    seconds: float
    whole: float
    ready: float
    first_read: float
    first_row: float | None
    cpu: float
    reading_cpu: float
    broker_cpu: float
    peak_mb: float
    commits: int
    steady: SteadyState | None

    @property
    def rate(self) -> float:
        """Records per second from the first read."""
        return self.records / self.seconds

    @property
    def whole_rate(self) -> float:
        """Records per second with the start-up."""
        return self.records / self.whole

    @property
    def steady_rate(self) -> float:
        """Records per second between the first commit and the last; without commits: `rate`."""
        return self.steady.rate if self.steady else self.rate


def run(
    contestant: Contestant,
    topic: Topic,
    folder: Path,
    broker: int | None,
    *,
    processes: int = 1,
) -> RunMeasurement:
    """Run until the whole topic is in the contestant's table; `broker`: Kafka's process id."""
    config.of_topic(folder, topic.bootstrap, topic.name)
    log = commits.CommitFollower(commits.local(folder / "pin"))
    return run_configured(contestant, topic, folder, broker, log, processes=processes)


def run_configured(
    contestant: Contestant,
    topic: Topic,
    folder: Path,
    broker: int | None,
    log: commits.CommitFollower,
    *,
    processes: int = 1,
) -> RunMeasurement:
    """Do as `run`, by the configuration in the folder; `log`: that of the table."""
    module = f"benchmarks.contestants.{contestant.name}"
    given = [topic.bootstrap, topic.name, str(folder), str(topic.records)]
    command = [contestant.python, "-m", module, *given]
    spent, began = _cpu(broker), time.time()
    with ExitStack() as stack:
        members = [
            stack.enter_context(
                measure.running(command, folder / "log", **dict(contestant.environment))
            )
            for _ in range(processes)
        ]
        at_first = _await_end(contestant.name, topic.records, log, members, folder)
        used, ended = _usage(members), time.time()
        spent = _cpu(broker) - spent
    busy = (used.cpu - at_first.cpu) / (ended - at_first.at) if at_first else None
    return _outcome(contestant.name, topic.records, folder, log, used, began, spent, busy)


def _cpu(pid: int | None) -> float:
    return measure.usage(pid).cpu if pid is not None else 0.0


def _usage(members: Iterable[measure.Process]) -> Usage:
    return measure.total(measure.usage(member.pid) for member in members)


def _await_end(
    name: str,
    records: int,
    log: commits.CommitFollower,
    members: list[measure.Process],
    folder: Path,
) -> Moment | None:
    """Wait until all rows are committed; return the CPU time when the first rows were."""
    moved, before = time.monotonic(), 0
    first: Moment | None = None
    with progress_bar(quiet=False) as bar:
        shown = bar.add_task(name, total=records)
        while (rows := log.advance()) < records and "done" not in contestants.marks(folder):
            if rows > before:
                first = first or Moment(time.time(), _usage(members).cpu)
                moved, before = time.monotonic(), rows
                bar.update(shown, completed=rows)
            measure.refuse_dead(members, folder / "log")
            if time.monotonic() - moved > PROGRESS_TIMEOUT_S:
                raise SystemExit(f"{name} makes no progress at {rows} rows: {folder / 'log'}")
            time.sleep(POLL_INTERVAL_S)
    return first


def _outcome(
    name: str,
    records: int,
    folder: Path,
    log: commits.CommitFollower,
    used: Usage,
    began: float,
    broker_cpu: float,
    busy: float | None,
) -> RunMeasurement:
    marks = contestants.marks(folder)
    first, last = log.first(), log.last()
    done = last.at if last else marks["done"]
    ready = marks.get("ready", began)
    millions = records / 1e6
    return RunMeasurement(
        name=name,
        records=records,
        seconds=done - marks["first"],
        whole=done - ready,
        ready=ready - began,
        first_read=marks["first"] - ready,
        first_row=first.at - ready if first else None,
        cpu=used.cpu / millions,
        reading_cpu=(used.cpu - contestants.spent(folder, "first")) / millions,
        broker_cpu=broker_cpu / millions,
        peak_mb=used.peak,
        commits=len(log.commits),
        steady=_steady(log, busy),
    )


def _steady(log: commits.CommitFollower, busy: float | None) -> SteadyState | None:
    """Return the steady state; None without two commits."""
    first, last = log.first(), log.last()
    if first is None or last is None or first is last or busy is None:
        return None
    rows = sum(commit.rows for commit in log.commits if commit.version > first.version)
    return SteadyState(first.at, last.at, rows, last.version - first.version, busy)
