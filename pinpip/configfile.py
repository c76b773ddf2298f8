"""Reading config.yaml: `${NAME}` filled in, environment overrides, errors that name the key."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
import yaml
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from core import config as models
from core.config import Config, nearest
from core.config_file import ConfigFile
from core.errors import ConfigError
from transforms import code_file

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_SECRET = re.compile(r"password|secret|token|private|\.key$|\.pem$", re.IGNORECASE)
_TAGS = {"kafka", "kinesis", "one text", "several texts", "a test"}
_MOVED = "lake.root is relative to the folder of config.yaml; an absolute path names the other lake"
_log = structlog.get_logger()


def load(path: Path, environment: Mapping[str, str] = os.environ) -> Config:
    """Load the configuration in `path`; a ConfigError names the key and the nearest valid one."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}",
            "run pinpip in the folder of config.yaml, or name the file with --config",
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        said = " ".join(str(error).replace('in "<unicode string>", ', "at ").split())
        raise ConfigError(f"{path} is not YAML: {said}", "mend the line that it names") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} holds no mapping of keys", "start from the documented example")
    tree = _override(_fill(tree, environment, ""), environment)
    return _anchored(_validate({"lake": {}, **_fill_id(tree, tree.get("id"))}, path), path.parent)


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


def _validate(tree: dict[str, Any], path: Path) -> Config:
    try:
        return Config.model_validate(tree, context=ConfigFile(path))
    except ValidationError as error:
        lines = [_explain(detail) for detail in error.errors(include_url=False)]
        raise ConfigError(
            f"{path}: " + "; ".join(dict.fromkeys(lines)),
            "the documented example is config.yaml in pinpip's own repository",
        ) from error


def _explain(detail: ErrorDetails) -> str:
    where = [str(part) for part in detail["loc"]]
    name = ".".join(where[:1] + [part for part in where[1:] if part not in _TAGS])
    if detail["type"] != "extra_forbidden":
        return f"{name}: {detail['msg']}".removeprefix(": ")
    known = _known_keys()
    guess = " (a key of another section)" if where[-1] in known else nearest(where[-1], known)
    return f"unknown key {name!r}{guess}"


def _known_keys() -> list[str]:
    """Every key that some section knows: enough to guess what a misspelt one meant."""
    sections = [
        s for s in vars(models).values() if isinstance(s, type) and issubclass(s, BaseModel)
    ]
    return [f.alias or name for s in sections for name, f in s.model_fields.items()]


def _fill(node: Any, environment: Mapping[str, str], where: str) -> Any:
    """`node` with each `${NAME}` or `${NAME:-default}` replaced from the environment."""
    if isinstance(node, dict):
        return {k: _fill(v, environment, f"{where}.{k}".lstrip(".")) for k, v in node.items()}
    if isinstance(node, list):
        return [_fill(v, environment, f"{where}[{i}]") for i, v in enumerate(node)]
    if not isinstance(node, str):
        return node

    def value(match: re.Match[str]) -> str:
        found = environment.get(match[1], match[2])
        if found is None:
            raise ConfigError(
                f"{where} wants the environment variable {match[1]}, which is not set",
                f"export {match[1]}=…, or give a default: ${{{match[1]}:-value}}",
            )
        return found

    return _REFERENCE.sub(value, node)


def _fill_id(node: Any, identity: object) -> Any:
    """`node` with each `{id}` replaced by the configured id."""
    if isinstance(node, dict):
        return {k: _fill_id(v, identity) for k, v in node.items()}
    if isinstance(node, list):
        return [_fill_id(v, identity) for v in node]
    return node.replace("{id}", str(identity)) if isinstance(node, str) else node


def _override(tree: dict[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """`tree` with `PINPIP_SECTION__KEY=value` put in; values are YAML scalars."""
    merged = dict(tree)
    for name, text in environment.items():
        match = re.fullmatch(r"PINPIP_([A-Z]+)__([A-Z0-9_]+)", name)
        if match:
            section, key = match[1].lower(), match[2].lower()
            key = key.replace("_", ".") if section == "kafka" else key
            merged[section] = dict(merged.get(section) or {}) | {key: yaml.safe_load(text)}
    return merged


def warn_of_moved_lake(config: Config) -> None:
    """Log a lake in the working directory, where earlier versions looked for a relative root."""
    root, folder = Path(config.lake.root), config.file.path.parent
    if "://" in config.lake.root or root.exists() or not root.is_relative_to(folder):
        return
    before = root.relative_to(folder)
    if before.is_dir() and any(before.glob("*/_delta_log")):
        _log.warning("lake_elsewhere", used=str(root), found=str(before.absolute()), hint=_MOVED)


def shown(config: Config) -> dict[str, Any]:
    """Return the configuration as people may see it: secrets are hidden."""

    def hide(node: Any, key: str) -> Any:
        if isinstance(node, dict):
            return {k: hide(v, k) for k, v in node.items()}
        if isinstance(node, SecretStr) or (node and _SECRET.search(key)):
            return "**********"
        return [hide(v, key) for v in node] if isinstance(node, (list, tuple)) else node

    tree: dict[str, Any] = hide(config.model_dump(by_alias=True), "")
    return tree
