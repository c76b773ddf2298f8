"""`make containers`: the image and the compose file as a user runs them, and the proof.

Builds, starts everything (Kinesis on moto as well), sends records on both routes, verifies each
pipeline, kills the broker in the midst of more records, verifies again and takes all of it down.
Takes `docker compose`, or podman-compose where Docker has no such plug-in.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import requests

from pinpip.clock import Clock, SystemClock

ROOT = Path(__file__).parent.parent
ENVIRONMENT = ROOT / "deploy/config/moto.env"
GATEWAY = "http://127.0.0.1:8082"
VERIFY = ("pinpip", "verify", "--json", "--grace", "0")
EVENTS, RATE = 3000, 500
PATIENCE = 300.0


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
        _await_gateway(clock)
        _tell("produce")
        sent = _sent(_producing(stack))
        _prove(stack, clock, sent)
        _tell("produce while the broker is killed")
        producing = _producing(stack)
        clock.sleep(2.0)
        stack.run("kill", "kafka")
        stack.run("start", "kafka")
        sent += _sent(producing)
        _prove(stack, clock, sent)
    finally:
        _tell("down")
        stack.run("down", "--volumes", check=False)


def _producing(stack: Compose) -> "subprocess.Popen[str]":
    words = ["produce", "--count", str(EVENTS), "--rate", str(RATE), "--json"]
    command = [*stack.program, "exec", "-T", "gateway", "pinpip", *words]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def _sent(producing: "subprocess.Popen[str]") -> int:
    """How many records were stored; ends the program when one was not."""
    told, _ = producing.communicate(timeout=PATIENCE)
    if producing.returncode:
        sys.exit(f"produce ended with {producing.returncode}: {told}")
    return sum(int(row["stored"]) for row in json.loads(told[told.index("[") :]))


def _prove(stack: Compose, clock: Clock, sent: int) -> None:
    """Return when each record that was sent is there once, in every verdict exactly once."""
    deadline = clock.monotonic() + PATIENCE
    while True:
        done = stack.run("exec", "-T", "pin", *VERIFY, check=False)
        trees = json.loads(done.stdout[done.stdout.index("[") :]) if "[" in done.stdout else []
        rows = sum(tree["clean"] + tree["quarantined"] for tree in trees)
        if rows == sent and done.returncode == 0:
            _tell(f"exactly once: {rows:,} rows in {len(trees)} pipelines")
            return
        if clock.monotonic() > deadline:
            sys.exit(f"{rows:,} rows of {sent:,}: {done.stdout}{done.stderr}")
        clock.sleep(2.0)


def _await_gateway(clock: Clock) -> None:
    deadline = clock.monotonic() + PATIENCE
    while True:
        with suppress(requests.RequestException):
            if requests.get(f"{GATEWAY}/ready", timeout=2).ok:
                return
        if clock.monotonic() > deadline:
            sys.exit(f"the gateway at {GATEWAY} is not ready")
        clock.sleep(1.0)


def _tell(what: str) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def _succeeds(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    main()
