"""What an inbound turn must look like, and how its like is recognised."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.actors.core.intake import (
    MAX_ATTACHMENTS,
    MAX_ID_CHARS,
    MAX_REFERENCE_CHARS,
    MAX_TEXT_CHARS,
    SEEN_WINDOW_S,
    body_digest,
    check,
    seen_window,
)
from turnkeeper.actors.errors import InvalidTurn
from turnkeeper.actors.messages import Address, Attachment, InboundTurn, Instance

ATTACHMENT = Attachment(kind="image", reference="file-1", mime="image/png", size_bytes=3, name="x")
TURN = InboundTurn(
    address=Address(instance=Instance("tg"), conversation="c1"),
    platform="telegram",
    message_id="m1",
    user_id="u1",
    text="hi",
    attachments=(ATTACHMENT,),
)


def turn(**changes: Any) -> InboundTurn:
    return replace(TURN, **changes)


def attachment(**changes: Any) -> Attachment:
    return replace(ATTACHMENT, **changes)


class Text(str):
    """A str of somebody else's making."""

    __slots__ = ()


@pytest.mark.parametrize(
    "text",
    ["", "hi", "\x00", "\ud800", "\u202egnp.exe", "\x1b[2J", "x" * 1_000_000, "x" * MAX_TEXT_CHARS],
    ids=["empty", "plain", "NUL", "surrogate", "right-to-left", "ANSI", "1 MB", "longest"],
)
def test_any_text_up_to_the_bound_is_taken(text: str) -> None:
    check(turn(text=text))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"text": "x" * (MAX_TEXT_CHARS + 1)}, "text has 4194305 characters"),
        ({"text": None}, "text must be a str, not NoneType"),
        ({"text": b"hi"}, "text must be a str, not bytes"),
        ({"text": Text("hi")}, "text must be a str, not Text"),
        ({"message_id": ""}, "message_id must be a str of 1 to"),
        ({"message_id": 7}, "message_id must be a str of .*, not a int"),
        ({"message_id": "x" * (MAX_ID_CHARS + 1)}, "message_id must be a str of 1 to"),
        ({"user_id": ""}, "user_id must be a str of 1 to"),
        ({"platform": None}, "platform must be a str"),
        ({"user_name": "x" * (MAX_ID_CHARS + 1)}, "user_name must be None or a str of at most"),
        ({"chat_name": 3}, "chat_name must be None or a str"),
        ({"guild": []}, "guild must be None or a str"),
        ({"reply_to": 3}, "reply_to must be None or a str"),
        ({"direct": "yes"}, "direct must be a bool, not str"),
        ({"mentioned": 1}, "mentioned must be a bool, not int"),
        ({"platform": "a:b"}, "platform 'a:b' has a ':'"),
        (
            {"address": Address(instance=Instance("tg"), conversation="")},
            "conversation must be a str of 1 to",
        ),
        ({"address": Address(instance=Instance("tg"), conversation="c", thread="")}, "thread must"),
        ({"attachments": (ATTACHMENT,) * (MAX_ATTACHMENTS + 1)}, "65 attachments"),
        ({"attachments": ("file-1",)}, "attachment 1 must be an Attachment, not str"),
        ({"attachments": None}, "attachments must be a tuple"),
        ({"attachments": (attachment(kind=3),)}, "attachment 1: kind"),
        ({"attachments": (ATTACHMENT, attachment(reference=None))}, "attachment 2: ref"),
        (
            {"attachments": (attachment(reference="x" * (MAX_REFERENCE_CHARS + 1)),)},
            "attachment 1: reference",
        ),
        ({"attachments": (attachment(mime=object()),)}, "attachment 1: mime"),
        ({"attachments": (attachment(name=["x"]),)}, "attachment 1: name"),
        ({"attachments": (attachment(size_bytes="3"),)}, "attachment 1: size_bytes"),
        ({"attachments": (attachment(size_bytes=2**70),)}, "attachment 1: size_bytes"),
    ],
)
def test_a_malformed_turn_is_refused_and_the_error_names_the_field(
    changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidTurn, match=said):
        check(turn(**changes))


def test_an_attachment_may_leave_out_what_its_platform_does_not_say() -> None:
    check(turn(attachments=(Attachment(kind="file", reference="f"),)))


def test_a_message_is_recognised_by_its_body() -> None:
    assert body_digest(turn()) == body_digest(turn(user_name="renamed", chat_name="renamed"))
    assert body_digest(turn()) != body_digest(turn(text="ho"))
    assert body_digest(turn()) != body_digest(turn(attachments=()))
    assert body_digest(turn()) != body_digest(turn(attachments=(attachment(reference="file-2"),)))


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_every_text_has_a_digest_of_eight_bytes(text: str) -> None:
    assert len(body_digest(turn(text=text, attachments=()))) == 8


@given(st.integers(0, 2**50), st.integers(0, SEEN_WINDOW_S * 1_000_000))
def test_within_a_week_a_message_is_in_the_same_window_or_the_one_before(
    at_us: int, later_us: int
) -> None:
    assert seen_window(at_us + later_us) - seen_window(at_us) in (0, 1)


def test_a_window_ends_at_the_edge_of_its_week() -> None:
    week_us = SEEN_WINDOW_S * 1_000_000
    assert seen_window(week_us - 1) == 0
    assert seen_window(week_us) == 1
