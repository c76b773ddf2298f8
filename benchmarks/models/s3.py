"""`python -m benchmarks.models.s3 PORT`: an S3 with the latencies of a real bucket.

It serves what boto3, delta-rs and pinpip request: objects with conditions, metadata and ranges,
listings, removal of many, uploads in parts. A PUT becomes visible when its response is sent.
"""

import sys
from collections.abc import Callable
from functools import partial
from http import HTTPStatus

from benchmarks.models import s3_buckets, s3_objects
from benchmarks.models.delays import Delays, Profile
from benchmarks.models.journal import Journal, kind_of
from benchmarks.models.objects import Buckets
from benchmarks.models.s3_body import RefusedError
from benchmarks.models.wire import Request, Response, Work, as_json, serve

CONTROL = "/-/"
AT = "x-model-at"  # seconds of the wall clock when an object became visible


class S3Model:
    """The buckets, how slow they are, and what was requested."""

    def __init__(self, profile: Profile) -> None:
        self._buckets = Buckets()
        self._journal = Journal()
        self._delays = Delays(profile)

    def __call__(self, request: Request) -> Work:
        """Return what to do for the request, and when."""
        if request.path.startswith(CONTROL):
            return Work(0.0, partial(self._control, request))
        bucket, _, key = request.path[1:].partition("/")
        act: Callable[[], Response]
        if self._delays.slows_down():
            delay, act = self._delays.small(), _slow_down
        elif key:
            delay = self._delay(request, bucket, key)
            act = partial(s3_objects.act, self._buckets, request, bucket, key)
        else:
            delay = self._delays.listing() if request.method == "GET" else self._delays.small()
            act = partial(s3_buckets.act, self._buckets, request, bucket)
        return Work(delay, partial(self._noted, request, key, delay, act))

    def _delay(self, request: Request, bucket: str, key: str) -> float:
        if request.method == "GET":
            found = self._buckets.find(bucket, key)
            return self._delays.download(len(found.body) if found else 0)
        return self._delays.upload(len(request.body))

    def _noted(
        self, request: Request, key: str, delay: float, act: Callable[[], Response]
    ) -> Response:
        try:
            response = act()
        except RefusedError as error:
            response = error.response()
        size = len(request.body) + len(response.body)
        self._journal.note(_kind(request, key), response.status, size, delay)
        return response

    def _control(self, request: Request) -> Response:
        """Answer the benchmark: `profile`, `journal`, `reset`, `object/BUCKET/KEY`."""
        name, _, rest = request.path.removeprefix(CONTROL).partition("/")
        if name == "profile":
            self._delays = Delays(Profile.model_validate_json(request.body))
        elif name == "journal":
            return Response(body=self._journal.dump())
        elif name == "reset":
            self._buckets, self._journal = Buckets(), Journal()
        elif name == "object":
            bucket, _, key = rest.partition("/")
            found = self._buckets.find(bucket, key)
            if found is None:
                return Response(HTTPStatus.NOT_FOUND)
            return Response(body=found.body, headers={AT: repr(found.at)})
        return as_json({})


def _slow_down() -> Response:
    raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "SlowDown")


def _kind(request: Request, key: str) -> str:
    """Name the request for the journal; a LIST by its prefix."""
    if key:
        return kind_of(request.method, key)
    if request.method == "GET":
        return kind_of("LIST", request.query.get("prefix", ""))
    return "DELETE many" if request.method == "POST" else f"{request.method} bucket"


if __name__ == "__main__":
    serve(S3Model(Profile()), int(sys.argv[1]))
