"""The JSON schema of config.yaml, by which editors complete and check it."""

import json
from typing import Any

from core.config import Config
from pinpip.configfile import SECTIONS

_ABOUT = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "pinpip's configuration"}
_FILLED = {
    "description": "A value that the environment or the id completes.",
    "type": "string",
    "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}|\{id\}",
}
_CHECKED = {"pattern", "enum", "const"}
_BESIDE = ("default", "description")


def text() -> str:
    """Return the schema as the file config.schema.json has it."""
    schema = _open(Config.model_json_schema(by_alias=True))
    keys, definitions = schema["properties"], {**schema.pop("$defs"), "Filled": _FILLED}
    for name in ("kafka", *SECTIONS):  # all of a section's keys may be comments
        keys[name] = {"anyOf": [keys[name], {"type": "null"}]}
    return json.dumps({**_ABOUT, **schema, "$defs": definitions}, indent=1) + "\n"


def _open(node: Any) -> Any:
    """Allow `${NAME}` and `{id}` wherever a text or number is checked."""
    if isinstance(node, list):
        return [_open(item) for item in node]
    if not isinstance(node, dict):
        return node
    # A title that is a text is pydantic's, made of the key's name.
    own = {k: _open(v) for k, v in node.items() if not (k == "title" and isinstance(v, str))}
    if not (own.get("type") in ("integer", "number") or _CHECKED & own.keys()):
        return own
    beside = {key: own.pop(key) for key in _BESIDE if key in own}
    return {**beside, "anyOf": [own, {"$ref": "#/$defs/Filled"}]}
