"""What Telegram's refusals mean, and how files are sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from turnkeeper.channels.base import LostAnswer, OutboundFile, Rejected, Unreachable
from turnkeeper.channels.http_answer import HttpAnswer
from turnkeeper.channels.secret import Secret
from turnkeeper.channels.telegram_errors import result_of
from turnkeeper.channels.telegram_files import uploads_for

TOKEN = Secret("123456:AAH-a_token_that_opens_nothing")


def answer(status: int, body: Any) -> HttpAnswer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpAnswer(asked="POST /bot{token}/sendMessage", status=status, headers={}, body=raw)


def refused(status: int, description: str, **parameters: Any) -> HttpAnswer:
    body: dict[str, Any] = {"ok": False, "error_code": status, "description": description}
    if parameters:
        body["parameters"] = parameters
    return answer(status, body)


def test_a_result_is_handed_out() -> None:
    assert result_of(answer(200, {"ok": True, "result": [1]}), sends=True) == [1]
    assert result_of(answer(200, {"ok": True, "result": None}), sends=True) is None


@pytest.mark.parametrize(
    ("status", "description", "reason"),
    [
        (401, "Unauthorized", "unauthorized"),
        (404, "Not Found", "unauthorized"),
        (403, "Forbidden: bot was blocked by the user", "blocked"),
        (403, "Forbidden: user is deactivated", "deactivated"),
        (403, "Forbidden: bot was kicked from the supergroup chat", "kicked"),
        (403, "Forbidden: bot is not a member of the channel chat", "not_member"),
        (403, "Forbidden: bot can't initiate conversation with a user", "not_started"),
        (403, "Forbidden: something new", "forbidden"),
        (400, "Bad Request: chat not found", "not_found"),
        (400, "Bad Request: PEER_ID_INVALID", "not_found"),
        (403, "Forbidden: the group chat was deleted", "not_found"),
        (400, "Bad Request: group chat was deactivated", "not_found"),
        (400, "Bad Request: message thread not found", "thread_not_found"),
        (400, "Bad Request: TOPIC_CLOSED", "topic_closed"),
        (400, "Bad Request: message is too long", "too_long"),
        (400, "Bad Request: message text is empty", "empty"),
        (400, "Bad Request: have no rights to send a message", "forbidden"),
        (400, "Bad Request: not enough rights to send text messages to the chat", "forbidden"),
        (400, "Bad Request: CHAT_WRITE_FORBIDDEN", "forbidden"),
        (400, "Bad Request: CHAT_SEND_PLAIN_FORBIDDEN", "forbidden"),
        (400, "Bad Request: can't parse entities: Unsupported start tag", "bad_markup"),
        (400, "Bad Request: message is not modified: specified new message", "not_modified"),
        (400, "Bad Request: message to edit not found", "message_gone"),
        (400, "Bad Request: message can't be edited", "message_gone"),
        (400, "Bad Request: IMAGE_PROCESS_FAILED", "bad_file"),
        (400, "Bad Request: PHOTO_INVALID_DIMENSIONS", "bad_file"),
        (400, "Bad Request: file of size 1 bytes is too big for a photo; the maximum", "bad_file"),
        (400, "Bad Request: file is too big", "too_large"),
        (413, "Request Entity Too Large", "too_large"),
        (400, "Bad Request: something new", "rejected"),
    ],
)
def test_each_refusal_has_a_word(status: int, description: str, reason: str) -> None:
    with pytest.raises(Rejected) as caught:
        result_of(refused(status, description), sends=True)
    assert caught.value.reason == reason
    assert description in str(caught.value)


def test_a_chat_that_has_moved_is_told_with_its_new_id() -> None:
    moved = refused(
        400, "Bad Request: group chat was upgraded to a supergroup chat", migrate_to_chat_id=-100300
    )
    with pytest.raises(Rejected, match="its id is -100300 now") as caught:
        result_of(moved, sends=True)
    assert caught.value.reason == "moved"


@pytest.mark.parametrize(
    ("told", "wait_s"), [(7, 7.0), (0.5, 0.5), (None, 1.0), ("7", 1.0), (-1, 1.0), (True, 1.0)]
)
def test_a_pause_that_telegram_asks_for_is_told(told: object, wait_s: float) -> None:
    with pytest.raises(Unreachable) as caught:
        result_of(refused(429, "Too Many Requests: retry after 7", retry_after=told), sends=True)
    assert (caught.value.reason, caught.value.retry_after_s) == ("rate_limited", wait_s)


def test_an_absurd_pause_is_a_week() -> None:
    with pytest.raises(Unreachable) as caught:
        result_of(refused(429, "Too Many Requests", retry_after=10**12), sends=True)
    assert caught.value.retry_after_s == 7 * 24 * 3600


def test_a_second_poller_is_a_conflict() -> None:
    with pytest.raises(Unreachable) as caught:
        result_of(refused(409, "Conflict: terminated by other getUpdates request"), sends=False)
    assert caught.value.reason == "conflict"


@pytest.mark.parametrize("body", [b"<html>Bad Gateway</html>", b"", b"[]", b'{"ok": false}'])
@pytest.mark.parametrize("status", [500, 502, 504])
def test_nobody_knows_what_a_broken_telegram_has_done(status: int, body: bytes) -> None:
    with pytest.raises(LostAnswer):
        result_of(answer(status, body), sends=True)
    with pytest.raises(Unreachable):
        result_of(answer(status, body), sends=False)


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"ok": true}', b"<html>", b"7"])
def test_a_success_without_a_result_is_a_lost_answer(body: bytes) -> None:
    with pytest.raises(LostAnswer):
        result_of(answer(200, body), sends=True)
    with pytest.raises(Unreachable):
        result_of(answer(200, body), sends=False)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"7", b'{"description": 7}'])
def test_a_refusal_of_something_in_front_of_telegram_is_one_too(body: bytes) -> None:
    with pytest.raises(Rejected):
        result_of(answer(400, body), sends=True)
    with pytest.raises(Unreachable):
        result_of(answer(429, body), sends=True)


def test_no_refusal_shows_the_token() -> None:
    said = f"Bad Request: {TOKEN.reveal()}\x1b[31m"
    with pytest.raises(Rejected) as caught:
        result_of(refused(400, said), sends=True)
    assert TOKEN.reveal() not in str(caught.value)
    assert "\x1b" not in str(caught.value)


async def read() -> bytes:
    return b""


@pytest.mark.parametrize(
    ("kind", "mime", "size", "methods"),
    [
        ("image", "image/png", 10, ["sendPhoto", "sendDocument"]),
        ("image", "image/png", 10_000_001, ["sendDocument"]),
        ("image", "image/tiff", 10, ["sendDocument"]),
        ("image", None, 10, ["sendDocument"]),
        ("file", "image/png", 10, ["sendDocument"]),
        ("audio", "audio/mpeg", 10, ["sendAudio", "sendDocument"]),
        ("audio", "audio/flac", 10, ["sendDocument"]),
        ("video", "video/mp4", 10, ["sendVideo", "sendDocument"]),
        ("video", "video/mp4; codecs=avc1", 10, ["sendVideo", "sendDocument"]),
        ("video", "video/webm", 10, ["sendDocument"]),
    ],
)
def test_a_file_is_sent_as_what_it_is_if_telegram_takes_that(
    kind: str, mime: str | None, size: int, methods: list[str]
) -> None:
    file = OutboundFile(kind=kind, size_bytes=size, read=read, mime=mime, name="a name")
    uploads = uploads_for(file)
    assert [upload.method for upload in uploads] == methods
    assert {upload.name for upload in uploads} == {"a name"}


def test_a_file_without_a_name_gets_one() -> None:
    file = OutboundFile(kind="file", size_bytes=1, read=read, mime="application/pdf")
    (upload,) = uploads_for(file)
    assert (upload.name, upload.mime) == ("file.pdf", "application/pdf")
