import json
from typing import Any

import cbor2
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from turnkeeper.actors.messages import Attachment
from turnkeeper.channels.websocket_wire import (
    BadFrame,
    Got,
    Hello,
    Kind,
    Message,
    UnreadableFrame,
    decode,
    encode,
    kind_of,
    parse,
)

anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=8,
)
field_names = st.sampled_from(
    ["id", "text", "token", "user", "resume", "seen", "name", "cursor", "reply_to", "attachments"]
)


@st.composite
def frames(draw: st.DrawFn) -> dict[str, Any]:
    fields = draw(st.dictionaries(field_names, anything, max_size=5))
    return {"type": draw(st.sampled_from(["hello", "message", "got", "dance"]))} | fields


@given(st.binary(max_size=60))
@example(b"\xf9\x7e\x00")
@example(b"\xf7")
@example(b"\xa1\xf7\xf7")
def test_any_bytes_are_a_map_or_unreadable(data: bytes) -> None:
    try:
        frame = decode(data)
    except UnreadableFrame:
        return
    assert all(isinstance(key, str) for key in frame)


@given(st.text(alphabet='{}[]":,0e-."\\utf', max_size=40))
def test_any_text_is_a_map_or_unreadable(text: str) -> None:
    try:
        frame = decode(text)
    except UnreadableFrame:
        return
    assert isinstance(frame, dict)


@given(frames())
def test_any_map_is_a_frame_or_named_as_bad(frame: dict[str, Any]) -> None:
    try:
        parsed = parse(frame)
    except BadFrame:
        return
    assert isinstance(parsed, Hello | Message | Got)


@pytest.mark.parametrize("kind", ["json", "cbor"])
@given(frame=st.dictionaries(st.text(max_size=9), st.text(max_size=40) | st.booleans()))
def test_what_is_encoded_decodes_to_the_same(kind: Kind, frame: dict[str, Any]) -> None:
    data = encode(frame, kind)
    assert kind_of(data) == kind
    assert decode(data) == frame


def test_json_keeps_lone_surrogates_and_cbor_replaces_them() -> None:
    frame = {"text": "a\ud800b\udc00 \U0001f600", "ok": True}
    assert decode(encode(frame, "json")) == frame
    assert decode(encode(frame, "cbor")) == {"text": "a\ufffdb\ufffd \U0001f600", "ok": True}


@pytest.mark.parametrize("kind", ["json", "cbor"])
def test_every_field_of_every_frame_is_read(kind: Kind) -> None:
    def read(frame: dict[str, Any]) -> object:
        return parse(decode(json.dumps(frame) if kind == "json" else cbor2.dumps(frame)))

    assert read(
        {
            "type": "hello",
            "version": 1,
            "token": "t",
            "user": "u",
            "conversation": "c",
            "name": "n",
            "resume": "e-1",
            "seen": ["s1/1", "s1/2"],
        }
    ) == Hello(
        token="t",
        user="u",
        conversation="c",
        name="n",
        resume="e-1",
        seen=frozenset({"s1/1", "s1/2"}),
    )
    attachment = {"kind": "file", "reference": "r", "mime": "m", "size_bytes": 3, "name": "n"}
    assert read(
        {"type": "message", "id": "1", "text": "", "reply_to": "s1/1", "attachments": [attachment]}
    ) == Message(
        id="1",
        text="",
        reply_to="s1/1",
        attachments=(Attachment(kind="file", reference="r", mime="m", size_bytes=3, name="n"),),
    )
    assert read({"type": "got", "cursor": "e-1"}) == Got(cursor="e-1")


def test_a_field_that_is_null_counts_as_absent() -> None:
    assert parse({"type": "message", "id": "1", "text": "x", "reply_to": None}) == Message(
        id="1", text="x", reply_to=None, attachments=()
    )


@pytest.mark.parametrize(
    ("attachment", "complaint"),
    [
        ("file", "an attachment is a map, not text"),
        ({"kind": "virus", "reference": "r"}, "an attachment is one of image, audio, video, file"),
        ({"kind": "file", "reference": "r", "size_bytes": -1}, "size_bytes is a whole number"),
        ({"kind": "file", "reference": "r", "size_bytes": True}, "size_bytes is a whole number"),
        ({"kind": "file", "reference": "r", "size_bytes": 2**63}, "size_bytes is a whole number"),
        ({"kind": "file", "reference": "r" * 2049}, "reference is longer than 2048"),
        ({"kind": "file", "reference": "r", "x": 1}, "attachment has no field 'x'"),
    ],
)
def test_a_bad_attachment_is_named(attachment: object, complaint: str) -> None:
    with pytest.raises(BadFrame, match=complaint) as bad:
        parse({"type": "message", "id": "7", "text": "", "attachments": [attachment]})
    assert bad.value.message_id == "7"


def test_lists_are_bounded() -> None:
    with pytest.raises(BadFrame, match="seen has more than 64"):
        parse({"type": "hello", "seen": ["x"] * 65})
    with pytest.raises(BadFrame, match="attachments has more than 16"):
        parse({"type": "message", "id": "1", "text": "", "attachments": [{}] * 17})


def test_a_hello_never_shows_its_token() -> None:
    hello = parse({"type": "hello", "token": "secret", "user": "alice"})
    assert "secret" not in repr(hello)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ('{"a":1,"a":2}', "same key twice"),
        ("[" * 100_000, "nested deeper"),
        ('{"a":[[[[1]]]]}', "nested deeper"),
        ("9" * 5000, "too long"),
        ("{} {}", "Extra data"),
        (b"\xa0\xf5", "1 bytes follow"),
        (b"\xc2\x41\x01", "tags are not allowed"),
        (b"\x81" * 100, "depth"),
        ("null", "not null"),
        (b"\xf5", "not bool"),
    ],
)
def test_the_reason_is_told(data: str | bytes, why: str) -> None:
    with pytest.raises(UnreadableFrame, match=why):
        decode(data)
