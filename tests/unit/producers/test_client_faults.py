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

from gateway.http.idempotency import RETENTION_S
from producers.client import GatewayClient
from producers.delivery import DeliveryStatus, ProducerRecord, Retry
from tests.support.clock import ManualClock
from tests.support.examples import examples


class GatewayFault(StrEnum):
    """What a request meets."""

    NONE = "nothing"
    NEVER_ARRIVES = "it is lost"
    ANSWER_LOST = "its answer is lost"
    LOST_FOR_LONG = "it is lost, and that is noticed five minutes later"
    BUSY = "503"
    BAD_GATEWAY = "502 of something before the gateway, which has got the records"
    RESTART = "a gateway that was started anew"
    RESTART_AND_LOST = "a gateway that was started anew, and its answer is lost"


@dataclass
class FaultyGateway(BaseAdapter):
    """What the gateway promises of keys and scopes, in place of the network before it."""

    faults: list[GatewayFault]
    remembers: bool
    clock: ManualClock = field(default_factory=ManualClock)
    scope: str = "first"
    answers: dict[str, tuple[float, dict[str, Any]]] = field(default_factory=dict)
    stored: Counter[int] = field(default_factory=Counter)

    def send(self, request: requests.PreparedRequest, *_: object, **__: object) -> Any:
        """One request, with its fault."""
        fault = self.faults.pop(0) if self.faults else GatewayFault.NONE
        if fault in {GatewayFault.NEVER_ARRIVES, GatewayFault.LOST_FOR_LONG}:
            self.clock.sleep(300 if fault is GatewayFault.LOST_FOR_LONG else 0)
            raise requests.ConnectionError
        if fault is GatewayFault.BUSY:
            return self.said(503, {})
        if fault in {GatewayFault.RESTART, GatewayFault.RESTART_AND_LOST}:
            self.scope = uuid4().hex
            self.answers.clear()
        answer = self.answer(request)
        if fault in {GatewayFault.ANSWER_LOST, GatewayFault.RESTART_AND_LOST}:
            raise requests.ConnectionError
        return self.said(502, {}) if fault is GatewayFault.BAD_GATEWAY and request.body else answer

    def answer(self, request: requests.PreparedRequest) -> requests.Response:
        """Return the gateway's response."""
        key = request.headers["Idempotency-Key"]
        if not request.body:
            return self.said(422, {})
        if self.remembers and request.headers.get("Idempotency-Scope", self.scope) != self.scope:
            return self.said(412, {})
        until, answer = self.answers.get(key, (-1.0, {}))
        if until < self.clock.monotonic() or not self.remembers:
            answer = self.kept(json.loads(request.body)["records"])
            self.answers[key] = self.clock.monotonic() + RETENTION_S, answer
        return self.said(200, answer)

    def kept(self, records: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the response to records that are stored now."""
        self.stored.update(record["key"] for record in records)
        return {"offsets": [{"partition": 0, "offset": record["key"]} for record in records]}

    def said(self, status: int, tree: dict[str, Any]) -> requests.Response:
        """Make a response; name the scope when the gateway itself responds."""
        answer = requests.Response()
        answer.status_code = status
        answer._content = json.dumps(tree).encode()
        answer.headers["Content-Length"] = str(len(answer.content))
        if self.remembers and status != 502:
            answer.headers["Idempotency-Scope"] = self.scope
        return answer

    def close(self) -> None:
        """Nothing to close."""

    def client(self, tries: int) -> GatewayClient:
        """One that knows nothing else than this gateway."""
        retry = Retry(tries, self.clock, random.Random(1), seconds=0)
        client = GatewayClient("http://gateway", retry=retry)
        client._session._session.mount("http://", self)
        return client


faults = st.lists(st.sampled_from(GatewayFault), max_size=40)
FORGETTING = {GatewayFault.RESTART, GatewayFault.RESTART_AND_LOST, GatewayFault.LOST_FOR_LONG}


@settings(max_examples=examples(150), deadline=None)
@given(series=faults, remembers=st.booleans())
def test_what_the_client_says_of_a_record_is_so(
    series: list[GatewayFault], *, remembers: bool
) -> None:
    gateway = FaultyGateway(series, remembers)
    client = gateway.client(tries=4)
    for key in range(8):
        [result] = client.send_kafka("t", [ProducerRecord(key, key)])
        times = {
            DeliveryStatus.STORED: {1},
            DeliveryStatus.REJECTED: {0},
            DeliveryStatus.UNKNOWN: {0, 1},
        }
        assert gateway.stored[key] in times[result.status]


@settings(max_examples=examples(150), deadline=None)
@given(series=faults)
def test_a_gateway_that_remembers_has_every_record_once(series: list[GatewayFault]) -> None:
    gateway = FaultyGateway([fault for fault in series if fault not in FORGETTING], remembers=True)
    client = gateway.client(tries=len(series) + 1)
    results = [client.send_kafka("t", [ProducerRecord(key, key)])[0] for key in range(8)]
    assert {result.status for result in results} == {DeliveryStatus.STORED}
    assert gateway.stored == Counter(range(8))
