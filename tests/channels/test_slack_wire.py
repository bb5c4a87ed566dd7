"""What Slack's events, texts and refusals are read as."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper import Address
from turnkeeper.actors.messages import InboundTurn, Instance, MessageChange
from turnkeeper.channels.base import ChannelError, LostAnswer, Rejected, Unreachable
from turnkeeper.channels.heard import Heard
from turnkeeper.channels.http_answer import HttpAnswer
from turnkeeper.channels.json_fields import Malformed
from turnkeeper.channels.secret import Secret
from turnkeeper.channels.slack_api import SlackPlace
from turnkeeper.channels.slack_errors import result_of
from turnkeeper.channels.slack_probe import checks_of_scopes
from turnkeeper.channels.slack_text import plain_text
from turnkeeper.channels.slack_wire import (
    Me,
    Reader,
    Said,
    Throttled,
    event_in_history,
    event_of,
    said_in,
)

ME: Final = "U0BOT"
TS: Final = "1355517523.000005"
ROOT: Final = "1355517500.000001"
NAME: Final = Instance("slack")


def reader(**options: Any) -> Reader:
    return Reader(NAME, Me(user_id=ME, bot_id="B0BOT", team_id="T0"), **options)


def wrapped(event: object) -> dict[str, Any]:
    return {"type": "event_callback", "event_id": "Ev1", "team_id": "T1", "event": event}


def said(**more: Any) -> dict[str, Any]:
    """A message of Ada's in a channel."""
    event = {
        "type": "message",
        "channel": "C1",
        "channel_type": "channel",
        "user": "U1",
        "text": "hello",
        "ts": TS,
    }
    return wrapped({**event, **more})


def turn_of(payload: object, **options: Any) -> InboundTurn:
    heard = reader(**options).read(payload)
    assert isinstance(heard, Heard)
    return heard.turn


# -- turns ---------------------------------------------------------------------------------------


def test_a_direct_message_is_for_the_agent_and_belongs_to_no_workspace() -> None:
    turn = turn_of(said(channel="D1", channel_type="im"))
    assert turn.address == Address(NAME, "D1", None)
    assert (turn.message_id, turn.user_id, turn.text) == (TS, "U1", "hello")
    assert (turn.direct, turn.mentioned, turn.guild) == (True, True, None)


@pytest.mark.parametrize("kind", ["channel", "group", "mpim"])
def test_what_is_said_to_several_belongs_to_their_workspace(kind: str) -> None:
    turn = turn_of(said(channel_type=kind))
    assert (turn.direct, turn.mentioned, turn.guild) == (False, False, "T0")


@pytest.mark.parametrize(("ours", "guild"), [("T0", "T0"), ("E0", "T1"), (None, "T1")])
def test_a_channel_that_is_shared_belongs_to_our_workspace_if_we_have_one(
    ours: str | None, guild: str
) -> None:
    of_another_workspace = said()  # whose `team_id` is that of whoever has written
    heard = Reader(NAME, Me(user_id=ME, team_id=ours)).read(of_another_workspace)
    assert isinstance(heard, Heard)
    assert heard.turn.guild == guild


def test_what_begins_in_a_channel_belongs_to_the_thread_below_it() -> None:
    assert turn_of(said()).address.thread == TS
    assert turn_of(said(thread_ts=TS)).address.thread == TS
    assert turn_of(said(thread_ts=ROOT)).address.thread == ROOT


def test_a_channel_that_is_answered_itself_has_threads_only_where_humans_began_them() -> None:
    assert turn_of(said(), reply_in_thread=False).address.thread is None
    assert turn_of(said(thread_ts=TS), reply_in_thread=False).address.thread is None
    assert turn_of(said(thread_ts=ROOT), reply_in_thread=False).address.thread == ROOT


def test_a_mention_is_cut_from_the_beginning_and_both_of_its_events_are_one_turn() -> None:
    text = f"<@{ME}>: what about <@U2|ben>?"
    event = said(text=text)
    mention = {k: v for k, v in event["event"].items() if k != "channel_type"}
    turn = turn_of(event)
    assert (turn.text, turn.mentioned) == ("what about @ben?", True)
    assert turn_of(wrapped({**mention, "type": "app_mention"})) == turn


def test_a_message_that_is_read_later_is_the_same_turn() -> None:
    event = said(thread_ts=ROOT, parent_user_id=ME, text=f"<@{ME}> hello")["event"]
    content = {k: v for k, v in event.items() if k not in ("channel", "channel_type")}
    read_later = event_in_history({**content, "team": "T1"}, "C1")
    assert turn_of(read_later) == turn_of(wrapped(event))


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"type": "message"}, Said(channel="C1", message_id=TS)),
        ({"type": "message", "subtype": "file_share"}, Said(channel="C1", message_id=TS)),
        ({"type": "message", "subtype": "message_changed"}, None),
        ({"type": "message", "subtype": "channel_join"}, None),
        ({"type": "message", "ts": "soon"}, None),
        ({"type": "message", "channel": 5}, None),
        ({"type": "app_mention"}, Said(channel="C1", message_id=TS, partial=True)),
        ({"type": "app_mention", "files": [{"id": "F1"}]}, Said(channel="C1", message_id=TS)),
        ({"type": "reaction_added"}, None),
    ],
)
def test_an_event_tells_of_a_new_message_or_of_none(
    event: dict[str, Any], expected: Said | None
) -> None:
    assert said_in(wrapped({"channel": "C1", "ts": TS, **event})) == expected
    assert said_in(event) is None


def test_who_answers_below_a_message_of_the_agent_means_it() -> None:
    turn = turn_of(said(thread_ts=ROOT, parent_user_id=ME))
    assert (turn.mentioned, turn.reply_to) == (True, ROOT)
    other = turn_of(said(thread_ts=ROOT, parent_user_id="U2"))
    assert (other.mentioned, other.reply_to) == (False, None)


@pytest.mark.parametrize("subtype", ["file_share", "thread_broadcast", "me_message"])
def test_these_subtypes_are_things_that_humans_say(subtype: str) -> None:
    assert turn_of(said(subtype=subtype)).text == "hello"


@pytest.mark.parametrize(
    "event",
    [
        {"subtype": "channel_join"},
        {"subtype": "bot_message", "bot_id": "B1"},
        {"subtype": "never_heard_of"},
        {"user": ME},
        {"user": "U9", "bot_id": "B0BOT"},
        {"user": "U9", "bot_id": "B9"},
        {"user": "USLACKBOT"},
        {"type": "reaction_added"},
        {"text": ""},
        {"text": "", "files": [{"id": "F1", "mode": "tombstone"}]},
    ],
)
def test_these_are_nothing_to_us(event: dict[str, Any]) -> None:
    assert reader().read(said(**event)) is None


def test_other_bots_are_heard_if_they_may_be_but_never_the_agent_itself() -> None:
    assert turn_of(said(user="U9", bot_id="B9"), allow_bots=True).user_id == "U9"
    nameless = said(subtype="bot_message", bot_id="B9")
    del nameless["event"]["user"]
    assert turn_of(nameless, allow_bots=True).user_id == "B9"
    assert reader(allow_bots=True).read(said(user=ME, bot_id="B0BOT")) is None


def test_a_message_that_is_passed_on_is_quoted() -> None:
    shared = {"is_share": True, "text": "one &amp; two\nthree"}
    unfurled = {"title": "a page", "text": "that nobody has said"}
    assert turn_of(said(attachments=[unfurled, shared])).text == "hello\n> one & two\n> three"


def test_files_are_described_and_those_of_other_hosts_have_no_url() -> None:
    files = [
        {
            "id": "F1",
            "name": "a.png",
            "mimetype": "image/png",
            "size": 5,
            "url_private": "https://x",
        },
        {"id": "F2", "title": "sheet", "is_external": True, "url_private": "https://drive"},
        {"id": "F3", "file_access": "check_file_info"},
    ]
    heard = reader().read(said(text="", files=files))
    assert isinstance(heard, Heard)
    assert [(one.kind, one.reference, one.url, one.name) for one in heard.files] == [
        ("image", "F1", "https://x", "a.png"),
        ("file", "F2", None, "sheet"),
        ("file", "F3", None, None),
    ]


def test_slack_tells_when_it_leaves_events_out() -> None:
    assert reader().read({"type": "app_rate_limited", "team_id": "T1"}) == Throttled()


# -- changes -------------------------------------------------------------------------------------


def changed(message: dict[str, Any], before: dict[str, Any] | None = None) -> dict[str, Any]:
    return wrapped(
        {
            "type": "message",
            "subtype": "message_changed",
            "channel": "C1",
            "channel_type": "channel",
            "ts": "1355517600.000001",
            "message": {"type": "message", "user": "U1", "ts": TS, **message},
            "previous_message": {"user": "U1", "ts": TS, "text": "hello", **(before or {})},
        }
    )


EDITED: Final = {"user": "U1", "ts": "1355517599.000001"}


def test_an_edit_is_a_change_by_its_author() -> None:
    change = reader().read(changed({"text": f"<@{ME}> good bye", "edited": EDITED}))
    assert change == MessageChange(
        address=Address(NAME, "C1", TS),
        platform="slack",
        message_id=TS,
        change_id="1355517599.000001",
        user_id="U1",
        text="good bye",
    )


NO_CHANGES: Final[list[tuple[dict[str, Any], dict[str, Any]]]] = [
    ({"text": "hello", "attachments": [{"title": "a preview"}]}, {}),
    ({"text": "hello", "edited": EDITED, "attachments": [{}]}, {"edited": EDITED}),
    ({"text": "hello", "reply_count": 1, "thread_ts": TS}, {}),
    ({"text": "hi", "edited": {**EDITED, "user": "U2"}}, {}),
    ({"text": "hi", "user": ME, "edited": {**EDITED, "user": ME}}, {}),
    ({"text": "hi", "bot_id": "B9", "edited": EDITED}, {}),
]


@pytest.mark.parametrize(("message", "before"), NO_CHANGES)
def test_previews_first_answers_and_edits_of_bots_are_no_changes(
    message: dict[str, Any], before: dict[str, Any]
) -> None:
    assert reader().read(changed(message, before)) is None


def test_a_deletion_is_a_change_by_nobody_in_the_place_of_its_message() -> None:
    event = {"type": "message", "subtype": "message_deleted", "channel": "C1", "deleted_ts": TS}
    before = {"user": "U1", "ts": TS, "thread_ts": ROOT, "text": "hello"}
    change = reader().read(wrapped({**event, "previous_message": before}))
    assert isinstance(change, MessageChange)
    assert (change.address.thread, change.message_id) == (ROOT, TS)
    assert (change.user_id, change.text, change.change_id) == (None, None, "deleted")
    assert isinstance(reader().read(wrapped(event)), MessageChange)
    assert reader().read(wrapped({**event, "previous_message": {**before, "user": ME}})) is None


def test_a_message_that_is_gone_while_answers_remain_is_deleted() -> None:
    change = reader().read(changed({"subtype": "tombstone", "user": "USLACKBOT", "text": "gone"}))
    assert isinstance(change, MessageChange)
    assert (change.message_id, change.text) == (TS, None)


# -- whatever comes ------------------------------------------------------------------------------

_NAMES = st.sampled_from(
    ["type", "event", "subtype", "channel", "channel_type", "user", "text", "ts", "thread_ts",
     "files", "attachments", "message", "previous_message", "edited", "bot_id", "deleted_ts", "id",
     "mode", "size", "name", "is_share", "parent_user_id", "team_id", "event_id"]
)  # fmt: skip
_WORDS = st.sampled_from(
    ["event_callback", "message", "app_mention", "message_changed", "message_deleted", "tombstone",
     "im", "C1", "D1", "U1", ME, TS, ROOT, "", "\ud800", "\x00", "<@", "<!here>", "9" * 400]
)  # fmt: skip
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _WORDS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=8),
    max_leaves=24,
)


@given(_VALUES, st.dictionaries(_NAMES, _VALUES, max_size=8))
def test_nothing_that_comes_is_a_surprise(whole: object, event: dict[str, Any]) -> None:
    base = said()["event"]
    for payload in (whole, wrapped(whole), wrapped(event), wrapped({**base, **event})):
        event_of(payload)
        with suppress(Malformed):
            reader(allow_bots=True).read(payload)


# -- texts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("a &lt; b &amp;&amp; c &gt; d", "a < b && c > d"),
        ("&amp;lt;", "&lt;"),
        ("<@U2> and <@U3|cleo>", "@U2 and @cleo"),
        ("in <#C1|general> or <#C2>", "in #general or #C2"),
        ("<!here> <!subteam^S1|@team> <!subteam^S2>", "@here @team @subteam"),
        ("<!date^1392734382^{date}|18 February>", "18 February"),
        ("<https://a.example/?x=1&amp;y=2>", "https://a.example/?x=1&y=2"),
        ("<https://a.example|here>", "here (https://a.example)"),
        ("<http://a.example|a.example>", "http://a.example"),
        ("<mailto:a@b.example|a@b.example>", "a@b.example"),
        ("a <b", "a <b"),
        ("<>", "<>"),
    ],
)
def test_a_text_is_read_as_a_human_reads_it(written: str, read: str) -> None:
    assert plain_text(written, ME) == (read, False)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (f"<@{ME}> hello", "hello"),
        (f"  <@{ME}|keeper>, hello", "hello"),
        (f"hello <@{ME}>", f"hello @{ME}"),
        (f"<@{ME}>", f"@{ME}"),
    ],
)
def test_the_agents_name_is_cut_from_the_beginning_only(written: str, read: str) -> None:
    assert plain_text(written, ME) == (read, True)


@given(st.text(alphabet=st.sampled_from("<>&|@#!^ a\n;lt")))
def test_any_text_can_be_read(written: str) -> None:
    plain_text(written, ME)


def test_a_long_text_of_brackets_takes_no_time() -> None:
    for piece in ("<", "<@", f"<@{ME}", "<a|", "&lt;<"):
        plain_text(piece * 100_000, ME)


# -- refusals ------------------------------------------------------------------------------------


def answer(body: object, status: int = 200, headers: dict[str, str] | None = None) -> HttpAnswer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpAnswer(
        asked="POST /chat.postMessage", status=status, headers=headers or {}, body=raw
    )


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        ("invalid_auth", Rejected, "unauthorized"),
        ("token_revoked", Rejected, "unauthorized"),
        ("account_inactive", Rejected, "unauthorized"),
        ("missing_scope", Rejected, "missing_scope"),
        ("not_in_channel", Rejected, "not_member"),
        ("channel_not_found", Rejected, "not_found"),
        ("is_archived", Rejected, "archived"),
        ("msg_too_long", Rejected, "too_long"),
        ("restricted_action", Rejected, "forbidden"),
        ("message_not_found", Rejected, "message_gone"),
        ("some_new_word", Rejected, "rejected"),
        ("ratelimited", Unreachable, "rate_limited"),
        ("service_unavailable", Unreachable, "channel_down"),
        ("internal_error", LostAnswer, None),
        ("fatal_error", LostAnswer, None),
    ],
)
def test_an_error_means_this_for_what_is_sent(
    error: str, kind: type[ChannelError], reason: str | None
) -> None:
    with pytest.raises(kind) as caught:
        result_of(answer({"ok": False, "error": error}), sends=True)
    assert getattr(caught.value, "reason", None) == reason


def test_what_may_have_been_done_is_asked_again_where_nothing_is_sent() -> None:
    with pytest.raises(Unreachable):
        result_of(answer({"ok": False, "error": "internal_error"}), sends=False)


def test_the_scope_that_is_missing_is_named() -> None:
    told = {
        "ok": False,
        "error": "missing_scope",
        "needed": "files:write",
        "provided": "chat:write",
    }
    with pytest.raises(Rejected, match="files:write"):
        result_of(answer(told), sends=True)


def test_too_many_calls_say_when_to_come_again() -> None:
    with pytest.raises(Unreachable) as caught:
        result_of(
            answer({"ok": False, "error": "ratelimited"}, 429, {"retry-after": "30"}), sends=True
        )
    assert (caught.value.reason, caught.value.retry_after_s) == ("rate_limited", 30.0)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"ok": 1}', b'{"ok": false}', b"null"])
def test_an_answer_that_cannot_be_read_is_lost(body: bytes) -> None:
    with pytest.raises(LostAnswer):
        result_of(answer(body), sends=True)
    with pytest.raises(Unreachable):
        result_of(answer(body), sends=False)


def test_a_secret_in_slacks_own_words_is_hidden() -> None:
    token = Secret("xoxb-very-secret")
    with pytest.raises(Rejected) as caught:
        result_of(answer({"ok": False, "error": f"bad {token.reveal()}\n\x1b[31m"}), sends=True)
    assert token.reveal() not in str(caught.value)
    assert "\x1b" not in str(caught.value)


# -- the rest ------------------------------------------------------------------------------------


def test_a_token_is_only_shown_to_slacks_own_hosts() -> None:
    slack = SlackPlace("https://slack.com/api/")
    assert slack.has_files_at("https://files.slack.com/files-pri/T1-F1/a.png")
    assert slack.has_files_at("https://slack.com/files-pri/T1-F1/a.png")
    for url in (
        "http://files.slack.com/a",
        "https://files.slack.com:8443/a",
        "https://files.slack.com@evil.example/a",
        "https://me:you@files.slack.com/a",
        "https://files.slack.com.evil.example/a",
        "https://evil.example/files.slack.com",
        "https://[::1/a",
        "files.slack.com/a",
        "",
    ):
        assert not slack.has_files_at(url), url


@pytest.mark.parametrize(
    "url",
    ["http://slack.com/api", "ftp://slack.com", "https://a:b@slack.com", "https://x:y/", "https://?",
     "https://slack.com/api?a=b", "slack.com"],
)  # fmt: skip
def test_an_address_that_is_not_plain_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="api_url"):
        SlackPlace(url)


def test_a_local_slack_may_be_without_encryption() -> None:
    assert SlackPlace("http://127.0.0.1:8080/api/").api_url == "http://127.0.0.1:8080/api"


def test_scopes_say_what_the_bot_may_do_and_what_is_missing() -> None:
    checks = {
        check.what: check
        for check in checks_of_scopes({"x-oauth-scopes": "im:history, files:read"})
    }
    assert [what for what, check in checks.items() if check.ok] == ["may hear", "may read files"]
    assert "chat:write" in checks["may write"].detail
    assert "channels:history" in checks["may hear"].detail
    assert checks_of_scopes({}) == ()
