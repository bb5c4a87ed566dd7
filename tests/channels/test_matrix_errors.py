"""What a homeserver's refusals mean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from turnkeeper.channels.base import LostAnswer, Rejected, Unreachable
from turnkeeper.channels.http_answer import HttpAnswer
from turnkeeper.channels.matrix_errors import result_of


def answer(status: int, body: Any, **headers: str) -> HttpAnswer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpAnswer(asked="PUT /x", status=status, headers=headers, body=raw)


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (401, "M_UNKNOWN_TOKEN", "unauthorized"),
        (401, "M_MISSING_TOKEN", "unauthorized"),
        (401, "M_USER_LOCKED", "locked"),
        (403, "M_FORBIDDEN", "forbidden"),
        (403, "M_USER_DEACTIVATED", "deactivated"),
        (404, "M_NOT_FOUND", "not_found"),
        (404, "M_UNRECOGNIZED", "unsupported"),
        (413, "M_TOO_LARGE", "too_large"),
        (413, "M_UNKNOWN", "too_large"),
        (400, "M_UNKNOWN", "rejected"),
        (400, "ORG.EXAMPLE.NEW", "rejected"),
    ],
)
def test_every_refusal_has_one_word(status: int, code: str, reason: str) -> None:
    with pytest.raises(Rejected, match=code) as refused:
        result_of(answer(status, {"errcode": code, "error": "no"}), sends=True)
    assert refused.value.reason == reason


def test_a_session_that_has_expired_is_said_to_be_so() -> None:
    told = {"errcode": "M_UNKNOWN_TOKEN", "error": "x", "soft_logout": True}
    with pytest.raises(Rejected, match="log in again"):
        result_of(answer(401, told), sends=False)


@pytest.mark.parametrize(
    ("told_ms", "headers", "pause_s"),
    [
        (1_500, {}, 1.5),
        (1_500, {"retry-after": "2"}, 2.0),
        (None, {"retry-after": "7"}, 7.0),
        (None, {}, 1.0),
        ("soon", {}, 1.0),
        (-5, {}, 1.0),
        (10**15, {}, 7 * 24 * 3600.0),
    ],
)
def test_the_pause_that_is_asked_for_is_kept(
    told_ms: object, headers: dict[str, str], pause_s: float
) -> None:
    told = {"errcode": "M_LIMIT_EXCEEDED", "error": "x", "retry_after_ms": told_ms}
    with pytest.raises(Unreachable) as limited:
        result_of(answer(429, told, **headers), sends=True)
    assert (limited.value.reason, limited.value.retry_after_s) == ("rate_limited", pause_s)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"5", b'{"errcode": 5}', b""])
def test_what_is_no_answer_of_matrix_counts_by_its_status(body: bytes) -> None:
    with pytest.raises(Rejected) as refused:
        result_of(answer(404, body), sends=True)
    assert refused.value.reason == "not_found"
    with pytest.raises(LostAnswer):
        result_of(answer(502, body), sends=True)
    with pytest.raises(Unreachable):
        result_of(answer(502, body), sends=False)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"5", b""])
def test_a_success_that_cannot_be_read_is_lost_where_something_was_sent(body: bytes) -> None:
    with pytest.raises(LostAnswer):
        result_of(answer(200, body), sends=True)
    with pytest.raises(Unreachable):
        result_of(answer(200, body), sends=False)
