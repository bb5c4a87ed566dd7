from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.channels.json_fields import (
    Malformed,
    chosen,
    fields,
    items,
    listed,
    needed,
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
