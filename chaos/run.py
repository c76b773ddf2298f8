"""Run one round and verify its tables.

A round fails when a record is lost, doubled or changed, when the tables make no progress, or when
a process ends with an error that no fault explains.
"""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

from chaos import key_diff
from chaos.environment import Environment
from chaos.producer import SentRecords
from chaos.recovery import RecoveryTimes, crash_points, recovery
from chaos.round import Round, Watch
from chaos.schedule import Schedule
from core import interpreter
from core.errors import FatalError

VERIFY_OPTIONS = ("--grace", "0", "--reread", "--json")
_EXIT_DIFFERENCE = 3


@dataclass(frozen=True)
class ChaosResult:
    """The result of a round; without `differences` it passed.

    `records`: the records that the broker acknowledged, without the `aborted` ones. `gateway`: what
    it said of how many records. `counts`: faults and process ends by cause, and the faults that
    could not be applied ("… skipped"). `points`: processes that signalled themselves, by failpoint.
    `storage`: S3 requests that met a fault. `gave_up`: the last log lines of consumers that an
    outage ended.
    """

    seed: int
    records: int
    aborted: int
    gateway: Mapping[str, int]
    counts: Mapping[str, int]
    points: Mapping[str, int]
    storage: Mapping[str, int]
    gave_up: tuple[str, ...]
    recovery: RecoveryTimes
    lost: int
    doubled: int
    differences: tuple[str, ...]
    seconds: float


def run(schedule: Schedule, environment: Environment, watch: Watch) -> ChaosResult:
    """Run the round and verify its tables; raises FatalError when the round cannot be finished."""
    began = environment.clock.monotonic()
    played = Round(schedule, environment, watch)
    try:
        sent, aborted = played.run_faults()
        arriving = [n for n in sent.acknowledged if environment.content.arrives(n)]
        missing = played.catch_up(len(arriving))
        played.finish_upkeep()
        played.fleet.stop()
    finally:
        played.close()
    numbers = _compared(environment, sent, arriving)
    _keep(environment.launch.folder / "numbers.json", numbers)
    messages = chain.from_iterable(found.messages(place) for place, found in numbers.items())
    return ChaosResult(
        seed=schedule.seed,
        records=len(sent.acknowledged),
        aborted=aborted,
        gateway=played.by_gateway,
        counts=dict(played.fleet.counts),
        points=dict(crash_points(played.fleet.all)),
        storage=environment.storage.faults() if environment.storage else {},
        gave_up=tuple(played.fleet.gave_up),
        recovery=recovery(played.fleet.all),
        lost=sum(len(found.lost) for found in numbers.values()),
        doubled=sum(len(found.doubled) for found in numbers.values()),
        differences=(*missing, *messages, *_verified(environment)),
        seconds=round(environment.clock.monotonic() - began, 1),
    )


def _compared(
    environment: Environment, sent: SentRecords, arriving: Sequence[int]
) -> dict[str, key_diff.KeyDifference]:
    """Compare the numbers sent with the keys of the tables and of each archive."""
    held = key_diff.table_keys(environment.tables, environment.options)
    found = {"tables": key_diff.compare(held, arriving, sent.unknown)}
    for uri in environment.archives:
        keys = key_diff.archive_keys(uri, environment.topic, environment.options)
        found[uri] = key_diff.compare(keys, sent.acknowledged, sent.unknown)
    return found


def _keep(path: Path, numbers: Mapping[str, key_diff.KeyDifference]) -> None:
    """Write every number that differs, for the search of its cause in the logs."""
    path.write_text(json.dumps({place: asdict(found) for place, found in numbers.items()}))


def _verified(environment: Environment) -> list[str]:
    """Return the findings of `pinpip verify`, run as a separate process."""
    command = [*interpreter.command(), "-m", "pinpip"]
    command += ["--config", str(environment.launch.config), "verify"]
    done = subprocess.run(  # noqa: S603  # our own command
        [*command, environment.launch.pipeline, *VERIFY_OPTIONS],
        env=dict(environment.launch.environment),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in {0, _EXIT_DIFFERENCE}:
        raise FatalError(
            f"verify failed: {done.stderr.strip()}", f"see {environment.launch.folder}"
        )
    findings = chain.from_iterable(tree["findings"] for tree in json.loads(done.stdout))
    return [f"{f['kind']} in {f['where']}: {f['detail']}" for f in findings]
