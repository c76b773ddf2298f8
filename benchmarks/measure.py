"""Run processes and measure their CPU time and memory."""

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
Process = subprocess.Popen[bytes]
_TICKS = os.sysconf("SC_CLK_TCK")
_STOP_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Usage:
    """CPU seconds (user and system), resident memory now and at its peak in MB."""

    cpu: float
    rss: float
    peak: float


@contextmanager
def running(command: Sequence[str], log: Path, **environment: str) -> Iterator[Process]:
    """Run a process while the block runs; its output goes to `log`."""
    own = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    with log.open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=own, cwd=ROOT)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def pinpip(config: Path, *arguments: str) -> Iterator[Process]:
    """Run `pinpip …` with this configuration while the block runs."""
    command = [sys.executable, "-m", "pinpip", "--config", str(config), *arguments]
    with running(command, config.parent / "log") as process:
        yield process


def refuse_dead(processes: Iterable[Process], log: Path) -> None:
    """Raise SystemExit when a process has failed."""
    for process in processes:
        if process.poll():
            words = log.read_text("utf-8", "replace")[-2000:]
            raise SystemExit(f"a process ended with code {process.returncode}:\n{words}")


def usage(root: int) -> Usage:
    """Return the usage of a process and its descendants; peaks are added up."""
    found = [_own(pid) for pid in _tree(root)]
    return Usage(
        sum(own.cpu for own in found), sum(own.rss for own in found), sum(own.peak for own in found)
    )


def total(usages: Iterable[Usage]) -> Usage:
    """Add up several usages."""
    held = list(usages)
    return Usage(sum(u.cpu for u in held), sum(u.rss for u in held), sum(u.peak for u in held))


def _tree(root: int) -> list[int]:
    parents = {int(p.name): _parent(p) for p in Path("/proc").iterdir() if p.name.isdigit()}
    below = [pid for pid, parent in parents.items() if parent == root]
    return [root, *(deeper for pid in below for deeper in _below(pid, parents))]


def _below(pid: int, parents: Mapping[int, int]) -> Iterator[int]:
    yield pid
    for child in [own for own, parent in parents.items() if parent == pid]:
        yield from _below(child, parents)


def _fields(process: Path) -> list[str]:
    return (process / "stat").read_text().rsplit(")", 1)[1].split()


def _parent(process: Path) -> int:
    try:
        return int(_fields(process)[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _own(pid: int) -> Usage:
    process = Path(f"/proc/{pid}")
    try:
        times, status = _fields(process)[11:15], (process / "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return Usage(0, 0, 0)
    sizes = dict(line.split(":", 1) for line in status.splitlines() if line.startswith("Vm"))
    rss, peak = (int(sizes.get(name, "0 kB").split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return Usage(sum(map(int, times)) / _TICKS, rss, peak)
