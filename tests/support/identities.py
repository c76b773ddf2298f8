"""A cloud behind a proxy that writes down who asked, and the authorities that give out keys."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from ssl import SSLContext
from typing import Any
from urllib.parse import parse_qs

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from tests.support.aws import TestAws

LIFE = timedelta(seconds=60)
KEYS = "/keys"  # the container's credentials endpoint
_LIBRARIES = {"Botocore": "boto3", "Boto3": "boto3", "object_store": "delta-rs", "polars": "polars"}
_CREDENTIAL = re.compile(r"Credential=([^/]+)/\d+/([^/]+)/")
_DENIED = (
    "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>"
)
_ROLES = """<{0}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{0}Result><Credentials>
<AccessKeyId>{1[AccessKeyId]}</AccessKeyId><SecretAccessKey>{1[SecretAccessKey]}</SecretAccessKey>
<SessionToken>{1[Token]}</SessionToken><Expiration>{1[Expiration]}</Expiration></Credentials>
<AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/r/s</Arn><AssumedRoleId>A:s</AssumedRoleId>
</AssumedRoleUser></{0}Result></{0}Response>"""


@dataclass(frozen=True)
class Call:
    """One request: of which library, with which key and token, for which region and host."""

    library: str
    key: str
    token: str | None
    region: str
    host: str


@dataclass
class Cloud:
    """moto's server; also a forward proxy, STS and a container's credentials endpoint."""

    endpoint: str = ""
    plain: str = ""  # by http, where the endpoint is https
    issue: int = 1
    calls: list[Call] = field(default_factory=list)
    life: timedelta = LIFE
    refuses: bool = False  # to give out keys
    regions: dict[str, str] = field(default_factory=dict)  # of buckets, where it is enforced

    @property
    def direct(self) -> TestAws:
        """The same, for what is prepared."""
        return TestAws(self.plain or self.endpoint)

    @property
    def key(self) -> str:
        """The key id that the authorities give out now."""
        return f"KEY{self.issue}"

    def keys(self) -> dict[str, str]:
        """As a container's endpoint gives them out."""
        return {
            "AccessKeyId": self.key,
            "SecretAccessKey": "secret",
            "Token": f"token{self.issue}",
            "Expiration": (datetime.now(UTC) + self.life).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    def users(self) -> dict[str, set[str]]:
        """Return the keys that each library used since the calls were last cleared."""
        return {
            c.library: {o.key for o in self.calls if o.library == c.library} for c in self.calls
        }

    def answer(self, request: Request) -> Response | None:
        """Of an authority; None for what is the cloud's."""
        if self.refuses and (request.path == KEYS or _is_form(request)):
            return Response(_DENIED, 403, content_type="text/xml")
        if request.path == KEYS:
            return Response(json.dumps(self.keys()), content_type="application/json")
        action = parse_qs(request.get_data(as_text=True) if _is_form(request) else "").get("Action")
        if action is None:
            return None
        return Response(_ROLES.format(action[0], self.keys()), content_type="text/xml")

    def refusal(self, bucket: str, region: str) -> Response | None:
        """Make S3's response to a request for a bucket that is signed for another region."""
        own = self.regions.get(bucket, region)
        if own == region:
            return None
        code = f"<Code>AuthorizationHeaderMalformed</Code><Message>in {own}</Message>"
        said = f"<Error>{code}<Region>{own}</Region></Error>"
        headers = {"x-amz-bucket-region": own}
        return Response(said, 400, headers, content_type="application/xml")

    def note(self, request: Request) -> Call:
        """Write down who asks."""
        agent = request.headers.get("User-Agent", "").partition("/")[0]
        shown = _CREDENTIAL.search(request.headers.get("Authorization", ""))
        token = request.headers.get("X-Amz-Security-Token")
        key, region = shown.groups() if shown else ("", "")
        call = Call(_LIBRARIES.get(agent, agent), key, token, region, request.host)
        self.calls.append(call)
        return call


def _is_form(request: Request) -> bool:
    return "x-www-form-urlencoded" in request.headers.get("Content-Type", "")


@contextmanager
def cloud_behind_a_proxy(tls: SSLContext | None = None, plain: str = "") -> Iterator[Cloud]:
    """As long as the block runs; `tls`: it speaks https, and there is another one by http."""
    cloud, moto = Cloud(plain=plain), DomainDispatcherApplication(create_backend_app)

    def application(environ: dict[str, Any], start_response: Any) -> Any:
        request = Request(environ)
        answer = cloud.answer(request)
        if answer is not None:
            return answer(environ, start_response)
        call = cloud.note(request)
        bucket, dot, _ = request.host.partition(".s3.")
        environ["PATH_INFO"] = f"/{bucket}" * bool(dot) + environ["PATH_INFO"]
        environ["RAW_URI"] = environ["REQUEST_URI"] = environ["PATH_INFO"]
        environ["HTTP_HOST"] = "127.0.0.1"
        refusal = cloud.refusal(environ["PATH_INFO"].split("/")[1], call.region)
        return (refusal or moto)(environ, start_response)

    server = make_server("127.0.0.1", 0, application, threaded=True, ssl_context=tls)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    cloud.endpoint = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    try:
        yield cloud
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def written(folder: Path, name: str, text: str) -> str:
    """Write `text` to a file; return its path."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)
