"""`python -m benchmarks.models.kinesis PORT`: a Kinesis with the limits and latencies of AWS's.

It answers the calls of pinpip's consumer. A shard takes five GetRecords and gives 2 MB a second;
calls beyond get ProvisionedThroughputExceededException.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any

from benchmarks.models.delays import Delays, Profile
from benchmarks.models.journal import Journal
from benchmarks.models.stream import Layout, Shard, encoded, number_of, sequence_of
from benchmarks.models.wire import Request, Response, Work, as_json, serve
from benchmarks.topic import pins

CONTROL = "/-/"
PROFILE = Profile(p50=0.035, p99=0.060)  # nearly all between 20 and 60 ms
_LIMIT = 10_000
_HASHES = 2**128
_JSON = {"Content-Type": "application/x-amz-json-1.1"}

Answer = tuple[str, float]  # JSON, and seconds that its bytes take


class RefusedError(Exception):
    """A call that Kinesis answers with an error of this code."""

    def response(self) -> Response:
        """Return the error as Kinesis writes it."""
        body = json.dumps({"__type": str(self), "message": str(self)}).encode()
        return Response(HTTPStatus.BAD_REQUEST, body, _JSON)


class KinesisModel:
    """One stream, and what was called."""

    def __init__(self) -> None:
        self._delays = Delays(PROFILE)
        self._journal = Journal()
        self._values = encoded(pins())
        self._layout = Layout(name="none", shards=1)
        self._created = 0.0
        self._shards: list[Shard] = []
        self._calls: Mapping[str, Callable[[dict[str, Any]], Answer]] = {
            "ListShards": self._list,
            "DescribeStreamSummary": self._describe,
            "GetShardIterator": self._iterator,
            "GetRecords": self._records,
        }

    def __call__(self, request: Request) -> Work:
        """Return what to do for the request, and when."""
        if request.path.startswith(CONTROL):
            return Work(0.0, partial(self._control, request))
        name = request.headers.get("x-amz-target", "").partition(".")[2]
        took = 0.0
        try:
            answer, took = self._answer(name, json.loads(request.body))
            response = Response(body=answer.encode(), headers=_JSON)
        except RefusedError as error:
            response = error.response()
        delay = self._delays.small() + took
        return Work(delay, partial(self._noted, name, response, delay))

    def _answer(self, name: str, call: dict[str, Any]) -> Answer:
        if name not in self._calls:
            raise RefusedError("UnknownOperationException")
        return self._calls[name](call)

    def _noted(self, name: str, response: Response, delay: float) -> Response:
        self._journal.note(name, response.status, len(response.body), delay)
        return response

    def _control(self, request: Request) -> Response:
        """Answer the benchmark: `stream` creates it again, `stop` ends its load, `journal`."""
        name = request.path.removeprefix(CONTROL)
        if name == "stream":
            self._create(Layout.model_validate_json(request.body))
        elif name == "stop":
            now = time.time()
            for shard in self._shards:
                shard.until = now
            return as_json({"records": sum(shard.end(now) for shard in self._shards)})
        elif name == "journal":
            return Response(body=self._journal.dump())
        return as_json({})

    def _create(self, layout: Layout) -> None:
        self._layout, self._created, self._journal = layout, time.time(), Journal()
        size = len(self._values)
        self._shards = [
            Shard(
                self._values[nth * size // layout.shards :],
                self._created,
                layout.records,
                layout.rate,
                self._created,
            )
            for nth in range(layout.shards)
        ]

    def _known(self, call: Mapping[str, Any]) -> None:
        if call.get("StreamName") != self._layout.name:
            raise RefusedError("ResourceNotFoundException")

    def _list(self, call: Mapping[str, Any]) -> Answer:
        self._known(call)
        width = _HASHES // len(self._shards)
        found = [
            {
                "ShardId": f"shardId-{nth:012d}",
                "HashKeyRange": {
                    "StartingHashKey": str(nth * width),
                    "EndingHashKey": str((nth + 1) * width - 1),
                },
                "SequenceNumberRange": {"StartingSequenceNumber": sequence_of(0)},
            }
            for nth in range(len(self._shards))
        ]
        return json.dumps({"Shards": found}), 0.0

    def _describe(self, call: Mapping[str, Any]) -> Answer:
        self._known(call)
        name = self._layout.name
        summary = {
            "StreamName": name,
            "StreamARN": f"arn:aws:kinesis:us-east-1:123456789012:stream/{name}",
            "StreamStatus": "ACTIVE",
            "RetentionPeriodHours": 24,
            "StreamCreationTimestamp": round(self._created, 3),
            "EnhancedMonitoring": [],
            "OpenShardCount": len(self._shards),
        }
        return json.dumps({"StreamDescriptionSummary": summary}), 0.0

    def _iterator(self, call: Mapping[str, Any]) -> Answer:
        self._known(call)
        nth, now = int(call["ShardId"].rpartition("-")[2]), time.time()
        shard, kind = self._shards[nth], call["ShardIteratorType"]
        if kind == "LATEST":
            number = shard.end(now)
        elif kind == "AT_TIMESTAMP":
            number = shard.at(call["Timestamp"], now)
        elif kind == "TRIM_HORIZON":
            number = 0
        else:
            after = kind == "AFTER_SEQUENCE_NUMBER"
            number = number_of(call["StartingSequenceNumber"]) + after
        return json.dumps({"ShardIterator": f"{nth}/{number}"}), 0.0

    def _records(self, call: Mapping[str, Any]) -> Answer:
        nth, first = map(int, call["ShardIterator"].split("/"))
        shard, now = self._shards[nth], time.time()
        if shard.limits.refuse(now):
            raise RefusedError("ProvisionedThroughputExceededException")
        records, size = shard.records(first, call.get("Limit", _LIMIT), now)
        shard.limits.spend(size, now)
        following = first + len(records)
        more = following < shard.end(now)
        behind = round(1000 * (now - shard.arrival(following))) if more else 0
        body = (
            f'{{"Records":[{",".join(records)}],"NextShardIterator":"{nth}/{following}",'
            f'"MillisBehindLatest":{behind}}}'
        )
        return body, self._delays.transfer(len(body), PROFILE.download)


if __name__ == "__main__":
    serve(KinesisModel(), int(sys.argv[1]))
