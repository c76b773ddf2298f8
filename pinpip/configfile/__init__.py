"""Reading config.yaml: `${NAME}` filled in, environment overrides, errors that name the place."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
from pydantic import SecretStr, ValidationError

from core.config import Config
from core.config_file import ConfigFile
from core.errors import ConfigError
from pinpip.configfile import document
from pinpip.configfile.words import SECRET, explained
from transforms import code_file

_MOVED = "lake.root is relative to the folder of config.yaml; an absolute path names the other lake"
SECTIONS = ("aws", "lake", "gateway", "monitor", "producer", "batching", "log")
_log = structlog.get_logger()


def load(path: Path, environment: Mapping[str, str] = os.environ) -> Config:
    """Load the configuration in `path`; a ConfigError names line, column and key."""
    found = document.read(path, environment)
    # A section whose keys are all comments is one without a value.
    empty: dict[str, Any] = {name: {} for name in SECTIONS if found.tree.get(name) is None}
    try:
        config = Config.model_validate({**found.tree, **empty}, context=ConfigFile(path))
    except ValidationError as error:
        raise ConfigError(
            explained(error.errors(include_url=False), found),
            "every key is explained in the example of pinpip's repository",
        ) from error
    return _anchored(config, path.parent)


def _anchored(config: Config, folder: Path) -> Config:
    """`config` with the pipelines' code files relative to `folder`."""
    pipelines = {
        name: pipeline.model_copy(
            update={
                "schema_": code_file.resolved(pipeline.schema_, folder),
                "transform": code_file.resolved(pipeline.transform, folder),
            }
        )
        for name, pipeline in config.pipelines.items()
    }
    return config.model_copy(update={"pipelines": pipelines})


def warn_of_moved_lake(config: Config) -> None:
    """Log a lake in the working directory, where earlier versions looked for a relative root."""
    root, folder = Path(config.lake.root), config.file.path.parent
    if "://" in config.lake.root or root.exists() or not root.is_relative_to(folder):
        return
    before = root.relative_to(folder)
    if before.is_dir() and any(before.glob("*/_delta_log")):
        _log.warning("lake_elsewhere", used=str(root), found=str(before.absolute()), next=_MOVED)


def secrets(config: Config) -> set[str]:
    """Return the texts of the configuration that nobody is to see."""
    found: set[str] = set()

    def look(node: Any, key: str) -> None:
        if isinstance(node, dict):
            for k, v in node.items():
                look(v, str(k))
        elif isinstance(node, (list, tuple)):
            for item in node:
                look(item, key)
        elif isinstance(node, SecretStr):
            found.add(node.get_secret_value())
        elif isinstance(node, str) and SECRET.search(key):
            found.add(node)

    look(config.model_dump(by_alias=True), "")
    return found


def shown(config: Config) -> dict[str, Any]:
    """Return the configuration as people may see it: secrets are hidden."""

    def hide(node: Any, key: str) -> Any:
        if isinstance(node, dict):
            return {k: hide(v, k) for k, v in node.items()}
        if isinstance(node, SecretStr) or (node and SECRET.search(key)):
            return "**********"
        return [hide(v, key) for v in node] if isinstance(node, (list, tuple)) else node

    tree: dict[str, Any] = hide(config.model_dump(by_alias=True), "")
    return tree
