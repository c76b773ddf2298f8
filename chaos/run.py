"""One round and its proof.

A round fails when a record is lost, doubled or changed, when the tables stop following the topic,
or when a process ends with an error that no fault explains.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from chaos import proof
from chaos.play import Play, Watch
from chaos.producer import SentRecords
from chaos.recovery import Recovery, crash_points, recovery
from chaos.schedule import Schedule
from chaos.stage import Stage
from core.errors import FatalError

VERIFY = ("--grace", "0", "--reread", "--json")
_DIFFERS = 3


@dataclass(frozen=True)
class ChaosResult:
    """What a round did. `differences`: sentences, none in a good round.

    `records`: what the broker acknowledged, without `aborted` transactions' records.
    `counts`: faults and deaths that happened. `points`: deaths by crash point. `storage`: faults
    that requests met. `gave_up`: last words of consumers that an outage ended.
    """

    seed: int
    records: int
    aborted: int
    counts: Mapping[str, int]
    points: Mapping[str, int]
    storage: Mapping[str, int]
    gave_up: tuple[str, ...]
    recovery: Recovery
    lost: int
    doubled: int
    differences: tuple[str, ...]
    seconds: float


def run(schedule: Schedule, stage: Stage, watch: Watch) -> ChaosResult:
    """Play the round and prove it; raises FatalError when it does not come to its end."""
    began = stage.clock.monotonic()
    play = Play(schedule, stage, watch)
    try:
        sent, aborted = play.disturb()
        arriving = [n for n in sent.acknowledged if stage.content.arrives(n)]
        play.catch_up(len(arriving))
        play.fleet.stop()
    finally:
        play.close()
    numbers = _compared(stage, sent, arriving)
    said = chain.from_iterable(found.said(place) for place, found in numbers.items())
    return ChaosResult(
        seed=schedule.seed,
        records=len(sent.acknowledged),
        aborted=aborted,
        counts=dict(play.fleet.counts),
        points=dict(crash_points(play.fleet.all)),
        storage=stage.storage.faults() if stage.storage else {},
        gave_up=tuple(play.fleet.gave_up),
        recovery=recovery(play.fleet.all),
        lost=sum(len(found.lost) for found in numbers.values()),
        doubled=sum(len(found.doubled) for found in numbers.values()),
        differences=(*said, *_verified(stage)),
        seconds=round(stage.clock.monotonic() - began, 1),
    )


def _compared(
    stage: Stage, sent: SentRecords, arriving: Sequence[int]
) -> dict[str, proof.KeyDifference]:
    """Compare the numbers sent with those in the tables and in each archive."""
    held = proof.table_keys(stage.tables, stage.options)
    found = {"tables": proof.compare(held, arriving, sent.unknown)}
    for uri in stage.archives:
        keys = proof.archive_keys(uri, stage.topic, stage.options)
        found[uri] = proof.compare(keys, sent.acknowledged, sent.unknown)
    return found


def _verified(stage: Stage) -> list[str]:
    """Run `pinpip verify` in a separate process; return its findings."""
    command = [sys.executable, "-m", "pinpip", "--config", str(stage.home.config), "verify"]
    done = subprocess.run(  # noqa: S603  # our own command
        [*command, stage.home.pipeline, *VERIFY],
        env=dict(stage.home.environment),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in {0, _DIFFERS}:
        raise FatalError(f"verify failed: {done.stderr.strip()}", f"see {stage.home.folder}")
    findings = chain.from_iterable(tree["findings"] for tree in json.loads(done.stdout))
    return [f"{f['kind']} in {f['where']}: {f['detail']}" for f in findings]
