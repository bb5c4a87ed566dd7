"""What the Graph API says is what becomes of a message."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.channels.base import ChannelError, LostAnswer, Rejected, Unreachable
from turnkeeper.channels.http_answer import HttpAnswer
from turnkeeper.channels.whatsapp_errors import RateLimited, bad_token, reason_of, result_of

from ..peers.whatsapp_fake_errors import CODES, GraphError


def answer(status: int, body: object, **headers: str) -> HttpAnswer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpAnswer(asked="POST /x", status=status, headers=headers, body=raw)


def refused(code: int, **how: Any) -> ChannelError:
    error = GraphError(code, **how)
    with pytest.raises(ChannelError) as raised:
        result_of(answer(error.status, error.body()), sends=True)
    return raised.value


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (190, "unauthorized"),
        (3, "forbidden"),
        (10, "forbidden"),
        (200, "forbidden"),
        (131005, "forbidden"),
        (368, "restricted"),
        (100, "bad_request"),
        (131008, "bad_request"),
        (131009, "bad_request"),
        (131021, "own_number"),
        (131026, "undeliverable"),
        (131045, "not_registered"),
        (131047, "window_closed"),
        (131051, "unsupported"),
        (131053, "bad_file"),
        (132001, "rejected"),
    ],
)
def test_a_code_is_one_word(code: int, reason: str) -> None:
    error = refused(code)
    assert isinstance(error, Rejected)
    assert error.reason == reason == reason_of(code)
    assert bad_token(error) == (reason in {"unauthorized", "forbidden"})


@pytest.mark.parametrize("code", [4, 80007, 130429, 131048, 131056, 131057])
def test_who_is_too_fast_waits(code: int) -> None:
    error = refused(code)
    assert isinstance(error, RateLimited)
    assert (error.reason, error.code) == ("rate_limited", code)
    assert (error.retry_after_s or 0) >= 5


def test_a_pause_that_is_told_is_kept() -> None:
    with pytest.raises(Unreachable) as raised:
        result_of(answer(400, GraphError(131056).body(), **{"retry-after": "17"}), sends=True)
    assert raised.value.retry_after_s == 17
    with pytest.raises(Unreachable) as raised:
        result_of(answer(429, b"<html>", **{"retry-after": "3"}), sends=True)
    assert (raised.value.reason, raised.value.retry_after_s) == ("rate_limited", 3)


def test_an_object_that_is_not_there_is_told_apart() -> None:
    error = refused(100, subcode=33)
    assert isinstance(error, Rejected)
    assert error.reason == "not_found"


@pytest.mark.parametrize("code", [1, 2, 131000])
def test_a_platform_that_breaks_has_lost_it(code: int) -> None:
    assert isinstance(refused(code), LostAnswer)


def test_a_platform_that_is_unavailable_has_done_nothing() -> None:
    assert isinstance(refused(131016), Unreachable)


def test_details_are_told_and_codes_that_nobody_knows_refuse() -> None:
    assert "more than 24 hours" in str(refused(131047))
    with pytest.raises(Rejected) as raised:
        result_of(answer(403, {"error": {"code": 7, "message": "no"}}), sends=True)
    assert raised.value.reason == "forbidden"
    assert reason_of("x") == "rejected"


def test_a_success_that_is_no_object_is_lost() -> None:
    for body in (b"", b"[]", b"<html>"):
        with pytest.raises(LostAnswer):
            result_of(answer(200, body), sends=True)
        with pytest.raises(Unreachable):
            result_of(answer(200, body), sends=False)
    assert result_of(answer(200, {"id": "1"}), sends=True) == {"id": "1"}


@given(
    st.sampled_from([*CODES, 0, -1, True, "190", None, 10**15]),
    st.sampled_from([301, 400, 401, 403, 404, 429, 500, 502, 503]),
    st.recursive(st.none() | st.text(), lambda inner: st.dictionaries(st.text(), inner)),
    st.booleans(),
)
def test_every_refusal_is_one_of_the_three(
    code: object, status: int, more: object, sends: bool
) -> None:
    for error in ({"code": code, "message": more}, {"code": code, "error_data": more}, more):
        with pytest.raises((Rejected, Unreachable, LostAnswer)) as raised:
            result_of(answer(status, {"error": error}), sends=sends)
        assert sends or not isinstance(raised.value, LostAnswer)
