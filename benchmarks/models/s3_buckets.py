"""Requests to a bucket: creation, listings, removal of many objects."""

from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import quote

from benchmarks.models.objects import Bucket, Buckets, Page
from benchmarks.models.s3_body import RefusedError, document, element, iso, payload, texts
from benchmarks.models.wire import Request, Response

REGION = "us-east-1"
_MAX_KEYS = 1000


def act(buckets: Buckets, request: Request, name: str) -> Response:
    """Do what the request wants of the bucket `name`; raises RefusedError."""
    if request.method == "PUT":
        buckets.by_name.setdefault(name, Bucket())
        return Response(headers={"Location": f"/{name}"})
    bucket = existing(buckets, name)
    if request.method == "HEAD":
        return Response(headers={"x-amz-bucket-region": REGION})
    if request.method == "GET" and request.query.get("list-type") == "2":
        return _list(request.query, bucket)
    if request.method == "POST" and "delete" in request.query:
        return _delete_many(request, bucket)
    raise RefusedError(HTTPStatus.NOT_IMPLEMENTED, "NotImplemented")


def existing(buckets: Buckets, name: str) -> Bucket:
    """Return the bucket; raises RefusedError when there is none."""
    if name not in buckets.by_name:
        raise RefusedError(HTTPStatus.NOT_FOUND, "NoSuchBucket")
    return buckets.by_name[name]


def _list(query: Mapping[str, str], bucket: Bucket) -> Response:
    after = query.get("continuation-token") or query.get("start-after", "")
    limit = min(_MAX_KEYS, int(query.get("max-keys", _MAX_KEYS)))
    page = bucket.page(query.get("prefix", ""), query.get("delimiter", ""), after, limit)
    return document(
        "ListBucketResult", [*_summary(query, page, limit), *_entries(query, bucket, page)]
    )


def _summary(query: Mapping[str, str], page: Page, limit: int) -> list[str]:
    fields: dict[str, object] = {
        "Prefix": _named(query, query.get("prefix", "")),
        "KeyCount": len(page.keys) + len(page.prefixes),
        "MaxKeys": limit,
        "IsTruncated": str(page.next is not None).lower(),
    }
    if page.next is not None:
        fields["NextContinuationToken"] = page.next
    if "encoding-type" in query:
        fields["EncodingType"] = query["encoding-type"]
    return [element(name, value) for name, value in fields.items()]


def _entries(query: Mapping[str, str], bucket: Bucket, page: Page) -> list[str]:
    found = []
    for key in page.keys:
        stored = bucket.objects[key]
        own = {
            "Key": _named(query, key),
            "LastModified": iso(stored.at),
            "ETag": stored.etag,
            "Size": len(stored.body),
        }
        found.append(element("Contents", *(element(n, value) for n, value in own.items())))
    common = (element("Prefix", _named(query, prefix)) for prefix in page.prefixes)
    return [*found, *(element("CommonPrefixes", prefix) for prefix in common)]


def _named(query: Mapping[str, str], key: str) -> str:
    """Return a key as the request wants it: percent-encoded or as it is."""
    return quote(key) if query.get("encoding-type") == "url" else key


def _delete_many(request: Request, bucket: Bucket) -> Response:
    keys = texts(payload(request), "Key")
    for key in keys:
        bucket.delete(key)
    return document("DeleteResult", [element("Deleted", element("Key", key)) for key in keys])
