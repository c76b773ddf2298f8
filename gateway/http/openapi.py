"""`GET /openapi.json`: the document gateway/openapi.yaml as JSON."""

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
    """Return the route; the first request reads the document."""
    return {PATH: {"GET": _respond}}


@cache
def text() -> str:
    """Return the document as compact JSON, with its `x-amazon-apigateway-*` extensions."""
    return json.dumps(document(), separators=(",", ":"))


def document() -> dict[str, Any]:
    """Return the packaged document."""
    packaged = resources.files("gateway").joinpath("openapi.yaml").read_bytes()
    found: dict[str, Any] = yaml.load(packaged, _LOADER)  # noqa: S506  # a safe loader, both
    return found


async def _respond(_request: Request, _body: bytes) -> Response:
    return Response(await run_in_threadpool(text), media_type=JSON)
