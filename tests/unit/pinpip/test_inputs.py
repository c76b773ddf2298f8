"""Objects of S3 as inputs: a response that ends early is repeated."""

import io
from typing import Any

import pytest
from botocore.exceptions import IncompleteReadError

from core.config import Aws
from core.errors import TransientError
from pinpip.inputs import inputs_of
from producers.rows.inputs import InputError
from sinks.storage import s3

BODY = b"x" * 100


class Cut(io.BytesIO):
    """A body that ends early."""

    def read(self, size: int | None = -1) -> bytes:
        """Give a part, then fail."""
        part = super().read(size)
        if part:
            return part
        raise IncompleteReadError(actual_bytes=10, expected_bytes=100)


class Bucket:
    """S3's client for one object, whose first responses are cut."""

    def __init__(self, cuts: int, keys: tuple[str, ...] = ("in/1.json",)) -> None:
        self.cuts, self.keys = cuts, keys

    def get_paginator(self, _: str) -> "Bucket":
        """Return what lists the objects."""
        return self

    def paginate(self, **_: str) -> list[dict[str, Any]]:
        """List the objects."""
        return [{"Contents": [{"Key": key} for key in self.keys]}, {}]

    def get_object(self, **_: str) -> dict[str, Any]:
        """Return the object, perhaps cut."""
        self.cuts -= 1
        return {"Body": Cut(BODY[:10]) if self.cuts >= 0 else io.BytesIO(BODY)}


def inputs(bucket: Bucket, word: str, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setattr(s3, "client", lambda _: bucket)
    return inputs_of(word, None, Aws(), print, bool)


def test_an_object_whose_response_is_cut_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    [found] = inputs(Bucket(2), "s3://b/in", monkeypatch)
    with found.open() as stream:
        assert stream.read() == BODY


def test_an_object_that_is_always_cut_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    [found] = inputs(Bucket(3), "s3://b/in", monkeypatch)
    with pytest.raises(TransientError, match=r"s3://b/in/1\.json"):
        found.open()


@pytest.mark.parametrize(
    ("word", "keys", "names"),
    [
        ("s3://b", ("1.json", "folder/", "x/2.csv"), ["1.json", "x/2.csv"]),
        ("s3://b/in", ("in", "in/1.json"), ["in"]),
        ("s3://b/in/", ("in/1.json", "in/a#b?.json"), ["in/1.json", "in/a#b?.json"]),
        ("s3://b/in", ("in/1.json", "inside.json"), ["in/1.json"]),
    ],
)
def test_a_prefix_is_an_object_or_a_folder(
    monkeypatch: pytest.MonkeyPatch, word: str, keys: tuple[str, ...], names: list[str]
) -> None:
    found = inputs(Bucket(0, keys), word, monkeypatch)
    assert [each.name for each in found] == [f"s3://b/{name}" for name in names]


def test_a_prefix_inside_a_name_only_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="has no files of rows"):
        inputs(Bucket(0, ("inside.json",)), "s3://b/in", monkeypatch)
