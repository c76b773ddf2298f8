"""The gateway's client against any series of faults: what it says of a record is so."""

import json
import random
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import uuid4

import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from requests.adapters import BaseAdapter

from producers.client import GatewayClient
from producers.delivery import Outcome, Outgoing, Retry
from tests.support.clock import ManualClock


class Fault(StrEnum):
    """What a request meets."""

    NONE = "nothing"
    NEVER_ARRIVES = "it is lost"
    ANSWER_LOST = "its answer is lost"
    BUSY = "503"
    BAD_GATEWAY = "502 of something before the gateway, which has got the records"
    RESTART = "a gateway that was started anew"
    RESTART_AND_LOST = "a gateway that was started anew, and its answer is lost"


@dataclass
class Gateway(BaseAdapter):
    """What the gateway promises of keys and scopes, in place of the network before it."""

    faults: list[Fault]
    remembers: bool
    scope: str = "first"
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    stored: Counter[int] = field(default_factory=Counter)

    def send(self, request: requests.PreparedRequest, *_: object, **__: object) -> Any:
        """One request, with its fault."""
        fault = self.faults.pop(0) if self.faults else Fault.NONE
        if fault is Fault.NEVER_ARRIVES:
            raise requests.ConnectionError
        if fault is Fault.BUSY:
            return self.said(503, {})
        if fault in {Fault.RESTART, Fault.RESTART_AND_LOST}:
            self.scope = uuid4().hex
            self.answers.clear()
        answer = self.answer(request)
        if fault in {Fault.ANSWER_LOST, Fault.RESTART_AND_LOST}:
            raise requests.ConnectionError
        return self.said(502, {}) if fault is Fault.BAD_GATEWAY and request.body else answer

    def answer(self, request: requests.PreparedRequest) -> requests.Response:
        """What the gateway does and says."""
        key = request.headers["Idempotency-Key"]
        if not request.body:
            return self.said(422, {})
        if self.remembers and request.headers.get("Idempotency-Scope", self.scope) != self.scope:
            return self.said(412, {})
        if key not in self.answers or not self.remembers:
            self.answers[key] = self.kept(json.loads(request.body)["records"])
        return self.said(200, self.answers[key])

    def kept(self, records: list[dict[str, Any]]) -> dict[str, Any]:
        """The answer to records that are stored now."""
        self.stored.update(record["key"] for record in records)
        return {"offsets": [{"partition": 0, "offset": record["key"]} for record in records]}

    def said(self, status: int, tree: dict[str, Any]) -> requests.Response:
        """An answer; it names the scope when the gateway itself gives it."""
        answer = requests.Response()
        answer.status_code = status
        answer._content = json.dumps(tree).encode()
        answer.headers["Content-Length"] = str(len(answer.content))
        if self.remembers and status != 502:
            answer.headers["Idempotency-Scope"] = self.scope
        return answer

    def close(self) -> None:
        """Nothing to close."""


faults = st.lists(st.sampled_from(Fault), max_size=40)


@settings(max_examples=150, deadline=None)
@given(faults, st.booleans())
def test_what_the_client_says_of_a_record_is_so(series: list[Fault], remembers: bool) -> None:  # noqa: FBT001  # hypothesis hands it over
    gateway = Gateway(series, remembers)
    client = GatewayClient("http://gateway", retry=Retry(3, ManualClock(), random.Random(1)))
    client._exchange._session.mount("http://", gateway)
    for key in range(8):
        [result] = client.send_kafka("t", [Outgoing(key, key)])
        times = {Outcome.STORED: {1}, Outcome.REJECTED: {0}, Outcome.UNKNOWN: {0, 1}}
        assert gateway.stored[key] in times[result.outcome]


@settings(max_examples=150, deadline=None)
@given(faults)
def test_while_the_gateway_lives_no_record_is_unknown_for_longer_than_the_client_tries(
    series: list[Fault],
) -> None:
    restarts = {Fault.RESTART, Fault.RESTART_AND_LOST}
    gateway = Gateway([fault for fault in series if fault not in restarts], remembers=True)
    tries = len(series) + 1
    client = GatewayClient("http://gateway", retry=Retry(tries, ManualClock(), random.Random(1)))
    client._exchange._session.mount("http://", gateway)
    results = [client.send_kafka("t", [Outgoing(key, key)])[0] for key in range(8)]
    assert {result.outcome for result in results} == {Outcome.STORED}
    assert gateway.stored == Counter(range(8))
