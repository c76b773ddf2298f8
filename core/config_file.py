"""The file that a configuration was read from: its relative paths begin at that file's folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, ValidationInfo

from core import paths

STATE_FILE = Path(".pinpip/local.json")


@dataclass(frozen=True)
class ConfigFile:
    """Where a configuration was read from; by default config.yaml in the working directory.

    It is the context of pydantic's validation: models without one take the default.
    """

    path: Path = Path("config.yaml")

    @property
    def stack(self) -> Path:
        """The file in which the embedded stack of this configuration leaves its addresses."""
        return self.path.parent / STATE_FILE

    def absolute(self, path: str) -> str:
        """Return `path` as `located` does, from the root: for what another process may read."""
        return str(Path(self.located(path)).absolute())

    def located(self, path: str) -> str:
        """Return `path` with `~` as the home folder, relative to the file's folder; URLs as is."""
        return path if "://" in path else str(self.path.parent / at_home(path))


def at_home(path: str) -> str:
    """Return `path` with a leading `~` or `~user` as that user's home folder.

    Raises ValueError when there is no such user.
    """
    try:
        return str(Path(path).expanduser()) if path.startswith("~") else path
    except RuntimeError as error:
        raise ValueError(f"{path} names the home folder of an unknown user") from error


def read_from(context: object) -> ConfigFile:
    """Return the file in pydantic's validation context."""
    return context if isinstance(context, ConfigFile) else ConfigFile()


def _located(path: str, info: ValidationInfo) -> str:
    if not path.strip():
        raise ValueError("is empty; `.` is the folder of this file")
    return read_from(info.context).located(path)


ConfigPath = Annotated[str, AfterValidator(_located)]  # a path or URL, located where it is read
ConfigPlace = Annotated[str, AfterValidator(paths.check), AfterValidator(_located)]  # of data
