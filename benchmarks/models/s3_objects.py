"""Requests to an object: whole objects with conditions and ranges, and uploads in parts."""

import time
from email.utils import formatdate
from http import HTTPStatus

from benchmarks.models.objects import Bucket, Buckets, StoredObject
from benchmarks.models.s3_body import RefusedError, document, element, payload, span, texts
from benchmarks.models.s3_buckets import existing
from benchmarks.models.wire import Headers, Request, Response

_META = "x-amz-meta-"


def act(buckets: Buckets, request: Request, name: str, key: str) -> Response:
    """Do what the request wants of the object `key`; raises RefusedError."""
    bucket = existing(buckets, name)
    if {"uploads", "uploadId"} & request.query.keys():
        return _in_parts(buckets, request, bucket, key)
    if request.method in {"GET", "HEAD"}:
        return _get(request, bucket, key)
    if request.method == "PUT" and "x-amz-copy-source" not in request.headers:
        return _put(buckets, request, bucket, key, payload(request))
    if request.method == "DELETE":
        bucket.delete(key)
        return Response(HTTPStatus.NO_CONTENT)
    raise RefusedError(HTTPStatus.NOT_IMPLEMENTED, "NotImplemented")


def _put(buckets: Buckets, request: Request, bucket: Bucket, key: str, body: bytes) -> Response:
    """Write an object under the conditions If-None-Match and If-Match."""
    found = bucket.objects.get(key)
    if found is not None and request.headers.get("if-none-match") == "*":
        raise RefusedError(HTTPStatus.PRECONDITION_FAILED, "PreconditionFailed")
    wanted = request.headers.get("if-match")
    if wanted is not None and (found is None or found.etag != wanted):
        raise RefusedError(HTTPStatus.PRECONDITION_FAILED, "PreconditionFailed")
    metadata = {n: v for n, v in request.headers.items() if n.startswith(_META)}
    # A number instead of an MD5, which would cost more CPU than all the rest.
    etag = f'"{next(buckets.numbers):032x}"'
    bucket.put(key, StoredObject(body, etag, time.time(), metadata))
    return Response(headers={"ETag": etag})


def _get(request: Request, bucket: Bucket, key: str) -> Response:
    found = bucket.objects.get(key)
    if found is None:
        raise RefusedError(HTTPStatus.NOT_FOUND, "NoSuchKey")
    headers = {
        **found.metadata,
        "ETag": found.etag,
        "Last-Modified": formatdate(found.at, usegmt=True),
        "Accept-Ranges": "bytes",
    }
    wanted = request.headers.get("range")
    if wanted is None:
        return _part(HTTPStatus.OK, found.body, headers)
    size = len(found.body)
    begin, end = span(wanted, size)
    headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
    return _part(HTTPStatus.PARTIAL_CONTENT, found.body[begin:end], headers)


def _part(status: HTTPStatus, body: bytes, headers: Headers) -> Response:
    return Response(status, body, {"Content-Type": "application/octet-stream", **headers})


def _in_parts(buckets: Buckets, request: Request, bucket: Bucket, key: str) -> Response:
    """Begin, continue, complete or abort an upload in parts."""
    if "uploads" in request.query:
        upload = f"upload-{next(buckets.numbers)}"
        buckets.parts[upload] = {}
        own = [element("Key", key), element("UploadId", upload)]
        return document("InitiateMultipartUploadResult", own)
    upload = request.query["uploadId"]
    if upload not in buckets.parts:
        raise RefusedError(HTTPStatus.NOT_FOUND, "NoSuchUpload")
    if request.method == "PUT":
        number = int(request.query["partNumber"])
        buckets.parts[upload][number] = payload(request)
        return Response(headers={"ETag": f'"{upload}-{number}"'})
    parts = buckets.parts[upload]
    if request.method == "POST":
        body = b"".join(parts[int(number)] for number in texts(request.body, "PartNumber"))
        etag = _put(buckets, request, bucket, key, body).headers["ETag"]
        del buckets.parts[upload]
        own = [element("Key", key), element("ETag", etag)]
        return document("CompleteMultipartUploadResult", own)
    del buckets.parts[upload]
    return Response(HTTPStatus.NO_CONTENT)
