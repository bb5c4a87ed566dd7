"""Which session a turn belongs to."""

from __future__ import annotations

from typing import Any

import pytest

from turnkeeper.actors.core.records import BoundRecord, MalformedRecord, OpenedRecord
from turnkeeper.actors.core.routing import Bound, NewSession, bind, read_binding, route
from turnkeeper.actors.messages import Address, InboundTurn, Instance, SessionId


def turn(**changes: Any) -> InboundTurn:
    values: dict[str, Any] = {
        "address": Address(instance=Instance("tg"), conversation="c1", thread="t1"),
        "platform": "telegram",
        "message_id": "m1",
        "user_id": "u1",
        "text": "hi",
        "guild": "g1",
        "direct": False,
    }
    return InboundTurn(**(values | changes))


def test_a_conversation_without_an_owner_gets_a_session_of_its_own_and_says_why() -> None:
    assert route(turn(), None) == NewSession(by="first message")


def test_a_bound_conversation_goes_to_its_owner_whoever_writes() -> None:
    row, _ = bind(turn(), SessionId("s7"), 7, "main", "first message", 1)
    assert route(turn(user_id="somebody else"), row) == Bound(SessionId("s7"), 7)


def test_a_first_binding_is_logged_with_the_session_that_it_opens() -> None:
    row, (opened, bound) = bind(turn(), SessionId("s7"), 7, "ops", "first message", 5)
    assert opened == OpenedRecord(at_us=5, session_id="s7", agent="ops", by="first message")
    assert bound == BoundRecord(
        at_us=5,
        instance="tg",
        conversation="c1",
        thread="t1",
        version=1,
        by="first message",
        platform="telegram",
        guild="g1",
        direct=False,
    )
    assert row.version == 1
    assert row.address == turn().address


def test_a_binding_survives_being_stored() -> None:
    row, _ = bind(turn(), SessionId("s7"), 7, "main", "first message", 1)
    assert read_binding(list(row)) == row


@pytest.mark.parametrize("payload", [None, "s1", 3, {}, [], ["s1", 1], [None] * 12])
def test_what_is_no_binding_is_refused(payload: object) -> None:
    with pytest.raises(MalformedRecord):
        read_binding(payload)
