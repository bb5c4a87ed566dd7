import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.channels.http_json import BadJson, parse_json

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(values, st.booleans())
def test_ordinary_json_is_read_as_it_was_written(value: Any, ascii_only: bool) -> None:
    assert parse_json(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(st.text(alphabet='{}[]":,0e-.\\utfd8', max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_json(text.encode())
    except BadJson:
        return
    json.loads(text)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"\xff",
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf{}",
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"b":1}}',
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"1e999",
        b"-1e999",
        b"9223372036854775808",
        b"-9223372036854775809",
        b"1" * 5_000,
        b'"\\ud800"',
        b'{"\\udc00": 1}',
        b'["\\ude00\\ud83d"]',
        b"{} {}",
    ],
)
def test_what_two_readers_could_understand_differently_is_refused(raw: bytes) -> None:
    with pytest.raises(BadJson):
        parse_json(raw)


def test_a_whole_surrogate_pair_is_a_character() -> None:
    assert parse_json(b'"\\ud83d\\ude00"') == "\U0001f600"


@pytest.mark.parametrize("bracket", [b"[", b'{"a":'])
def test_a_deep_text_is_refused_without_recursion(bracket: bytes) -> None:
    with pytest.raises(BadJson, match="deeper than 64"):
        parse_json(bracket * 1_000_000)


def test_brackets_within_strings_are_no_depth() -> None:
    text = '[{"' * 100 + '\\"' + "[" * 100
    assert parse_json(json.dumps([text]).encode()) == [text]


def test_the_depth_that_is_allowed_is_allowed() -> None:
    assert parse_json(b"[" * 64 + b"]" * 64) is not None
    with pytest.raises(BadJson):
        parse_json(b"[" * 65 + b"]" * 65)


def test_an_unfinished_string_of_escapes_is_refused_in_linear_time() -> None:
    started = time.process_time()
    with pytest.raises(BadJson):
        parse_json(b'"' + b"\\\\" * 500_000)
    assert time.process_time() - started < 2


def test_the_error_quotes_nothing_of_what_came() -> None:
    with pytest.raises(BadJson) as caught:
        parse_json(b'{"token": hunter2}')
    assert "hunter2" not in str(caught.value)
