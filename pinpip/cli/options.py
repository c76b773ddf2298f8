"""The options that every command has, before its name and after it: --config and --debug."""

import inspect
import re
import shlex
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from core.errors import PinpipError
from pinpip.cli.shared import Settings, settings_of

Command = Callable[..., Any]
DEFAULT = Path("config.yaml")
_PANEL = "Every command"
_FILE = re.compile(r"(?<![\w/.-])config\.yaml(?!\.?\w)")
_OPTIONS = {
    "_config": Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            help="The configuration (default: config.yaml).",
            show_default=False,
            rich_help_panel=_PANEL,
        ),
    ],
    "_debug": Annotated[
        bool,
        typer.Option("--debug", help="Show tracebacks and debug logs.", rich_help_panel=_PANEL),
    ],
}
_DEFAULTS = {"_config": None, "_debug": False}


def everywhere(app: typer.Typer, names: Collection[str] = ()) -> None:
    """Give the options to each command and group below `app`; what comes later wins.

    Their errors name the configuration that was read, also in the commands that they suggest.
    """
    names = names or [info.name or _name(info.callback) for info in app.registered_commands]
    names = [*names, *(group.name for group in app.registered_groups if group.name)]
    for group in app.registered_groups:
        if group.typer_instance is not None:
            everywhere(group.typer_instance, names)
            callback = group.typer_instance.registered_callback
            if callback is not None and callback.callback is not None:
                callback.callback = _with_options(callback.callback, names)
    for info in app.registered_commands:
        if info.callback is not None:
            info.callback = _with_options(info.callback, names)


def _name(command: Command | None) -> str:
    return getattr(command, "__name__", "")


def _with_options(command: Command, names: Collection[str]) -> Command:
    own = inspect.signature(command)

    @wraps(command)
    def run(context: typer.Context, **given: Any) -> Any:
        before = settings_of(context)
        path, debug = given.pop("_config"), given.pop("_debug")
        settings = Settings(path or before.config_path, debug or before.debug)
        context.obj = settings
        whole = partial(command, context) if "context" in own.parameters else command
        with _naming(settings.config_path, names):
            return whole(**given)

    kind = inspect.Parameter.KEYWORD_ONLY
    context = inspect.Parameter("context", kind, annotation=typer.Context)
    added = [
        inspect.Parameter(name, kind, annotation=annotation, default=_DEFAULTS[name])
        for name, annotation in _OPTIONS.items()
    ]
    kept = [p.replace(kind=kind) for p in own.parameters.values() if p.name != "context"]
    run.__signature__ = own.replace(parameters=[context, *kept, *added])  # type: ignore[attr-defined]
    run.__annotations__ = {**command.__annotations__, "context": typer.Context, **_OPTIONS}
    return run


@contextmanager
def _naming(path: Path, names: Collection[str]) -> Iterator[None]:
    """Let an error name the file that was read, where its text says config.yaml."""
    try:
        yield
    except PinpipError as error:
        if path != DEFAULT:
            error.message = named(error.message, path, names)
            error.hint = named(error.hint, path, names)
        raise


def named(text: str, path: Path, names: Collection[str]) -> str:
    """Return `text` with `path` for config.yaml, and with `-c path` in calls of pinpip."""
    calls = re.compile(rf"\bpinpip (?=(?:{'|'.join(map(re.escape, names))})\b)")
    given = f"pinpip -c {shlex.quote(str(path))} "
    return calls.sub(lambda _: given, _FILE.sub(lambda _: str(path), text))
