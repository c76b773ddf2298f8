"""A cloud of the test's own that writes down what it was asked for, as IAM calls it."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from tests.support.aws import TestAws

_BUCKET = re.compile(r"/[^/]+/?")


@dataclass(frozen=True)
class RecordedAws(TestAws):
    """A server of moto; `actions` are those asked for since the set was last cleared."""

    __test__ = False
    actions: set[str] = field(default_factory=set)


@contextmanager
def recorded_aws() -> Iterator[RecordedAws]:
    """As long as the block runs."""
    actions: set[str] = set()
    moto = DomainDispatcherApplication(create_backend_app)

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        actions.add(action(environ))
        return moto(environ, start_response)

    server = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield RecordedAws(f"http://127.0.0.1:{server.server_port}", actions)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def action(environ: dict[str, Any]) -> str:
    """Name the IAM action of a request (Service Authorization Reference)."""
    target = environ.get("HTTP_X_AMZ_TARGET", "")
    if target:
        service, _, operation = target.rpartition(".")
        return f"{service.partition('_')[0].lower()}:{operation}"
    query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    return f"s3:{_of_s3(environ['REQUEST_METHOD'], environ['PATH_INFO'], query)}"


def _of_s3(method: str, path: str, query: dict[str, list[str]]) -> str:
    if method in {"GET", "HEAD"} and _BUCKET.fullmatch(path):
        return "ListBucket"  # also what HeadBucket wants
    if method == "POST" and "delete" in query:
        return "DeleteObject"
    if method == "DELETE":
        return "AbortMultipartUpload" if "uploadId" in query else "DeleteObject"
    if _BUCKET.fullmatch(path):
        return f"{method} of a bucket {sorted(query)}"
    return "GetObject" if method in {"GET", "HEAD"} else "PutObject"
