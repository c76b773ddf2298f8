"""Results that are kept: dated, with the machine, the versions and the commit they were made by."""

import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from pinpip.cli.shared import show

FOLDER = Path(__file__).parent / "results"
LIBRARIES = ("polars", "deltalake", "confluent-kafka", "pyarrow")
_WHOLE = 100


class Machine(BaseModel):
    """Where a result was made."""

    model_config = ConfigDict(frozen=True)
    cores: int
    cpu: str
    memory_gb: float
    system: str
    python: str
    libraries: dict[str, str]


class Result(BaseModel):
    """One measurement: what was asked for, and a row for each thing measured."""

    model_config = ConfigDict(frozen=True)
    measure: str
    at: datetime
    commit: str
    machine: Machine
    parameters: dict[str, Any]
    rows: list[dict[str, Any]]

    def save(self, folder: Path) -> Path:
        """Keep the result as a file of `folder` that is named for its time."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.at:%Y-%m-%dT%H%M%SZ}-{self.measure}.json"
        path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        return path


def load(path: Path) -> Result:
    """Load a stored result."""
    return Result.model_validate_json(path.read_text(encoding="utf-8"))


def result(
    measure: str, parameters: Mapping[str, object], rows: Sequence[Mapping[str, object]]
) -> Result:
    """Make a result of this moment and machine."""
    plain = [_short(dict(row)) for row in rows]
    return Result(
        measure=measure,
        at=datetime.now(UTC),
        commit=commit(),
        machine=machine(),
        parameters=dict(parameters),
        rows=plain,
    )


def publish(found: Result, title: str, *, as_json: bool, keep: bool) -> None:
    """Print the rows, without what only a program reads, and keep the result."""
    if as_json:
        print(found.model_dump_json())
    else:
        scalars = [{k: v for k, v in r.items() if not isinstance(v, list)} for r in found.rows]
        show(title, scalars, as_json=False)
    if keep:
        found.save(FOLDER)


def _short(value: Any) -> Any:
    """Round a measure to three digits, but never before the point."""
    if isinstance(value, dict):
        return {k: _short(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_short(v) for v in value]
    if isinstance(value, float):
        return round(value) if abs(value) >= _WHOLE else round(value, 3)
    return value


def machine() -> Machine:
    """Describe this machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(
        cores=os.cpu_count() or 0,
        cpu=_cpu(),
        memory_gb=round(memory / 2**30, 1),
        system=f"{platform.system()} {platform.release().split('-')[0]}",
        python=platform.python_version(),
        libraries={name: version(name) for name in LIBRARIES},
    )


def _cpu() -> str:
    found = re.search(
        r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text("utf-8"), re.MULTILINE
    )
    return found[1] if found else platform.machine()


def commit() -> str:
    """Return the commit of the code, with a + when files differ from it."""
    said = _git("rev-parse", "--short=12", "HEAD")
    return said + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
