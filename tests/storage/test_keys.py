"""Keys: order, limits and hashes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.storage.base import Table
from turnkeeper.storage.errors import InvalidKey
from turnkeeper.storage.keys import (
    MAX_NUMBER,
    hash16,
    log_key,
    number_key,
    split_log_key,
    table_bound,
    table_key,
)

numbers = st.integers(0, MAX_NUMBER)
places = st.tuples(numbers, numbers)


@given(places, places)
def test_log_keys_sort_as_their_places_do(a: tuple[int, int], b: tuple[int, int]) -> None:
    assert (log_key(*a) < log_key(*b)) == (a < b)
    assert split_log_key(log_key(*a)) == a


@given(numbers, numbers)
def test_number_keys_sort_as_their_numbers_do(a: int, b: int) -> None:
    assert (number_key(a) < number_key(b)) == (a < b)


@pytest.mark.parametrize("number", [-1, MAX_NUMBER + 1])
def test_numbers_beyond_64_bits_have_no_key(number: int) -> None:
    with pytest.raises(InvalidKey, match="64 bits"):
        number_key(number)
    with pytest.raises(InvalidKey, match="64 bits"):
        log_key(1, number)


@given(st.sampled_from(Table), st.binary(min_size=1, max_size=20))
def test_a_table_bounds_its_keys(table: Table, key: bytes) -> None:
    assert table_bound(table, b"") < table_key(table, key) < table_bound(table, None)


@given(st.lists(st.none() | st.text(st.characters(exclude_categories=()))), st.data())
def test_hashes_differ_wherever_their_parts_do(
    parts: list[str | None], data: st.DataObject
) -> None:
    other = data.draw(st.lists(st.none() | st.text(max_size=3)))
    assert (hash16(*parts) == hash16(*other)) == (parts == other)
    assert len(hash16(*parts)) == 16


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (("a", "bc"), ("ab", "c")),
        (("a", None), ("a",)),
        (("a", None), ("a", "")),
        ((None,), ("-",)),
        (("1:a",), ("a",)),
        ((), ("",)),
        (("\ud800",), ("?",)),
    ],
)
def test_hashes_tell_apart_what_looks_alike(
    a: tuple[str | None, ...], b: tuple[str | None, ...]
) -> None:
    assert hash16(*a) != hash16(*b)


def test_hashes_and_table_numbers_are_part_of_the_stored_format() -> None:
    assert hash16("tg", "12345", None).hex() == "82d1493e054dcd2653068c18af0f53af"
    assert {table.name: table.value for table in Table} == {
        "HEADS": 1,
        "NAMES": 2,
        "BINDINGS": 3,
        "SEEN": 4,
        "TROUBLE": 5,
        "KEYS": 6,
        "PLACES": 7,
        "PAST_BINDINGS": 8,
        "IDENTITIES": 9,
        "USERS": 10,
        "ACCESS": 11,
        "CODES": 12,
        "LAST": 13,
        "SENT": 14,
        "NOTES": 15,
        "WAITING_NOTES": 16,
        "MISSIONS": 17,
        "DUE": 18,
        "RUNS": 19,
        "TOKENS": 20,
        "USAGE": 21,
        "LIMITS": 22,
        "MEMORY": 23,
        "BLOBS": 24,
        "ERASED": 25,
        "WATERMARKS": 26,
    }
