"""API Gateway's mapping templates, rendered: a Velocity engine with what stands in for `$input`.

The functions are those of AWS's "API Gateway mapping template and access logging variable
reference"; `$input.json` writes compact JSON, and `""` for a path that is not there.
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import airspeed

_STEP = re.compile(r"\.([A-Za-z_]\w*)|\[(\d+)\]|\['([^']+)'\]")


@dataclass(frozen=True)
class Rendered:
    """What a template made, and what it set in `$context.responseOverride`."""

    text: str
    override: Mapping[str, Any]

    @property
    def body(self) -> Any:
        """The text as JSON."""
        return json.loads(self.text)


class _Input:
    def __init__(self, body: bytes, params: Mapping[str, str]) -> None:
        self.body = body.decode()
        self._params = params

    def params(self, name: str) -> str:
        return self._params.get(name, "")

    def path(self, path: str) -> Any:
        """Return the value at a JSONPath of plain steps."""
        found = json.loads(self.body or "{}")
        steps = list(_STEP.finditer(path, 1))
        assert path == "$" + "".join(step[0] for step in steps), f"not understood: {path}"
        for name, index, quoted in (step.groups() for step in steps):
            try:
                found = found[int(index) if index else name or quoted]
            except (KeyError, IndexError, TypeError):
                return ""
        return found

    def json(self, path: str) -> str:
        """Return the value at a JSONPath as JSON."""
        return json.dumps(self.path(path), ensure_ascii=False, separators=(",", ":"))


class _Util:
    def base64Encode(self, text: str) -> str:  # noqa: N802  # AWS's name
        return base64.b64encode(text.encode()).decode()

    def escapeJavaScript(self, text: str) -> str:  # noqa: N802  # AWS's name
        """As Java's StringEscapeUtils, which makes of a single quote what JSON does not know."""
        return json.dumps(text)[1:-1].replace("/", r"\/").replace("'", r"\'")


def render(template: str, body: bytes = b"", **params: str) -> Rendered:
    """`template` for a request or an answer with `body`; `params` are the path's and query's."""
    override: dict[str, Any] = {"header": {}}
    names = {
        "input": _Input(body, params),
        "util": _Util(),
        "context": {"responseOverride": override},
    }
    return Rendered(airspeed.Template(template).merge(names), override)
