"""HTTP requests that are safe to repeat when a response is lost.

Every request has an `Idempotency-Key`, so it may be repeated: a gateway that has handled it returns
the first response. The gateway names its store of keys in `Idempotency-Scope`. It refuses with 412
a request that names another scope, because the gateway was restarted meanwhile or is one of
several. In this case the outcome of a request with a lost response stays unknown.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import uuid4

import requests
from requests.exceptions import InvalidSchema, InvalidURL, MissingSchema
from urllib3.exceptions import NewConnectionError

from core.errors import ConfigError
from core.retry import Outage
from producers.delivery import Retry

KEY = "Idempotency-Key"
SCOPE = "Idempotency-Scope"
OTHER_SCOPE = 412
OUTCOME_UNKNOWN = (500, 502, 504, 408)  # of the gateway or of a reverse proxy
NOTHING_STORED = (429, 503)
REPEAT_TIMEOUT_S = 540.0  # below the gateway's 600: the last repeat takes time to arrive


@dataclass(frozen=True)
class NoResponse:
    """No response arrived; `not_sent` when the records were not sent at all."""

    error: str
    not_sent: bool


Reply = requests.Response | NoResponse


@dataclass(frozen=True)
class HttpRequest:
    """One request to a route of the gateway."""

    method: str
    path: str
    media_type: str
    body: bytes = b""


class IdempotentSession:
    """Requests to the gateway at `url` over persistent connections."""

    def __init__(self, url: str, api_key: str | None, timeout: float, retry: Retry) -> None:
        self.url = url.rstrip("/")
        self._timeout = timeout
        self._retry = retry
        self._scopes: dict[str, str | None] = {}
        self._session = requests.Session()
        if api_key:
            self._session.headers["x-api-key"] = api_key

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def send(self, request: HttpRequest) -> Reply:
        """Send `request`; repeat it while its response is lost and the gateway knows its key.

        Raises ConfigError for an invalid URL.
        """
        failed = self._query_scope(request)
        if failed is not None:
            return failed
        headers = {KEY: uuid4().hex} | self._scope_header(request)
        until = self._now() + REPEAT_TIMEOUT_S
        reply = self._send_once(request, headers)
        if _has_status(OTHER_SCOPE, reply):  # the gateway has stored nothing
            self._note_scope(request, reply)
            headers |= self._scope_header(request)
            reply = self._send_once(request, headers)
        if SCOPE in headers and _is_lost(reply):
            return self._repeat(request, headers, reply, until)
        return reply

    def _repeat(
        self, request: HttpRequest, headers: Mapping[str, str], lost: Reply, until: float
    ) -> Reply:
        outage = Outage("producer", self._retry.clock)
        for pause in self._retry.pauses():
            outage.failed("", f"no response from {self.url}: the request is repeated")
            self._retry.clock.sleep(pause)
            if self._now() > until:
                break
            reply = self._send_once(request, headers)
            if _has_status(OTHER_SCOPE, reply):
                self._note_scope(request, reply)
                break
            if _is_final(reply):
                outage.over()
                return reply
        return lost

    def _query_scope(self, request: HttpRequest) -> Reply | None:
        """Query the gateway's scope once per path; return the reply if the gateway is unavailable.

        The query is an empty request, which stores nothing.
        """
        if request.path in self._scopes:
            return None
        empty = HttpRequest(request.method, request.path, request.media_type)
        reply = self._send_once(empty, {KEY: uuid4().hex})
        if isinstance(reply, NoResponse):
            return NoResponse(reply.error, not_sent=True)
        if reply.status_code in NOTHING_STORED:
            return reply
        self._note_scope(request, reply)
        return None

    def _note_scope(self, request: HttpRequest, reply: Reply) -> None:
        if isinstance(reply, requests.Response) and reply.status_code not in OUTCOME_UNKNOWN:
            self._scopes[request.path] = reply.headers.get(SCOPE)

    def _scope_header(self, request: HttpRequest) -> dict[str, str]:
        """Return the header that names the gateway's scope; empty for a route without one."""
        scope = self._scopes.get(request.path)
        return {SCOPE: scope} if scope else {}

    def _now(self) -> float:
        return self._retry.clock.monotonic()

    def _send_once(self, request: HttpRequest, headers: Mapping[str, str]) -> Reply:
        try:
            response = self._session.request(
                request.method,
                f"{self.url}/{request.path}",
                data=request.body,
                headers={"Content-Type": request.media_type, **headers},
                timeout=self._timeout,
                allow_redirects=False,
            )
        except (MissingSchema, InvalidSchema, InvalidURL) as error:
            raise ConfigError(
                f"{self.url!r} is not the URL of a gateway",
                "set producer.gateway_url, for example http://127.0.0.1:8082/test",
            ) from error
        except requests.RequestException as error:
            return NoResponse(type(error).__name__, _not_sent(error))
        return response if _is_complete(response) else NoResponse("cut off", not_sent=False)


def _is_complete(response: requests.Response) -> bool:
    return "content-length" in response.headers or "transfer-encoding" in response.headers


def _has_status(status: int, reply: Reply) -> bool:
    return isinstance(reply, requests.Response) and reply.status_code == status


def _is_lost(reply: Reply) -> bool:
    if isinstance(reply, NoResponse):
        return not reply.not_sent
    return reply.status_code in OUTCOME_UNKNOWN


def _is_final(reply: Reply) -> bool:
    """Whether the gateway that knows the key has reported the outcome of the request."""
    return (
        not isinstance(reply, NoResponse)
        and SCOPE in reply.headers
        and reply.status_code not in (*OUTCOME_UNKNOWN, *NOTHING_STORED)
    )


def _not_sent(error: requests.RequestException) -> bool:
    cause = error.args[0] if error.args else None
    return isinstance(error, requests.ConnectTimeout) or isinstance(
        getattr(cause, "reason", None), NewConnectionError
    )
