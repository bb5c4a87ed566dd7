"""What is no item is told as such, and never breaks anything."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper import Address, Outbound
from turnkeeper.actors.messages import DeliveryId, InboundTurn, Instance, MessageChange
from turnkeeper.channels.incoming_files import IncomingFile
from turnkeeper.channels.json_fields import Malformed
from turnkeeper.channels.webhook_wire import (
    MAX_ITEMS,
    Heard,
    Wrong,
    body_of,
    message_id_of,
    read_call,
)

WH = Instance("wh")
LEAST = {"conversation": "c", "user": "u", "text": "hi"}
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["items", "type", "conversation", "user", "text", "message_id", "attachments"]
            )
            | st.text(max_size=4),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
)


def read(told: object) -> object:
    (item,) = read_call(WH, told, "call_1").items
    return item


def file(url: str, **more: Any) -> IncomingFile:
    return IncomingFile(reference=url, url=url, **more)


def test_the_least_that_makes_a_message() -> None:
    assert read(LEAST) == Heard(
        turn=InboundTurn(
            address=Address(WH, "c"),
            platform="webhook",
            message_id="call_1",
            user_id="u",
            text="hi",
        )
    )


def test_all_that_a_message_can_have() -> None:
    told = {
        "type": "message",
        "conversation": "c",
        "thread": "t",
        "user": "u",
        "message_id": "m1",
        "text": "hi",
        "reply_to": "m0",
        "user_name": "Ann",
        "chat_name": "Hall",
        "guild": "g",
        "direct": False,
        "mentioned": False,
        "attachments": [
            {"url": "https://example.org/a", "mime": "image/png", "name": "../../etc/passwd"},
            {"url": "https://example.org/b", "kind": "audio"},
        ],
    }
    assert read(told) == Heard(
        turn=InboundTurn(
            address=Address(WH, "c", "t"),
            platform="webhook",
            message_id="m1",
            user_id="u",
            text="hi",
            user_name="Ann",
            chat_name="Hall",
            guild="g",
            direct=False,
            mentioned=False,
            reply_to="m0",
        ),
        files=(
            file("https://example.org/a", kind="image", mime="image/png", name="../../etc/passwd"),
            file("https://example.org/b", kind="audio"),
        ),
    )


def test_a_message_of_files_needs_no_text() -> None:
    heard = read(
        {"conversation": "c", "user": "u", "attachments": [{"url": "https://example.org/a"}]}
    )
    assert isinstance(heard, Heard)
    assert heard.turn.text == ""
    assert heard.files == (file("https://example.org/a", kind="file"),)


def test_edits_and_deletions() -> None:
    place = {"conversation": "c", "user": "u", "message_id": "m1"}
    edited = read({**place, "type": "edited", "text": "new"})
    assert edited == MessageChange(
        address=Address(WH, "c"),
        platform="webhook",
        message_id="m1",
        change_id="call_1",
        user_id="u",
        text="new",
    )
    deleted = read({"type": "deleted", "conversation": "c", "message_id": "m1", "change_id": "x"})
    assert isinstance(deleted, MessageChange)
    assert (deleted.change_id, deleted.user_id, deleted.text) == ("x", None, None)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"conversation": ""}, "conversation is missing"),
        ({"conversation": 5}, "conversation is no text"),
        ({"user": None}, "user is missing"),
        ({"text": ""}, "text is missing"),
        ({"text": ["hi"]}, "text is no text"),
        ({"direct": "yes"}, "direct must be true or false"),
        ({"attachments": {}}, "attachments is no list"),
        ({"attachments": ["u"]}, "attachment is no object"),
        ({"attachments": [{"url": ""}]}, "url is missing"),
        ({"attachments": [{"url": "x" * 2_049}]}, "url is longer than 2,048 characters"),
        ({"attachments": [{"url": "u"}] * 17}, "attachments has more than 16"),
        ({"attachments": [{"url": "u", "path": "/x"}]}, "unknown in an attachment: 'path'"),
        ({"attachments": [{"url": "u", "kind": "virus"}]}, "kind must be one of"),
        ({"type": "typing"}, "type must be message, edited or deleted"),
        ({"type": "edited"}, "message_id is missing"),
        ({"txet": "hi"}, "unknown: 'txet'"),
        ({"ä\u202e" * 50: 1}, "unknown: "),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], why: str) -> None:
    item = read({**LEAST, **change})
    assert isinstance(item, Wrong)
    assert item.why.startswith(why)
    assert item.why.isascii()
    assert len(item.why) < 400


def test_items_of_a_batch_have_ids_of_their_own() -> None:
    call = read_call(WH, {"items": [LEAST, 7, LEAST]}, "call_1")
    first, wrong, last = call.items
    assert call.is_batch
    assert isinstance(first, Heard)
    assert isinstance(wrong, Wrong)
    assert isinstance(last, Heard)
    assert [first.turn.message_id, last.turn.message_id] == ["call_1#0", "call_1#2"]


NO_CALLS: list[object] = [
    None,
    [],
    "text",
    {"items": 5},
    {"items": [], "x": 1},
    {"items": [7] * 101},
]


@pytest.mark.parametrize("body", NO_CALLS)
def test_what_is_no_call_is_malformed(body: object) -> None:
    with pytest.raises(Malformed):
        read_call(WH, body, "call_1")
    assert MAX_ITEMS == 100


@given(JSON)
def test_any_json_is_read_or_malformed(body: object) -> None:
    try:
        call = read_call(WH, body, "call_1")
    except Malformed:
        return
    assert all(isinstance(item, Heard | MessageChange | Wrong) for item in call.items)


@given(st.text(st.characters(), max_size=30))
def test_any_text_can_be_told(said: str) -> None:
    outbound = Outbound(delivery_id=DeliveryId("s1/2"), address=Address(WH, "c", "t"), text=said)
    told = json.loads(body_of(WH, outbound))
    assert told == {
        "type": "message",
        "instance": "wh",
        "delivery_id": "s1/2",
        "conversation": "c",
        "thread": "t",
        "text": said,
        "reply_to": None,
        "part": 1,
        "parts": 1,
        "resend": False,
    }


def test_the_id_of_a_call_is_that_of_its_part_and_has_no_full_stop() -> None:
    outbound = Outbound(
        delivery_id=DeliveryId("a.b/2"), address=Address(WH, "c"), text="", part=2, parts=3
    )
    assert message_id_of(outbound) == "a:b/2:2"
