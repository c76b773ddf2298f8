"""What a commit asks of a bucket: each request costs money and, with it, a part of a second."""

from collections import Counter
from typing import Any, cast
from uuid import uuid4

import pytest
from botocore.awsrequest import AWSPreparedRequest

from core.batch import KAFKA, Position
from sinks.delta.log import CHECKPOINT_EVERY
from sinks.storage.protocol import Store
from sinks.storage.s3 import S3Store, client
from tests.support.aws import TestAws
from tests.support.delta_logs import LOG, A, in_threes, opened
from tests.support.sink_backends import DeltaBackend

COMMITS = 200


class Requests:
    """Counts what boto3 sends for a store, retries too, by method and kind of key."""

    def __init__(self, store: Store) -> None:
        self.sent: Counter[str] = Counter()
        events: Any = cast(S3Store, store)._client.meta.events
        events.register("before-send.s3", self._note)

    def _note(self, request: AWSPreparedRequest, **_: object) -> None:
        path = request.url.partition("?")[0]
        own = "log" if path.endswith(".json") else "data" if path.endswith(".parquet") else "other"
        self.sent[f"{request.method} {own}"] += 1


@pytest.mark.moto
def test_a_commit_sends_two_puts_and_at_most_a_fifth_of_another_request(
    aws: TestAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []
    monkeypatch.setattr(
        "sinks.delta.checkpoints.CheckpointWriter.start", lambda _: started.append("a checkpoint")
    )
    store = S3Store(client(aws.config), aws.bucket(), uuid4().hex)
    sink = opened(DeltaBackend(store, aws.storage_options, "clean", KAFKA), A)
    in_threes(sink, range(2))
    requests = Requests(store)
    in_threes(sink, range(2, COMMITS + 2))
    puts = {name: requests.sent.pop(name) for name in ("PUT data", "PUT log")}
    assert puts == {"PUT data": COMMITS, "PUT log": COMMITS}
    assert requests.sent.total() <= 0.2 * COMMITS, requests.sent
    assert len(started) == COMMITS // CHECKPOINT_EVERY
    partition = LOG.partition(A)
    assert sink.positions([partition]) == {partition: Position(3 * COMMITS + 6)}
