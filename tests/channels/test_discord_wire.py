"""Discord's messages, read: no network, no clock."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.actors.messages import Address, Instance, MessageChange
from turnkeeper.channels.base import LostAnswer, Rejected, Unreachable
from turnkeeper.channels.discord_errors import is_global, result_of
from turnkeeper.channels.discord_wire import (
    MESSAGE_EVENTS,
    Me,
    Place,
    Reader,
    channel_in,
    place_in,
)
from turnkeeper.channels.heard import Heard
from turnkeeper.channels.http_answer import HttpAnswer
from turnkeeper.channels.json_fields import Malformed

ME = Me(id="99", name="keeper")
HERE = Place(channel="10", guild="7", name="general")
THREAD = Place(channel="30", parent="10", guild="7")
DIRECT = Place(channel="20")
READER = Reader(Instance("d"), ME)


def _message(**more: Any) -> dict[str, Any]:
    return {
        "id": "500",
        "channel_id": "10",
        "type": 0,
        "content": "hello",
        "author": {"id": "1", "username": "ann", "global_name": "Ann"},
        "edited_timestamp": None,
        **more,
    }


def _heard(place: Place = HERE, roles: tuple[str, ...] = (), **more: Any) -> Heard | None:
    news = READER.read("MESSAGE_CREATE", _message(**more), place, frozenset(roles))
    if not news:
        return None
    (heard,) = news
    assert isinstance(heard, Heard)
    return heard


def _turn(place: Place = HERE, roles: tuple[str, ...] = (), **more: Any) -> Any:
    heard = _heard(place, roles, **more)
    assert heard is not None
    return heard.turn


def test_a_message_in_a_guild_is_a_turn() -> None:
    turn = _turn()
    assert turn.address == Address(Instance("d"), "10")
    assert (turn.message_id, turn.user_id, turn.text) == ("500", "1", "hello")
    assert (turn.guild, turn.direct, turn.mentioned) == ("7", False, False)
    assert (turn.user_name, turn.chat_name) == ("Ann", "general")


def test_a_direct_message_is_meant_for_the_agent() -> None:
    turn = _turn(DIRECT)
    assert (turn.guild, turn.direct, turn.mentioned) == (None, True, True)


def test_a_thread_belongs_to_its_channel() -> None:
    assert _turn(THREAD).address == Address(Instance("d"), "10", "30")


@pytest.mark.parametrize("kind", [10, 11, 12])
def test_threads_and_posts_of_forums_have_a_parent(kind: int) -> None:
    told = {"id": "30", "type": kind, "parent_id": "10", "guild_id": "7", "name": "post"}
    assert place_in(told) == Place(channel="30", parent="10", guild="7", name="post")


def test_the_category_of_a_channel_is_no_parent() -> None:
    assert place_in({"id": "10", "type": 0, "parent_id": "5"}, "7").parent is None


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("<@99> do it", "do it"),
        ("<@!99>, do it", "do it"),
        ("<@&55>: do it", "do it"),
        ("<@99> <@!99> do it", "do it"),
        ("do it <@99>", "do it <@99>"),
        ("<@99>", "<@99>"),
        ("<@1> do it", "<@1> do it"),
    ],
)
def test_the_agents_name_is_cut_from_the_beginning(content: str, text: str) -> None:
    assert _turn(content=content, roles=("55",)).text == text


@pytest.mark.parametrize(
    "more",
    [
        {"mentions": [{"id": "99"}]},
        {"mention_roles": ["55"]},
        {"content": "<@99> hello"},
        {
            "type": 19,
            "message_reference": {"message_id": "400", "channel_id": "10"},
            "referenced_message": {"author": {"id": "99"}},
        },
    ],
)
def test_what_names_or_answers_the_agent_is_meant_for_it(more: dict[str, Any]) -> None:
    assert _turn(roles=("55",), **more).mentioned


@pytest.mark.parametrize(
    "more",
    [
        {"mentions": [{"id": "98"}]},
        {"mention_roles": ["56"]},
        {"mention_everyone": True, "content": "@everyone hello"},
        {"message_reference": {"message_id": "400"}, "referenced_message": {"author": {"id": "1"}}},
        {"message_reference": {"message_id": "400"}, "referenced_message": None},
    ],
)
def test_what_names_others_or_everybody_is_not(more: dict[str, Any]) -> None:
    assert not _turn(roles=("55",), **more).mentioned


def test_an_answer_says_what_it_answers() -> None:
    reference = {"message_id": "400", "channel_id": "10"}
    assert _turn(type=19, message_reference=reference).reply_to == "400"


@pytest.mark.parametrize(
    "reference",
    [{"message_id": "400", "channel_id": "11"}, {"message_id": "400", "type": 1}, {"type": 0}],
)
def test_what_is_elsewhere_or_forwarded_is_not_answered(reference: dict[str, Any]) -> None:
    assert _turn(message_reference=reference).reply_to is None


@pytest.mark.parametrize(
    "more",
    [
        {"author": {"id": "99"}},
        {"author": {"id": "5", "bot": True}},
        {"author": {"id": "5", "system": True}},
        {"webhook_id": "5"},
        {"content": ""},
        {"content": "", "embeds": [{"title": "a preview"}]},
        *({"type": kind} for kind in (1, 6, 7, 8, 18, 20, 21, 23, 24, 46, 1000)),
    ],
)
def test_nobody_is_heard_who_is_no_human(more: dict[str, Any]) -> None:
    assert _heard(**more) is None


def test_other_bots_are_heard_if_that_is_wanted_and_the_agent_itself_never() -> None:
    reader = Reader(Instance("d"), ME, allow_bots=True)
    bot, me = _message(author={"id": "5", "bot": True}), _message(author={"id": "99", "bot": True})
    assert reader.read("MESSAGE_CREATE", bot, HERE)
    assert not reader.read("MESSAGE_CREATE", me, HERE)


def test_a_name_in_the_guild_comes_first() -> None:
    assert _turn(member={"nick": "Annie"}).user_name == "Annie"
    assert _turn(author={"id": "1", "username": "ann"}).user_name == "ann"


def test_files_come_with_what_is_known_of_them() -> None:
    heard = _heard(
        content="",
        attachments=[
            {
                "id": "8",
                "filename": "a.png",
                "size": 12,
                "url": "https://cdn.discordapp.com/attachments/1/2/a.png",
                "content_type": "image/png; x=1",
            },
            {"id": "9", "filename": "b", "url": "https://cdn.discordapp.com/b"},
        ],
    )
    assert heard is not None
    image, other = heard.files
    assert (image.kind, image.mime, image.size_bytes) == ("image", "image/png", 12)
    assert (image.name, image.reference) == ("a.png", "10/500/8")
    assert (other.kind, other.mime, other.size_bytes) == ("file", None, None)


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"sticker_items": [{"id": "1", "name": "Wave"}]}, "[sticker: Wave]"),
        (
            {
                "poll": {
                    "question": {"text": "Tea?"},
                    "answers": [{"poll_media": {"text": "yes"}}, {"poll_media": {"text": "no"}}],
                }
            },
            "[poll: Tea?]\n- yes\n- no",
        ),
        (
            {
                "message_reference": {"type": 1, "message_id": "3", "channel_id": "11"},
                "message_snapshots": [{"message": {"content": "news"}}],
            },
            "[forwarded]\nnews",
        ),
    ],
)
def test_what_has_no_text_is_told_in_words(more: dict[str, Any], text: str) -> None:
    assert _turn(content="", **more).text == text


def test_an_edit_is_a_change_that_is_known_by_its_time() -> None:
    told = _message(content="<@99> better", edited_timestamp="2026-01-01T00:00:00.000000+00:00")
    (change,) = READER.read("MESSAGE_UPDATE", told, THREAD)
    assert change == MessageChange(
        address=Address(Instance("d"), "10", "30"),
        platform="discord",
        message_id="500",
        change_id="2026-01-01T00:00:00.000000+00:00",
        user_id="1",
        text="better",
    )
    assert READER.read("MESSAGE_UPDATE", {**told, "pinned": True}, THREAD) == (change,)


_no_edits: list[dict[str, Any]] = [
    _message(embeds=[{}]),
    {"id": "500", "channel_id": "10", "embeds": [{}]},
    {"id": "500", "channel_id": "10", "edited_timestamp": "2026"},
    _message(edited_timestamp="2026", author={"id": "99"}),
    _message(edited_timestamp="2026", webhook_id="4"),
]


@pytest.mark.parametrize("told", _no_edits)
def test_a_preview_or_somebody_elses_edit_is_no_change(told: dict[str, Any]) -> None:
    assert READER.read("MESSAGE_UPDATE", told, HERE) == ()


def test_deletions_are_changes_alone_and_in_bulk() -> None:
    one = READER.read("MESSAGE_DELETE", {"id": "500", "channel_id": "10"}, HERE)
    many = READER.read("MESSAGE_DELETE_BULK", {"ids": ["500", "501"], "channel_id": "10"}, HERE)
    ids = [(one.message_id, one.text) for one in many if isinstance(one, MessageChange)]
    assert ids == [("500", None), ("501", None)]
    assert one == many[:1]


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["99", "500", "<@99>"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
_others = (
    "mentions mention_roles member attachments message_reference referenced_message "
    "message_snapshots sticker_items poll webhook_id ids"
)
_fields = st.sampled_from([*_message(), *_others.split()])


@given(st.sampled_from(sorted(MESSAGE_EVENTS)), st.dictionaries(_fields, _values))
def test_whatever_comes_is_read_or_malformed(name: str, wrong: dict[str, Any]) -> None:
    told = {**_message(), **wrong}
    with suppress(Malformed):
        channel_in(told)
    with suppress(Malformed):
        READER.read(name, told, HERE, frozenset({"55"}))
    with suppress(Malformed):
        place_in(told)


def _answer(status: int, body: bytes, **headers: str) -> HttpAnswer:
    return HttpAnswer(asked="POST /x", status=status, headers=headers, body=body)


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (404, 10003, "not_found"),
        (404, 10008, "message_gone"),
        (403, 50001, "no_access"),
        (403, 50013, "forbidden"),
        (403, 50007, "blocked"),
        (400, 50083, "archived"),
        (403, 160005, "locked"),
        (413, 40005, "too_large"),
        (400, 200000, "blocked_by_rules"),
        (400, 50006, "empty"),
        (401, 0, "unauthorized"),
        (403, 999_999, "forbidden"),
        (400, 999_999, "bad_request"),
    ],
)
def test_refusals_have_a_word(status: int, code: int, reason: str) -> None:
    body = b'{"message": "No \\u001b[31m way", "code": %d}' % code
    with pytest.raises(Rejected) as refused:
        result_of(_answer(status, body), sends=True)
    assert refused.value.reason == reason
    assert "\x1b" not in str(refused.value)


def test_a_text_that_is_too_long_is_told_apart_from_other_wrong_fields() -> None:
    body = (
        b'{"message": "Invalid Form Body", "code": 50035, "errors": {"content": {"_errors": %s}}}'
    )
    long = body % b'[{"code": "BASE_TYPE_MAX_LENGTH"}]'
    for raw, reason in ((long, "too_long"), (body % b"[]", "bad_request")):
        with pytest.raises(Rejected) as refused:
            result_of(_answer(400, raw), sends=True)
        assert refused.value.reason == reason


def test_a_limit_says_for_how_long_and_for_whom() -> None:
    own = _answer(429, b'{"retry_after": 1.5, "global": false}', **{"retry-after": "2"})
    everywhere = _answer(429, b'{"retry_after": 9, "global": true}')
    banned = _answer(429, b"error code: 1015", **{"retry-after": "60"})
    for answer, pause_s, of_all in ((own, 1.5, False), (everywhere, 9, True), (banned, 60, True)):
        with pytest.raises(Unreachable) as limited:
            result_of(answer, sends=True)
        assert (limited.value.reason, limited.value.retry_after_s) == ("rate_limited", pause_s)
        assert is_global(answer) is of_all


def test_an_answer_that_broke_is_lost_where_something_was_sent() -> None:
    for answer in (_answer(502, b"<html>"), _answer(200, b"<html>")):
        with pytest.raises(LostAnswer):
            result_of(answer, sends=True)
        with pytest.raises(Unreachable):
            result_of(answer, sends=False)
    assert result_of(_answer(204, b""), sends=True) is None


@given(st.integers(400, 599), st.binary(max_size=60) | st.sampled_from([b"[]", b"5", b"null"]))
def test_whatever_is_answered_is_one_of_three_failures(status: int, body: bytes) -> None:
    with pytest.raises((Unreachable, Rejected, LostAnswer)):
        result_of(_answer(status, body), sends=True)
