"""KPL aggregates are split, and everything else is left whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.kinesis.kpl import MAGIC, UserRecord, split
from tests.support.aggregates import aggregate, chunk, sealed, varint

USERS = st.lists(st.builds(UserRecord, st.text(min_size=1, max_size=8), st.binary(max_size=200)))
SOME = [UserRecord("a", b"one"), UserRecord("b", b""), UserRecord("a", b"\x00\xff" * 100)]


@given(USERS.filter(bool), st.none() | st.integers(0, 2**128 - 1).map(str))
def test_what_was_packed_is_split_in_order(users: list[UserRecord], hash_key: str | None) -> None:
    assert split(aggregate(users, hash_key)) == users


@given(st.binary(max_size=300))
def test_any_bytes_are_split_or_plain(data: bytes) -> None:
    assert split(data) is None


@given(st.binary(min_size=1, max_size=100))
def test_any_protobuf_with_a_right_digest_never_raises(body: bytes) -> None:
    found = split(sealed(body))
    assert found is None or len(found) > 0


@given(st.integers(0, len(aggregate(SOME)) - 1))
def test_a_truncated_aggregate_is_plain(length: int) -> None:
    assert split(aggregate(SOME)[:length]) is None


@given(st.integers(0, len(aggregate(SOME)) - 1), st.integers(1, 255))
def test_a_corrupted_aggregate_is_plain(at: int, change: int) -> None:
    data = bytearray(aggregate(SOME))
    data[at] ^= change
    assert split(bytes(data)) is None


def test_an_aggregate_as_aws_documents_it_is_split() -> None:
    body = b"\x0a\x01k" + b"\x1a\x07\x08\x00\x1a\x03one" + b"\x1a\x07\x08\x00\x1a\x03two"
    assert split(sealed(body)) == [UserRecord("k", b"one"), UserRecord("k", b"two")]


def test_fields_that_nobody_knows_yet_are_skipped() -> None:
    later = varint(9 << 3 | 1) + bytes(8) + varint(10 << 3 | 5) + bytes(4) + chunk(11, b"new")
    record = chunk(3, varint(1 << 3) + varint(0) + chunk(3, b"one"))
    assert split(sealed(later + chunk(1, b"k") + record)) == [UserRecord("k", b"one")]


def test_an_index_beyond_the_keys_is_plain() -> None:
    record = chunk(3, varint(1 << 3) + varint(1) + chunk(3, b"one"))
    assert split(sealed(chunk(1, b"k") + record)) is None


def test_a_record_without_data_is_plain() -> None:
    record = chunk(3, varint(1 << 3) + varint(0))
    assert split(sealed(chunk(1, b"k") + record)) is None


@pytest.mark.parametrize(
    "body", [chunk(1, b"k"), chunk(2, b"5"), varint(9 << 3) + varint(1), chunk(11, b"new")]
)
def test_an_aggregate_of_no_records_is_plain(body: bytes) -> None:
    assert split(sealed(body)) is None


def test_an_endless_varint_is_plain() -> None:
    assert split(sealed(b"\xff" * 30)) is None


def test_the_magic_alone_is_plain() -> None:
    assert split(MAGIC) is None
    assert split(sealed(b"")) is None


def test_a_record_with_a_hash_key_of_another_shard_is_kept() -> None:
    assert split(aggregate(SOME, hash_key=str(2**128 - 1))) == SOME
