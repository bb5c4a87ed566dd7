"""The record codec: what it keeps, and what it refuses."""

from __future__ import annotations

import math
import struct
import zlib
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.storage.codec import FORMAT_VERSION, MAX_DEPTH, decode, decode_all, encode
from turnkeeper.storage.errors import CorruptRecord, RecordFromFuture, StorageError, Unencodable


def record(body: bytes, version: int = 1) -> bytes:
    """A record with a checksum that fits, whatever the body is."""
    return struct.pack(">BI", version, zlib.crc32(body)) + body


any_text = st.text(st.characters(exclude_categories=()))
payloads = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64 - 1)
    | st.floats(allow_nan=False)
    | any_text
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(any_text, inner),
    max_leaves=20,
)


@given(payloads)
def test_every_payload_comes_back_exactly(payload: Any) -> None:
    decoded = decode(encode(payload))
    assert decoded == payload
    assert repr(decoded) == repr(payload)


@pytest.mark.parametrize(
    "text",
    ["", "a\0b", "\ud800", "x\udfff", "\ud83d\ude00", "\U0010ffff", "\u202e\x1b[31m", "é" * 70_000],
    ids=ascii,
)
def test_every_text_comes_back_exactly(text: str) -> None:
    assert decode(encode(text)) == text
    assert decode(encode({text: [text, 1]})) == {text: [text, 1]}


def test_nan_comes_back_and_tuples_come_back_as_lists() -> None:
    assert math.isnan(decode(encode([math.nan]))[0])
    assert decode(encode((1, (2, "x")))) == [1, [2, "x"]]


def test_nesting_is_kept_up_to_the_limit_and_refused_beyond() -> None:
    deep: Any = 1
    for _ in range(MAX_DEPTH):
        deep = [deep]
    assert decode(encode(deep)) == deep
    with pytest.raises(Unencodable, match=f"nested deeper than {MAX_DEPTH}"):
        encode([deep])


def test_a_list_that_holds_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(Unencodable, match="nested deeper"):
        encode(endless)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (2**64, "more than 64 bits"),
        ([-(2**64) - 1], "more than 64 bits"),
        ({1: 2}, "a key is of type int"),
        ([{b"k": 2}], "a key is of type bytes"),
        ({1, 2}, "it holds a set"),
        ([object()], "it holds a object"),
        (bytearray(b"x"), "it holds a bytearray"),
        ([cbor2.undefined], "it holds a"),
        ([cbor2.CBORTag(1, 0)], "it holds a CBORTag"),
    ],
)
def test_what_no_record_holds_is_refused(payload: Any, reason: str) -> None:
    with pytest.raises(Unencodable, match=reason):
        encode(payload)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\xc1\x00", "CBOR tag 1"),
        (b"\x81\xc2\x41\x01", "CBOR tag 2"),
        (b"\xd8\x1c\x81\xd8\x1d\x00", "CBOR tag 28"),
        (b"\xd9\x01\x00\x80", "CBOR tag 256"),
        (b"\xd9\xd9\xf7\x01", "CBOR tag 55799"),
        (b"\xd9\x30\x39\x01", "CBOR tag 12345"),
        (b"\xd9\x01\x11\x01", "raw text is not bytes"),
        (b"\xd9\x01\x11\x41x", "valid Unicode in the form"),
        (b"\xd9\x01\x11\x41\xff", "can't decode"),
        (b"\x01\x02", "more than one item"),
        (b"\x82\x01\x02\xf6\xf6", "more than one item"),
        (b"\x9f\x01\xff", "indefinite"),
        (b"\x7f\x61x\xff", "indefinite"),
        (b"\xa2\x61a\x01\x61a\x02", "[Dd]uplicate"),
        (b"\xa1\x01\x02", "a key is of type int"),
        (b"\x81" * 10_000 + b"\x01", "depth"),
        (b"\xf7", "it holds a"),
        (b"\xf0", "it holds a CBORSimpleValue"),
        (b"\x61\xff", "text"),
        (b"\x82\x01", "end of stream"),
        (b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", "end of stream"),
        (b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff", ""),
        (b"\x1c", "unknown"),
    ],
)
def test_hostile_bytes_are_refused_with_the_reason_and_the_place(body: bytes, reason: str) -> None:
    with pytest.raises(CorruptRecord, match=rf"record log/7/3 is malformed: .*{reason}"):
        decode(record(body), ("log", 7, 3))


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_raise_one_of_our_errors(data: bytes) -> None:
    for attempt in (data, record(data)):
        try:
            payload = decode(attempt)
        except StorageError:
            continue
        assert repr(decode(encode(payload))) == repr(payload)


@given(st.data())
def test_any_flipped_bit_is_noticed(data: st.DataObject) -> None:
    whole = encode(["user", "12345", "hello", 17, None])
    bit = data.draw(st.integers(0, len(whole) * 8 - 1))
    flipped = bytearray(whole)
    flipped[bit // 8] ^= 1 << bit % 8
    with pytest.raises((CorruptRecord, RecordFromFuture), match="record log/7/3"):
        decode(bytes(flipped), ("log", 7, 3))


def test_a_flipped_bit_in_the_body_names_the_checksum_and_the_way_out() -> None:
    with pytest.raises(CorruptRecord, match=r"log/7/3 fails its checksum.*restore"):
        decode(encode("hello")[:-1] + b"0", ("log", 7, 3))


def test_a_record_from_the_future_asks_for_an_upgrade() -> None:
    with pytest.raises(RecordFromFuture, match=r"format 2.*upgrade turnkeeper"):
        decode(record(b"\x01", version=2))


@pytest.mark.parametrize("length", range(6))
def test_a_record_cut_short_is_corrupt(length: int) -> None:
    with pytest.raises(CorruptRecord):
        decode(encode("hello")[:length])


def test_format_0_never_existed() -> None:
    with pytest.raises(CorruptRecord, match="never existed"):
        decode(record(b"\x01", version=0))


def test_many_records_are_decoded_as_each_of_them_is() -> None:
    payloads: list[Any] = [
        ["user", 1, "hi", None],
        ["nested", [1, {"a": b"b"}]],
        "text",
        ["lone \ud800"],
        [],
    ]
    assert decode_all([encode(payload) for payload in payloads]) == payloads
    assert decode_all([]) == []


@pytest.mark.parametrize(
    "body", [b"\x01\x02", b"\xc1\x01", b"\x82\x01", b"\x9f\x01\xff", b"\xa2\x61a\x01\x61a\x02"]
)
def test_one_hostile_record_among_many_is_refused(body: bytes) -> None:
    good = encode(["fine"])
    hostile = struct.pack(">BI", FORMAT_VERSION, zlib.crc32(body)) + body
    with pytest.raises(CorruptRecord):
        decode_all([good, hostile, good])
    with pytest.raises(CorruptRecord, match="checksum"):
        decode_all([good, good[:-1] + b"?", good])
    with pytest.raises(RecordFromFuture):
        decode_all([good, bytes([FORMAT_VERSION + 1]) + good[1:]])
