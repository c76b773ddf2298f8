"""The gateway's own document: gateway/openapi.yaml, served as JSON."""

import json
from functools import cache
from importlib import resources
from typing import Any

import yaml
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from gateway.http.responses import JSON, Routes

PATH = "/openapi.json"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is seven times as fast


def routes() -> Routes:
    """The one route; the document is read when it is first asked for."""
    return {PATH: {"GET": _answer}}


@cache
def text() -> str:
    """The document as compact JSON, with its `x-amazon-apigateway-*` parts."""
    return json.dumps(document(), separators=(",", ":"))


def document() -> dict[str, Any]:
    """The document as it is packaged."""
    packaged = resources.files("gateway").joinpath("openapi.yaml").read_bytes()
    found: dict[str, Any] = yaml.load(packaged, _LOADER)  # noqa: S506  # a safe loader, both
    return found


async def _answer(_request: Request, _body: bytes) -> Response:
    return Response(await run_in_threadpool(text), media_type=JSON)
