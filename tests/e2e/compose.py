"""`make containers`: the image and the compose file as a user runs them, and the proof.

Builds, starts everything (Kinesis on moto as well), sends records on both routes, verifies each
pipeline, kills the broker in the midst of more records, verifies again and takes all of it down.
A record whose answer was lost with the broker is unknown: it may be there, once at most.
Takes `docker compose`, or podman-compose where Docker has no such plug-in.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import requests
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.cimpl import TopicPartition

from core.clock import Clock, SystemClock
from tests.support.places import ROOT

ENVIRONMENT = ROOT / "deploy/config/moto.env"
GATEWAY, BROKER = "http://127.0.0.1:8082", "127.0.0.1:29092"
VERIFY = ("pinpip", "verify", "--json", "--grace", "0")
EVENTS, RATE = 3000, 500
MORE = 4 * EVENTS  # the broker is killed before the last of them
TIMEOUT_S = 600.0  # seconds: ends a hang, not a busy machine


@dataclass(frozen=True)
class Compose:
    """The program, with the arguments that every call has."""

    program: Sequence[str]

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run it to its end; what it says is kept, and shown when it fails."""
        command = [*self.program, *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if check and done.returncode:
            sys.exit(
                f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
            )
        return done


@dataclass(frozen=True)
class Sent:
    """How many records are stored for sure, and how many may be."""

    stored: int = 0
    unknown: int = 0

    def __add__(self, other: "Sent") -> "Sent":
        return Sent(self.stored + other.stored, self.unknown + other.unknown)

    def __contains__(self, rows: int) -> bool:
        return self.stored <= rows <= self.stored + self.unknown


def compose() -> Compose:
    """Docker's plug-in or podman-compose; ends the program when there is neither."""
    docker = shutil.which("docker")
    common = ["--project-name", "pinpip-check", "--env-file", str(ENVIRONMENT)]
    common += ["--profile", "kinesis"]
    if docker and _succeeds([docker, "compose", "version"]):
        return Compose([docker, "compose", *common])
    podman = shutil.which("podman-compose")
    if podman:
        # HEALTHCHECK is Docker's; the host's network reaches a package index that it reaches.
        own = ["--podman-build-args", "--network host --format docker"]
        return Compose([podman, *common, *own])
    sys.exit("make containers needs docker compose, or podman and podman-compose (pip)")


def main() -> None:
    """Do all of it, and take everything down whatever happens."""
    stack, clock = compose(), SystemClock()
    _tell("build")
    for image in ("gateway", "moto"):
        stack.run("build", image)
    try:
        _tell("up")
        stack.run("up", "--detach")
        _await(clock, _is_ready, f"the gateway at {GATEWAY} is not ready")
        _tell("produce")
        sent = _sent(_producing(stack, EVENTS))
        _prove(stack, clock, sent)
        _tell("produce while the broker is killed")
        sent += _sent_over_a_crash(stack, clock)
        _prove(stack, clock, sent)
    finally:
        _tell("down")
        stack.run("down", "--volumes", check=False)


def _sent_over_a_crash(stack: Compose, clock: Clock) -> Sent:
    """Send more, and kill the broker when it has stored some of them."""
    broker = AdminClient({"bootstrap.servers": BROKER, "log_level": 0})
    before = _offsets(broker)
    producing = _producing(stack, MORE)
    _await(clock, lambda: _offsets(broker) > before, "none of the records came to the broker")
    stack.run("kill", "kafka")
    if producing.poll() is not None:
        sys.exit("all records were sent before the broker was killed")
    stack.run("start", "kafka")
    return _sent(producing)


def _offsets(broker: AdminClient) -> int:
    """How many records the topics hold."""
    topics = broker.list_topics(timeout=TIMEOUT_S).topics
    places = [
        TopicPartition(name, partition)
        for name, topic in topics.items()
        for partition in topic.partitions
        if not name.startswith("__")
    ]
    last: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    ends = broker.list_offsets(dict.fromkeys(places, last))
    return sum(end.result(TIMEOUT_S).offset for end in ends.values())


def _producing(stack: Compose, count: int) -> "subprocess.Popen[str]":
    words = ["produce", "--count", str(count), "--rate", str(RATE), "--json"]
    command = [*stack.program, "exec", "-T", "gateway", "pinpip", *words]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def _sent(producing: "subprocess.Popen[str]") -> Sent:
    """Count the stored and the unknown records; end the program when one was rejected."""
    told, _ = producing.communicate(timeout=TIMEOUT_S)
    rows = json.loads(told[told.index("[") :]) if "[" in told else []
    sent = sum((Sent(row["stored"], row["unknown"]) for row in rows), Sent())
    refused = not rows or any(row["rejected"] or row["bad"] for row in rows)
    if refused or (producing.returncode and not sent.unknown):
        sys.exit(f"produce ended with {producing.returncode}: {told}")
    _tell(f"stored {sent.stored:,}, unknown {sent.unknown:,}")
    return sent


def _prove(stack: Compose, clock: Clock, sent: Sent) -> None:
    """Return when each record that was sent is there once, in every verdict exactly once."""
    deadline = clock.monotonic() + TIMEOUT_S
    while True:
        done = stack.run("exec", "-T", "pin", *VERIFY, check=False)
        trees = json.loads(done.stdout[done.stdout.index("[") :]) if "[" in done.stdout else []
        rows = sum(tree["clean"] + tree["quarantined"] for tree in trees)
        if rows in sent and done.returncode == 0:
            _tell(f"exactly once: {rows:,} rows in {len(trees)} pipelines")
            return
        if clock.monotonic() > deadline:
            sys.exit(f"{rows:,} rows of {sent}: {done.stdout}{done.stderr}")
        clock.sleep(2.0)


def _is_ready() -> bool:
    with suppress(requests.RequestException):
        return requests.get(f"{GATEWAY}/ready", timeout=10).ok
    return False


def _await(clock: Clock, holds: Callable[[], bool], complaint: str) -> None:
    """Return when it holds; end the program with the complaint when it does not in time."""
    deadline = clock.monotonic() + TIMEOUT_S
    while not holds():
        if clock.monotonic() > deadline:
            sys.exit(complaint)
        clock.sleep(0.1)


def _tell(what: str) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def _succeeds(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    main()
