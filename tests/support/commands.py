"""What tests expect of a command that failed, and how they change a configuration."""

import re
import shutil
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import yaml
from click import Context
from typer.main import get_command
from typer.testing import CliRunner, Result

from pinpip.cli import app
from tests.support import logs
from tests.support.processes import Home

LOGGED = re.compile(r"\d{4}-\d\d-\d\dT\S+Z (debug|info|warning|error) |%\d\|.*rdkafka#")


def the_error(done: "CompletedProcess[str]") -> str:
    """Return the only error that ended a command: one line that says what, usually a next step."""
    lines = [line for line in done.stderr.splitlines() if not LOGGED.match(line)]
    assert done.returncode == 1, done.stderr + done.stdout
    assert 1 <= len(lines) <= 2, done.stderr
    assert lines[0].startswith("error: ")
    assert len(lines) == 1 or lines[1].startswith("next:  ")
    return "\n".join(lines)


def tree_of(home: Home) -> dict[str, Any]:
    """Return the configuration as it stands in the file."""
    return dict(yaml.safe_load(home.config_path.read_text(encoding="utf-8")))


def copied(home: Home, folder: Path) -> Home:
    """Copy `home`, lake included, so that a test may damage it."""
    copy = Home(Path(shutil.copytree(home.folder, folder)))
    change(copy, "lake/root", str(copy.folder / "lake"))
    return copy


def change(home: Home, where: str, value: object) -> None:
    """Set one key, named like `kafka/bootstrap.servers`, of the configuration."""
    tree = tree_of(home)
    *parents, key = where.split("/")
    node = tree
    for parent in parents:
        node = node.setdefault(parent, {})
    node[key] = value
    home.config_path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")


def invoke(home: Home, *arguments: str) -> Result:
    """`pinpip …` in this process; its log goes nowhere else afterwards."""
    try:
        return CliRunner().invoke(app, ["-c", str(home.config_path), *arguments])
    finally:
        logs.reset()


def parsed(arguments: list[str]) -> dict[str, Any]:
    """Parse a command line of pinpip as pinpip does; an unknown option is an error."""
    group: Any = get_command(app)
    with group.make_context("pinpip", list(arguments)) as context:
        rest = [*context._protected_args, *context.args]
        name, command, own = group.resolve_command(context, rest)
        made: Context = command.make_context(name, own, parent=context)
        return {"config": context.params.get("config"), "command": name, **made.params}
