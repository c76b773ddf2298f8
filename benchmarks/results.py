"""Store results with date, machine, library versions and commit."""

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

from pinpip.cli.tables import show

FOLDER = Path(__file__).parent / "results"
LIBRARIES = ("polars", "deltalake", "confluent-kafka", "pyarrow")
_MIN_WHOLE = 100


class Machine(BaseModel):
    """The machine that made a result."""

    model_config = ConfigDict(frozen=True)
    cores: int
    cpu: str
    memory_gb: float
    system: str
    python: str
    libraries: dict[str, str]


class BenchmarkResult(BaseModel):
    """One measurement: its parameters, and a row for each thing measured."""

    model_config = ConfigDict(frozen=True)
    measure: str
    at: datetime
    commit: str
    machine: Machine
    parameters: dict[str, Any]
    rows: list[dict[str, Any]]

    def save(self, folder: Path) -> Path:
        """Write the result into `folder`; the file is named after its time."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.at:%Y-%m-%dT%H%M%SZ}-{self.measure}.json"
        path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        return path


def result(
    measure: str, parameters: Mapping[str, object], rows: Sequence[Mapping[str, object]]
) -> BenchmarkResult:
    """Build a result of this machine, time and commit."""
    plain = [_short(dict(row)) for row in rows]
    return BenchmarkResult(
        measure=measure,
        at=datetime.now(UTC),
        commit=commit(),
        machine=machine(),
        parameters=dict(parameters),
        rows=plain,
    )


def publish(found: BenchmarkResult, title: str, *, as_json: bool, keep: bool) -> None:
    """Print the rows without their lists, and store the result if `keep`."""
    if as_json:
        print(found.model_dump_json())
    else:
        scalars = [{k: v for k, v in r.items() if not isinstance(v, list)} for r in found.rows]
        show(title, scalars, as_json=False)
    if keep:
        found.save(FOLDER)


def _short(value: Any) -> Any:
    """Round numbers to three decimals, from 100 on to whole numbers."""
    if isinstance(value, dict):
        return {k: _short(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_short(v) for v in value]
    if isinstance(value, float):
        return round(value) if abs(value) >= _MIN_WHOLE else round(value, 3)
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
    head = _git("rev-parse", "--short=12", "HEAD")
    return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
