"""The processes of `pinpip demo`: the embedded stack and the consumers, each with a log."""

import fcntl
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import FatalError
from pinpip import child
from pinpip.child import Held, Process
from pinpip.cli.shared import Settings
from pinpip.folders import writing

if TYPE_CHECKING:
    from core.config import Config

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
Processes = Mapping[str, Process]  # consumers by the names of their pipelines


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Raise FatalError when another demo runs in `folder`: each would take the other's files."""
    with writing(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = folder.with_suffix(".lock").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FatalError(
                f"another demo is running in {folder.absolute()}",
                "wait for its end, or run this one in another folder",
            ) from error
        yield


@contextmanager
def stack(config: Path, held: Held) -> "Iterator[Config]":
    """Run the embedded stack; yields the configuration with its addresses once it responds."""
    log = config.parent / "local-up.log"
    with _running(config, log, held, "local", "up") as process:
        yield _await(config, process, log)


@contextmanager
def consumer(config: Path, pipeline: str, held: Held) -> Iterator[Process]:
    """Run the consumer of `pipeline`; one that still runs at the end is killed.

    Nothing is lost by that: rows and positions are in the same commits.
    """
    with _running(config, _log(config, pipeline), held, "consume", pipeline) as process:
        try:
            yield process
        finally:
            process.kill()


def check(config: Path, consumers: Processes) -> None:
    """Raise FatalError with the last error of a consumer that has ended."""
    for name, process in consumers.items():
        if process.poll() is not None:
            log = _log(config, name)
            raise FatalError(
                f"the consumer of {name} ended with code {process.returncode}: {_last_error(log)}",
                f"its whole log is {log}",
            )


def stop(config: Path, consumers: Processes) -> None:
    """Stop the consumers as an operator does; raises FatalError for one that ends with an error."""
    for process in consumers.values():
        process.send_signal(signal.SIGTERM)
    for name, process in consumers.items():
        if process.wait(STOP_TIMEOUT_S):
            check(config, {name: process})


@contextmanager
def _running(config: Path, log: Path, held: Held, *arguments: str) -> Iterator[Process]:
    """Run pinpip in a process, as a user would."""
    with (
        log.open("wb") as out,
        child.pinpip(config, arguments, held, STOP_TIMEOUT_S, stdout=out, stderr=out) as process,
    ):
        yield process


def _log(config: Path, pipeline: str) -> Path:
    return config.parent / f"consume-{pipeline}.log"


def _last_error(log: Path) -> str:
    """Return the last `error:` line of a log, or else its last line."""
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (errors or lines or ["it wrote nothing"])[-1]


def _await(path: Path, process: Process, log: Path) -> "Config":
    """Return the configuration once the stack and its gateway respond."""
    import requests

    from core import kafka
    from core.errors import StackDown

    config = Settings(path, debug=False).config()
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            kafka.properties(config)
            requests.get(f"http://127.0.0.1:{config.gateway.port}/health", timeout=2)
        except (StackDown, requests.RequestException):
            time.sleep(0.1)
        else:
            return config
    raise FatalError(
        f"the embedded stack did not come up: {_last_error(log)}", f"its whole log is {log}"
    )
