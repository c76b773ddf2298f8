"""What the commands share: settings, output for people and programs, stopping on signals."""

import os
import shlex
import shutil
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from core.errors import FatalError, PinpipError
from pinpip.cli.signals import handling

if TYPE_CHECKING:
    from rich.progress import Progress

    from core.config import Config, Log

TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]
TIMES += ["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]
FAILED = 1  # exit code
LEAVE = 9.0  # seconds from SIGTERM to the end of the process at most
WAKES = 0.5  # seconds within which a signal is seen, whichever thread it reached


@dataclass(frozen=True)
class Settings:
    """The options that every command has."""

    config_path: Path
    debug: bool

    def config(self, *, daemon: bool = False, access: bool | None = None) -> "Config":
        """Load the configuration, and log as it says; see `pinpip.logs.configure`."""
        from pinpip import configfile, logs

        self.log(logs.first_settings(), daemon=daemon, access=access)
        config = configfile.load(self.config_path)
        self.log(config.log, daemon=daemon, access=access, secrets=configfile.secrets(config))
        configfile.warn_of_moved_lake(config)
        return config

    def log(self, settings: "Log", **options: Any) -> None:
        """Log as the section `log` says; everything with --debug."""
        from pinpip import logs

        logs.configure(settings, debug=self.debug, **options)


def settings_of(context: typer.Context) -> Settings:
    """Return the settings that the callback left in the context."""
    settings = context.obj
    if not isinstance(settings, Settings):
        raise TypeError("the command was not called through pinpip")
    return settings


def invocation() -> str:
    """Return how this pinpip was called, for commands that a user may copy into a shell."""
    called = sys.argv[0]
    if Path(called).name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m pinpip"
    found = shutil.which("pinpip")
    on_path = found is not None and os.path.realpath(found) == os.path.realpath(called)
    return "pinpip" if on_path else shlex.quote(called)


def utc(time: datetime | None) -> datetime | None:
    """Read a time without a zone as UTC."""
    if time is None:
        return None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def explained(error: BaseException) -> PinpipError:
    """Return the error itself, or one that names an exception that nobody expected, and where."""
    if isinstance(error, PinpipError):
        return error
    said = " ".join(str(error).split())
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return FatalError(
        f"unexpected {type(error).__name__}{': ' * bool(said)}{said}{place}",
        "run it with --debug for the traceback",
    )


def refuse_reversed(first: Any, last: Any, names: tuple[str, str]) -> None:
    """Raise a usage error for a range that ends before it begins; None is no bound."""
    if first is not None and last is not None and first > last:
        raise typer.BadParameter(f"{names[0]} is after {names[1]}: nothing is between them")


def complain(error: PinpipError) -> None:
    """Say what happened and what to do next, on standard error; a daemon may log it instead."""
    from rich.console import Console
    from rich.text import Text

    from pinpip import logs

    if logs.tells_failures():
        logs.failed(error)
        return
    console = Console(stderr=True, soft_wrap=True)
    console.print(Text.assemble(("error: ", "bold red"), error.message))
    if error.hint:
        console.print(Text.assemble(("next:  ", "bold"), error.hint))


@contextmanager
def stopping_on_signals(*stops: Callable[[], None]) -> Iterator[None]:
    """Call all `stops` on SIGTERM and SIGINT while the block runs."""

    def handle(_number: int, _frame: object) -> None:
        for stop in stops:
            stop()

    with handling(handle):
        yield


@contextmanager
def leaving_in_time(say: Callable[[], PinpipError]) -> Iterator[Callable[[], None]]:
    """Yield what to call when the process is asked to stop: it ends soon then, whatever hangs.

    A call on a store that never answers cannot be ended, only left: as kill -9 it costs nothing, as
    the positions are in the tables. `say` is asked for the error to show.
    """

    def leave() -> None:
        complain(say())
        sys.stdout.flush()
        os._exit(1)

    timer = threading.Timer(LEAVE, leave)
    timer.daemon = True

    def begin() -> None:
        if timer.ident is None:
            timer.start()

    try:
        yield begin
    finally:
        timer.cancel()


def awaited(happens: Callable[[float], bool]) -> None:
    """Return once `happens`, which waits for so many seconds at most, says so.

    A signal may reach another thread, and its handler runs only when the main one wakes up.
    """
    while not happens(WAKES):
        pass


@contextmanager
def progress_bar(*, quiet: bool) -> "Iterator[Progress]":
    """Show a progress bar on standard error; remove it when it is done."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    columns = [*Progress.get_default_columns(), MofNCompleteColumn()]
    console = Console(stderr=True)
    unseen = quiet or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=unseen) as bar:
        yield bar


@contextmanager
def working(what: str, *, quiet: bool) -> Iterator[None]:
    """Show as `progress_bar` that the block works, where nobody knows for how long."""
    with progress_bar(quiet=quiet) as bar:
        bar.add_task(what, total=None)
        yield
