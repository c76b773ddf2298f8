"""-c and --debug stand before a command's name or after it, and errors name the file."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from pinpip.cli import app
from pinpip.cli.options import named
from tests.support import logs


def words(app: Typer) -> Iterator[list[str]]:
    """Every command and group, as one calls it."""
    for command in app.registered_commands:
        assert command.callback is not None
        yield [command.name or command.callback.__name__]
    for group in app.registered_groups:
        assert group.typer_instance is not None
        assert group.name is not None
        yield [group.name]
        yield from ([group.name, *rest] for rest in words(group.typer_instance))


@pytest.fixture(autouse=True)
def _log() -> Iterator[None]:
    yield
    logs.reset()


@pytest.mark.parametrize("command", list(words(app)), ids=" ".join)
def test_every_command_and_group_takes_the_options(command: list[str]) -> None:
    done = CliRunner().invoke(app, [*command, "-c", "x.yaml", "--debug", "--help"])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["-c", "a.yaml", "status"],
        ["status", "-c", "a.yaml"],
        ["-c", "b.yaml", "status", "--config", "a.yaml"],
        ["config", "-c", "a.yaml", "check"],
        ["-c", "b.yaml", "config", "-c", "c.yaml", "check", "-c", "a.yaml"],
    ],
)
def test_the_last_configuration_is_read(arguments: list[str]) -> None:
    done = CliRunner().invoke(app, arguments, env={"PINPIP_CONFIG": "d.yaml"})
    assert "a.yaml cannot be read" in str(done.exception)


def test_the_environment_names_the_configuration_when_nothing_else_does() -> None:
    done = CliRunner().invoke(app, ["status"], env={"PINPIP_CONFIG": "d.yaml"})
    assert "d.yaml cannot be read" in str(done.exception)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("see kafka in config.yaml", "see kafka in x y/c.yaml"),
        ("/etc/config.yaml: wrong", "/etc/config.yaml: wrong"),
        ("my-config.yaml and config.yaml.bak", "my-config.yaml and config.yaml.bak"),
        ("fill it: pinpip consume", "fill it: pinpip -c 'x y/c.yaml' consume"),
        ("pinpip consumes", "pinpip consumes"),
    ],
)
def test_a_message_names_the_file_that_was_read(said: str, shown: str) -> None:
    assert named(said, Path("x y/c.yaml"), ["consume"]) == shown
