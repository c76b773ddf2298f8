"""The wheel, built without a network: what is in it, and that it works on its own."""

import subprocess
import sys
import tomllib
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path
from zipfile import ZipFile

import pytest

import pinpip
from tests.support.places import ROOT
from tests.support.processes import stop, until
from tests.support.readme import OWN_TABLES, lines
from tests.support.stranger import Stranger

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and unpack it into a separate folder."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    built = subprocess.run([*command, str(ROOT)], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = folder.glob("*.whl")
    with ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.fixture(scope="module")
def distribution(unpacked: Path) -> Distribution:
    (metadata,) = unpacked.glob("*.dist-info")
    return PathDistribution(metadata)


def run_in(site: Path, code: str) -> str:
    """Return the output of `code` when the project can be imported from the wheel only."""
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(site)!r}); {code}"]
    done = subprocess.run(command, cwd=site, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def shipped(package: str) -> set[str]:
    """Return the files of `package` in the repository that belong in the wheel."""
    files = (path for path in (ROOT / package).rglob("*") if path.is_file())
    return {str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_file_of_a_package_is_in_the_wheel(unpacked: Path, package: str) -> None:
    expected = shipped(package)
    assert f"{package}/__init__.py" in expected
    assert {name for name in expected if not (unpacked / name).is_file()} == set()


def test_nothing_but_the_packages_is_in_the_wheel(unpacked: Path) -> None:
    names = {path.name for path in unpacked.iterdir()}
    assert names == {*PACKAGES, f"pinpip-{pinpip.__version__}.dist-info"}


def test_every_package_of_the_repository_is_listed_for_the_wheel() -> None:
    found = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert found - {"benchmarks"} == set(PACKAGES)


def test_the_nine_questions_are_in_the_wheel(unpacked: Path) -> None:
    files = (unpacked / "reports/questions").glob("*.sql")
    assert {path.name[1] for path in files} == set("0123456789")


def test_the_documented_example_is_in_the_wheel_and_loads(unpacked: Path) -> None:
    shown = run_in(
        unpacked,
        "from importlib.resources import files; from pinpip.configfile import load;"
        "print(files('pinpip') / 'config.yaml');"
        "print(load(files('pinpip') / 'config.yaml', {}).id)",
    )
    assert shown.splitlines() == [str(unpacked / "pinpip/config.yaml"), "demo"]
    example = (ROOT / "config.yaml").read_text(encoding="utf-8")
    assert (unpacked / "pinpip/config.yaml").read_text(encoding="utf-8") == example


def test_the_command_is_pinpip_and_runs(unpacked: Path, distribution: Distribution) -> None:
    commands = {entry.name: entry.value for entry in distribution.entry_points}
    assert commands == {"pinpip": "pinpip.cli:main"}
    run_in(unpacked, "from pinpip.cli import main; sys.argv = ['pinpip', '--help']; main()")


def test_a_new_record_type_takes_the_five_commands_of_the_readme(
    tmp_path: Path, unpacked: Path
) -> None:
    stranger = Stranger(tmp_path, unpacked)
    init, up, produce, consume, verify = lines(OWN_TABLES)
    assert "boards.py" in stranger.type(init)
    with stranger.terminal(up) as stack:
        until(stranger.is_up, "the embedded stack")
        stranger.type(produce)
        stranger.type(consume)
        assert "none missing, none twice" in stranger.type(verify)
        assert stop(stack, within=40) == 0
    assert (stranger.rows("boards"), stranger.rows("boards_quarantine")) == (20, 0)
    assert "3 passed" in stranger.type(f"{sys.executable} -m pytest -q")


def test_the_metadata_is_the_projects(distribution: Distribution) -> None:
    assert distribution.version == pinpip.__version__
    assert distribution.metadata["License-Expression"] == PROJECT["project"]["license"]
    assert distribution.metadata["Requires-Python"] == PROJECT["project"]["requires-python"]


@pytest.mark.parametrize(
    "lock",
    [
        "requirements.lock",
        "requirements-docs.lock",
        "requirements-airflow.lock",
        "requirements-notebook.lock",
    ],
)
def test_the_lock_pins_every_requirement_with_hashes_and_names_no_index(lock: str) -> None:
    lines = (ROOT / lock).read_text(encoding="utf-8").splitlines()
    code = [line.strip() for line in lines if line and not line.lstrip().startswith("#")]
    assert all(line.startswith("--hash=sha256:") or "==" in line for line in code)
    assert not any("://" in line or line.startswith("-i") for line in lines)
    pins = [i for i, line in enumerate(code) if "==" in line]
    assert pins
    assert all(code[i + 1].startswith("--hash") for i in pins)
