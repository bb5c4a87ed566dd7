from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.channels.json_fields import (
    Malformed,
    chosen,
    degrees,
    fields,
    flag,
    items,
    length,
    listed,
    needed,
    number,
    text,
)

ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@given(ANY)
def test_a_field_is_of_its_type_or_malformed(value: object) -> None:
    wanted: list[tuple[Callable[[Any, str], object], type | tuple[type, ...], object]] = [
        (fields, dict, value),
        (listed, list, value),
        (chosen, (dict, type(None)), {"a": value}),
        (items, (list, tuple), {"a": value}),
        (text, (str, type(None)), {"a": value}),
        (needed, str, {"a": value}),
        (number, int, {"a": value}),
        (length, (int, type(None)), {"a": value}),
        (degrees, (int, float), {"a": value}),
        (flag, bool, {"a": value}),
    ]
    for read, types, given_value in wanted:
        try:
            found = read(given_value, "a")
        except Malformed:
            continue
        assert isinstance(found, types)


def test_what_is_missing_is_told_apart_from_what_is_wrong() -> None:
    assert chosen({}, "a") is None
    assert list(items({}, "a")) == []
    assert text({}, "a") is None
    assert text({"a": ""}, "a") == ""
    for empty in ({}, {"a": ""}, {"a": None}):
        with pytest.raises(Malformed, match="a is missing"):
            needed(empty, "a")


@pytest.mark.parametrize("value", [None, True, 1.0, "1", 2**63, -(2**63)])
def test_only_an_integer_of_64_bits_is_a_number(value: object) -> None:
    with pytest.raises(Malformed, match="a is no integer"):
        number({"a": value}, "a")
    assert number({"a": 2**63 - 1}, "a") == 2**63 - 1


def test_a_length_may_be_missing_but_not_negative() -> None:
    assert (length({}, "a"), length({"a": None}, "a"), length({"a": 0}, "a")) == (None, None, 0)
    for value, why in ((-1, "a is negative"), ("1", "a is no integer"), (True, "a is no integer")):
        with pytest.raises(Malformed, match=why):
            length({"a": value}, "a")


@pytest.mark.parametrize("value", [None, False, "1.5", [1.5]])
def test_only_a_number_is_a_place_on_earth(value: object) -> None:
    with pytest.raises(Malformed, match="a is no number"):
        degrees({"a": value}, "a")
    assert degrees({"a": -1.5}, "a") == -1.5


def test_only_true_sets_a_flag() -> None:
    assert flag({"a": True}, "a")
    assert not any(flag({"a": value}, "a") for value in (1, "true", False, None))
    assert not flag({}, "a")
