"""One request and its answer, however often the answer gets lost on its way.

Every request has an `Idempotency-Key`, so the same request may be sent again: a gateway that has
answered it before gives that answer. It says whose memory of keys it has in `Idempotency-Scope`,
and refuses with 412 a request that names another one's, because it was restarted meanwhile or is
one of several. Then nobody knows what became of a lost first request, and it stays lost.
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
UNANSWERED = (500, 502, 504, 408)  # the gateway's or a proxy's: what became of it is not known
TOO_BUSY = (429, 503)  # stored nothing
REMEMBERED = 540.0  # seconds of a gateway's 600: the last repeat is on its way a while


@dataclass(frozen=True)
class Lost:
    """No answer came; `never_left` when the records were not sent at all."""

    error: str
    never_left: bool


Answer = requests.Response | Lost


@dataclass(frozen=True)
class Ask:
    """One request of a route."""

    method: str
    path: str
    media: str
    body: bytes = b""


class Exchange:
    """Requests to the gateway at `url`, over kept connections."""

    def __init__(self, url: str, api_key: str | None, timeout: float, retry: Retry) -> None:
        self.url = url.rstrip("/")
        self._timeout = timeout
        self._retry = retry
        self._scopes: dict[str, str | None] = {}
        self._session = requests.Session()
        if api_key:
            self._session.headers["x-api-key"] = api_key

    def close(self) -> None:
        """Close the kept connections."""
        self._session.close()

    def send(self, ask: Ask) -> Answer:
        """The answer; asked again while it is lost and the gateway remembers its key.

        Raises ConfigError for a URL that is none.
        """
        unknown = self._ask_for_scope(ask)
        if unknown is not None:
            return unknown
        headers, until = {KEY: uuid4().hex} | self._scope(ask), self._now() + REMEMBERED
        answer = self._once(ask, headers)
        if _is_of(OTHER_SCOPE, answer):  # before anything was stored
            self._learn(ask, answer)
            headers |= self._scope(ask)
            answer = self._once(ask, headers)
        if SCOPE in headers and _is_lost(answer):
            return self._repeated(ask, headers, answer, until)
        return answer

    def _repeated(self, ask: Ask, headers: Mapping[str, str], lost: Answer, until: float) -> Answer:
        outage = Outage("producer", self._retry.clock)
        for pause in self._retry.pauses():
            outage.failed("", f"the answer of {self.url} was lost: it is asked for again")
            self._retry.clock.sleep(pause)
            if self._now() > until:
                break
            answer = self._once(ask, headers)
            if _is_of(OTHER_SCOPE, answer):
                self._learn(ask, answer)
                break
            if _is_final(answer):
                outage.over()
                return answer
        return lost

    def _ask_for_scope(self, ask: Ask) -> Answer | None:
        """Learn whose memory the gateway has; else why the records are not to be sent now.

        Asked once, with an empty request, which stores nothing.
        """
        if ask.path in self._scopes:
            return None
        answer = self._once(Ask(ask.method, ask.path, ask.media), {KEY: uuid4().hex})
        if isinstance(answer, Lost):
            return Lost(answer.error, never_left=True)
        if answer.status_code in TOO_BUSY:
            return answer
        self._learn(ask, answer)
        return None

    def _learn(self, ask: Ask, answer: Answer) -> None:
        if isinstance(answer, requests.Response) and answer.status_code not in UNANSWERED:
            self._scopes[ask.path] = answer.headers.get(SCOPE)

    def _scope(self, ask: Ask) -> dict[str, str]:
        """The header that names the gateway's memory; none for a route that has no memory."""
        scope = self._scopes.get(ask.path)
        return {SCOPE: scope} if scope else {}

    def _now(self) -> float:
        return self._retry.clock.monotonic()

    def _once(self, ask: Ask, headers: Mapping[str, str]) -> Answer:
        try:
            answer = self._session.request(
                ask.method,
                f"{self.url}/{ask.path}",
                data=ask.body,
                headers={"Content-Type": ask.media, **headers},
                timeout=self._timeout,
                allow_redirects=False,
            )
        except (MissingSchema, InvalidSchema, InvalidURL) as error:
            raise ConfigError(
                f"{self.url!r} is not the URL of a gateway",
                "set producer.gateway_url, for example http://127.0.0.1:8082/test",
            ) from error
        except requests.RequestException as error:
            return Lost(type(error).__name__, _never_left(error))
        return answer if _is_whole(answer) else Lost("cut off", never_left=False)


def _is_whole(answer: requests.Response) -> bool:
    return "content-length" in answer.headers or "transfer-encoding" in answer.headers


def _is_of(status: int, answer: Answer) -> bool:
    return isinstance(answer, requests.Response) and answer.status_code == status


def _is_lost(answer: Answer) -> bool:
    if isinstance(answer, Lost):
        return not answer.never_left
    return answer.status_code in UNANSWERED


def _is_final(answer: Answer) -> bool:
    """Whether the gateway that remembers has said what became of the request."""
    passing = (*UNANSWERED, *TOO_BUSY)
    return (
        not isinstance(answer, Lost)
        and SCOPE in answer.headers
        and answer.status_code not in passing
    )


def _never_left(error: requests.RequestException) -> bool:
    cause = error.args[0] if error.args else None
    return isinstance(error, requests.ConnectTimeout) or isinstance(
        getattr(cause, "reason", None), NewConnectionError
    )
