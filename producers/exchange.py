"""One request and its answer, however often the answer gets lost on its way.

Every request has an `Idempotency-Key`, so the same request may be sent again: a gateway that has
answered it before gives that answer. It says whose memory of keys it has in `Idempotency-Scope`,
and refuses with 412 a request that names another one's, because it was restarted meanwhile or is
one of several. Then nobody knows what became of a lost first request, and it stays lost.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from uuid import uuid4

import requests
from requests.exceptions import InvalidSchema, InvalidURL, MissingSchema
from urllib3.exceptions import NewConnectionError

from pinpip.errors import ConfigError
from producers.delivery import Retry

KEY = "Idempotency-Key"
SCOPE = "Idempotency-Scope"
OTHER_SCOPE = 412
UNANSWERED = (500, 502, 504, 408)  # the gateway's or a proxy's: what became of it is not known


@dataclass(frozen=True)
class Lost:
    """No answer came; `never_left` when no connection was made."""

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
        key, scope = {KEY: uuid4().hex}, self._scope(ask)
        answer = self._once(ask, key | scope)
        if _is_of(OTHER_SCOPE, answer):  # before anything was stored
            scope = self._learnt(ask.path, answer)
            answer = self._once(ask, key | scope)
        return self._repeated(ask, key | scope, answer) if scope and _is_lost(answer) else answer

    def _repeated(self, ask: Ask, headers: Mapping[str, str], lost: Answer) -> Answer:
        for _ in self._pauses():
            answer = self._once(ask, headers)
            if _is_of(requests.codes.ok, answer):
                return answer
            if _is_of(OTHER_SCOPE, answer):
                self._learnt(ask.path, answer)
                break
        return lost

    def _scope(self, ask: Ask) -> dict[str, str]:
        """The header that names the gateway's memory; none for a route that has no memory.

        Asked once with an empty request, which stores nothing.
        """
        if ask.path not in self._scopes:
            empty = Ask(ask.method, ask.path, ask.media)
            answer = self._once(empty, {KEY: uuid4().hex})
            for _ in self._pauses():
                if not isinstance(answer, Lost) or answer.never_left:
                    break
                answer = self._once(empty, {KEY: uuid4().hex})
            self._learnt(ask.path, answer)
        return _header(self._scopes.get(ask.path))

    def _learnt(self, path: str, answer: Answer) -> dict[str, str]:
        if isinstance(answer, Lost):
            return {}
        self._scopes[path] = answer.headers.get(SCOPE)
        return _header(self._scopes[path])

    def _pauses(self) -> Iterator[None]:
        for pause in self._retry.pauses():
            self._retry.clock.sleep(pause)
            yield

    def _once(self, ask: Ask, headers: Mapping[str, str]) -> Answer:
        try:
            return self._session.request(
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


def _header(scope: str | None) -> dict[str, str]:
    return {SCOPE: scope} if scope else {}


def _is_of(status: int, answer: Answer) -> bool:
    return isinstance(answer, requests.Response) and answer.status_code == status


def _is_lost(answer: Answer) -> bool:
    if isinstance(answer, Lost):
        return not answer.never_left
    return answer.status_code in UNANSWERED


def _never_left(error: requests.RequestException) -> bool:
    cause = error.args[0] if error.args else None
    return isinstance(error, requests.ConnectTimeout) or isinstance(
        getattr(cause, "reason", None), NewConnectionError
    )
