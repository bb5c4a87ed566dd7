"""The gateway's protocol as decisions: no socket, no clock."""

from __future__ import annotations

from contextlib import suppress
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper import Rejected
from turnkeeper.channels.discord_gateway import (
    Event,
    Gateway,
    GoneOn,
    Leave,
    Say,
    Session,
    next_after_close,
)
from turnkeeper.channels.json_fields import Malformed

HELLO = {"op": 10, "d": {"heartbeat_interval": 40_000}, "s": None, "t": None}
READY = {
    "op": 0,
    "t": "READY",
    "s": 1,
    "d": {"session_id": "abc", "resume_gateway_url": "wss://gateway-1.discord.gg"},
}
SESSION = Session(session_id="abc", url="wss://gateway-1.discord.gg", seq=7)


def _gateway(session: Session | None = None, seed: int = 0) -> Gateway:
    return Gateway(session, intents=513, rng=Random(seed), now_s=100.0)


def _event(seq: int, name: str = "MESSAGE_CREATE", data: Any = None) -> dict[str, Any]:
    return {"op": 0, "t": name, "s": seq, "d": data or {}}


def test_a_new_session_is_identified_with_its_intents_and_no_token() -> None:
    (say,) = _gateway().hear(HELLO, 100.0)
    assert isinstance(say, Say)
    assert (say.op, say.data["intents"]) == (2, 513)
    assert "token" not in say.data


def test_a_session_that_is_known_is_resumed_behind_its_last_event() -> None:
    (say,) = _gateway(SESSION).hear(HELLO, 100.0)
    assert say == Say(op=6, data={"session_id": "abc", "seq": 7})


def test_ready_begins_a_session_and_events_move_it() -> None:
    gateway = _gateway()
    gateway.hear(HELLO, 100.0)
    assert gateway.hear(READY, 100.1)[-1] == GoneOn(resumed=False)
    assert gateway.session == Session(session_id="abc", url="wss://gateway-1.discord.gg", seq=1)
    (event,) = gateway.hear(_event(2), 100.2)
    assert event == Event(name="MESSAGE_CREATE", seq=2, data={})
    assert gateway.session is not None
    assert gateway.session.seq == 2
    assert gateway.stands


def test_resumed_says_that_nothing_was_lost() -> None:
    gateway = _gateway(SESSION)
    gateway.hear(HELLO, 100.0)
    gateway.hear(_event(8), 100.1)
    assert not gateway.stands
    assert gateway.hear(_event(9, "RESUMED"), 100.2)[-1] == GoneOn(resumed=True)


def test_the_number_of_a_session_never_goes_back() -> None:
    gateway = _gateway(SESSION)
    gateway.hear(_event(3), 100.0)
    assert gateway.session == SESSION


@given(st.integers(0, 2**32))
def test_the_first_heartbeat_comes_at_random_within_the_interval(seed: int) -> None:
    gateway = _gateway(seed=seed)
    gateway.hear(HELLO, 100.0)
    assert 100.0 <= gateway.due_at <= 140.0


def test_heartbeats_tell_the_last_number_and_come_in_intervals() -> None:
    gateway = _gateway(SESSION)
    gateway.hear(HELLO, 100.0)
    first = gateway.due_at
    assert gateway.tick(first - 0.001) == []
    assert gateway.tick(first) == [Say(op=1, data=7)]
    assert gateway.due_at == first + 40.0
    gateway.hear({"op": 11}, first + 0.1)
    assert gateway.tick(first + 40.0) == [Say(op=1, data=7)]


def test_before_any_event_a_heartbeat_tells_null() -> None:
    gateway = _gateway()
    gateway.hear(HELLO, 100.0)
    assert gateway.tick(gateway.due_at) == [Say(op=1, data=None)]


def test_a_heartbeat_without_an_answer_ends_the_connection_and_not_the_session() -> None:
    gateway = _gateway(SESSION)
    gateway.hear(HELLO, 100.0)
    gateway.tick(gateway.due_at)
    (leave,) = gateway.tick(gateway.due_at)
    assert isinstance(leave, Leave)
    assert gateway.session == SESSION


def test_an_answer_that_may_lie_unread_is_not_missed() -> None:
    gateway = _gateway(SESSION)
    gateway.hear(HELLO, 100.0)
    gateway.tick(gateway.due_at)
    assert gateway.tick(gateway.due_at, listens=False) == [Say(op=1, data=7)]


def test_a_heartbeat_that_is_asked_for_is_sent_at_once() -> None:
    gateway = _gateway(SESSION)
    gateway.hear(HELLO, 100.0)
    due_at = gateway.due_at
    assert gateway.hear({"op": 1, "d": None}, 100.5) == [Say(op=1, data=7)]
    assert gateway.due_at == due_at


def test_no_more_is_sent_in_a_minute_than_discord_takes() -> None:
    gateway = _gateway(SESSION)
    gateway.hear(HELLO, 100.0)
    said = sum(len(gateway.hear({"op": 1}, 101.0 + n / 100)) for n in range(500))
    assert said < 120
    assert gateway.hear({"op": 1}, 170.0) == [Say(op=1, data=7)]


def test_who_does_not_greet_is_left() -> None:
    gateway = _gateway()
    (leave,) = gateway.tick(gateway.due_at)
    assert isinstance(leave, Leave)


def test_a_wish_to_reconnect_keeps_the_session_even_before_the_greeting() -> None:
    gateway = _gateway(SESSION)
    (leave,) = gateway.hear({"op": 7, "d": None}, 100.0)
    assert isinstance(leave, Leave)
    assert (leave.pause_s, gateway.session) == (0.0, SESSION)


@given(st.integers(0, 2**32))
def test_an_invalid_session_is_left_after_one_to_five_seconds(seed: int) -> None:
    for resumable in (True, False):
        gateway = _gateway(SESSION, seed)
        (leave,) = gateway.hear({"op": 9, "d": resumable}, 100.0)
        assert isinstance(leave, Leave)
        assert 1.0 <= leave.pause_s <= 5.0
        assert gateway.session == (SESSION if resumable else None)


def test_who_was_not_let_in_waits_longer() -> None:
    gateway = _gateway()
    (leave,) = gateway.hear({"op": 9, "d": False}, 100.0)
    assert isinstance(leave, Leave)
    assert leave.pause_s >= 6.0


@pytest.mark.parametrize(
    ("code", "how"),
    [
        (None, "resume"),
        (1000, "identify"),
        (1001, "identify"),
        (1006, "resume"),
        (4000, "resume"),
        (4001, "resume"),
        (4002, "resume"),
        (4003, "identify"),
        (4005, "resume"),
        (4007, "identify"),
        (4008, "resume"),
        (4009, "identify"),
        (4999, "resume"),
    ],
)
def test_codes_say_how_to_come_back(code: int | None, how: str) -> None:
    assert next_after_close(code) == how


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (4004, "unauthorized"),
        (4010, "bad_shard"),
        (4011, "sharding_required"),
        (4012, "bad_version"),
        (4013, "bad_intents"),
        (4014, "disallowed_intents"),
    ],
)
def test_codes_say_not_to_come_back(code: int, reason: str) -> None:
    with pytest.raises(Rejected) as refused:
        next_after_close(code)
    assert refused.value.reason == reason


def test_a_disallowed_intent_is_told_with_what_to_switch_on() -> None:
    with pytest.raises(Rejected, match="Message Content Intent"):
        next_after_close(4014)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(
    st.lists(
        _json
        | st.fixed_dictionaries(
            {"op": st.integers(-1, 12)},
            optional={"d": _json, "s": _json, "t": st.sampled_from(["READY", "RESUMED", "X", ""])},
        ),
        max_size=8,
    )
)
def test_whatever_comes_the_connection_goes_on_or_is_left(payloads: list[Any]) -> None:
    gateway = _gateway(SESSION)
    for number, payload in enumerate(payloads):
        with suppress(Malformed):
            gateway.hear(payload, 100.0 + number)
        gateway.tick(100.0 + number)
        assert gateway.due_at > 100.0
