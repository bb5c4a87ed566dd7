"""What events of Matrix mean, and that none of them, however odd, breaks the reader."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.actors.messages import Address, Instance, MessageChange
from turnkeeper.channels.heard import Heard
from turnkeeper.channels.incoming_files import IncomingFile
from turnkeeper.channels.json_fields import Malformed
from turnkeeper.channels.matrix_batches import (
    Backlog,
    arrival_in,
    batch_in,
    invitation_in,
)
from turnkeeper.channels.matrix_content import edit, related, text_message
from turnkeeper.channels.matrix_json import MAX_DEPTH, read_answer
from turnkeeper.channels.matrix_rooms import JoinPolicy
from turnkeeper.channels.matrix_wire import Encrypted, Me, Moved, Reader, RoomChanged

ME: Final = "@keeper:harbour.test"
ANN: Final = "@ann:harbour.test"
ROOM: Final = "!room:harbour.test"
READER: Final = Reader(Instance("mx"), Me(user_id=ME, display_name="The Keeper"))

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(
    [
        *("type", "content", "sender", "event_id", "state_key", "redacts", "msgtype", "body"),
        *("url", "info", "filename", "m.mentions", "m.relates_to", "m.new_content"),
        *("m.in_reply_to", "rel_type", "formatted_body", "user_ids", "replacement_room"),
        *("geo_uri", "is_falling_back", "unsigned", "prev_content", "membership"),
    ]
)
VALUES = st.sampled_from(
    [
        "m.room.message",
        "m.text",
        "m.image",
        "m.replace",
        "m.thread",
        "$e",
        ANN,
        ME,
        ROOM,
        "",
        "join",
    ]
)
EVENTS: st.SearchStrategy[Any] = st.recursive(
    VALUES | JSON,
    lambda inner: st.dictionaries(KEYS, inner, max_size=8) | st.lists(inner, max_size=3),
    max_leaves=30,
)


def said(body: Any = "hello", **content: Any) -> dict[str, Any]:
    """A message of Ann's."""
    return {
        "type": "m.room.message",
        "event_id": "$event",
        "sender": ANN,
        "content": {"msgtype": "m.text", "body": body, **content},
    }


def heard(event: object) -> Heard:
    found = READER.read(ROOM, event, {ANN: "Ann"})
    assert isinstance(found, Heard)
    return found


def test_a_message_is_a_turn_with_stable_ids_and_names_for_display() -> None:
    turn = heard(said()).turn
    assert turn.address == Address(Instance("mx"), ROOM, None)
    assert (turn.message_id, turn.user_id, turn.user_name) == ("$event", ANN, "Ann")
    assert (turn.text, turn.guild, turn.mentioned, turn.direct) == ("hello", None, False, False)


def test_a_thread_is_part_of_the_address_and_its_fallback_quotes_nothing() -> None:
    relation = {"rel_type": "m.thread", "event_id": "$root", "m.in_reply_to": {"event_id": "$q"}}
    turn = heard(said(**{"m.relates_to": relation})).turn
    assert (turn.address.thread, turn.reply_to) == ("$root", "$q")
    turn = heard(said(**{"m.relates_to": {**relation, "is_falling_back": True}})).turn
    assert (turn.address.thread, turn.reply_to) == ("$root", None)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("> <@ben:x> before\n> more\n\nafter", "after"),
        ("> <@ben:x> before\n\nafter\n\nmore", "after\n\nmore"),
        ("> * <@ben:x> waves\n\nhello", "hello"),
        ("> a quote of mine\n\nafter", "> a quote of mine\n\nafter"),
        ("no quote", "no quote"),
    ],
)
def test_the_quote_that_old_clients_put_before_an_answer_is_left_out(body: str, text: str) -> None:
    turn = heard(said(body, **{"m.relates_to": {"m.in_reply_to": {"event_id": "$q"}}})).turn
    assert (turn.text, turn.reply_to) == (text, "$q")


@pytest.mark.parametrize(
    ("body", "mentions", "mentioned", "text"),
    [
        ("hello", {"user_ids": [ME]}, True, "hello"),
        ("The Keeper: hello", {"user_ids": [ME]}, True, "hello"),
        ("the keeper, hello", {"user_ids": [ME]}, True, "hello"),
        (f"{ME}: hello", {"user_ids": [ME]}, True, "hello"),
        ("@keeper hello", {"user_ids": [ME]}, True, "hello"),
        ("keepers hello", {"user_ids": [ME]}, True, "keepers hello"),
        ("The Keeper", {"user_ids": [ME]}, True, "The Keeper"),
        ("The Keeper: hello", {"user_ids": [ANN]}, False, "The Keeper: hello"),
        ("The Keeper: hello", {}, False, "The Keeper: hello"),
        ("@room hello", {"room": True}, False, "@room hello"),
        ("The Keeper: hello", None, True, "hello"),
        ("I ask the keeper.", None, True, "I ask the keeper."),
        ("bookkeeper", None, False, "bookkeeper"),
    ],
)
def test_who_is_meant_is_told_by_mentions_or_else_by_the_text(
    body: str, mentions: dict[str, Any] | None, mentioned: bool, text: str
) -> None:
    content = {} if mentions is None else {"m.mentions": mentions}
    turn = heard(said(body, **content)).turn
    assert turn.mentioned is mentioned
    assert turn.text == (text if text != "The Keeper" else "The Keeper")


def test_a_link_to_the_account_is_a_mention() -> None:
    html = f'<a href="https://matrix.to/#/{ME}">K</a>: hello'
    assert heard(said("K: hello", formatted_body=html)).turn.mentioned


NOTHING: Final[list[Any]] = [
    said() | {"sender": ME},
    said(msgtype="m.notice"),
    said(msgtype="m.key.verification.request"),
    said(body=""),
    said() | {"content": {}},
    said() | {"type": "m.reaction"},
    said(**{"m.relates_to": {"rel_type": "m.replace", "event_id": "$first"}}),
]


@pytest.mark.parametrize("event", NOTHING)
def test_own_messages_notices_and_what_says_nothing_are_nothing(event: object) -> None:
    assert READER.read(ROOM, event, {}) is None


def test_notices_are_heard_where_bots_are_allowed() -> None:
    reader = Reader(Instance("mx"), Me(user_id=ME), allow_bots=True)
    assert isinstance(reader.read(ROOM, said(msgtype="m.notice"), {}), Heard)


def test_a_file_comes_with_its_name_and_only_a_caption_is_a_text() -> None:
    media = {
        "msgtype": "m.image",
        "url": "mxc://harbour.test/Abc_-1",
        "info": {"mimetype": "image/png", "size": 12},
    }
    file = IncomingFile(
        kind="image",
        reference="mxc://harbour.test/Abc_-1",
        mime="image/png",
        name="a.png",
        size_bytes=12,
    )
    found = heard(said("a.png", **media))
    assert (found.turn.text, found.files) == ("", (file,))
    found = heard(said("look", filename="a.png", **media))
    assert (found.turn.text, found.files) == ("look", (file,))


@pytest.mark.parametrize(
    "url", [7, None, "https://evil.test/x", "mxc://a/../b", "mxc://a/b/c", "mxc://a/", "mxc://a/b?"]
)
def test_a_file_from_anywhere_else_is_malformed(url: object) -> None:
    with pytest.raises(Malformed):
        READER.read(ROOM, said(msgtype="m.file", url=url), {})


def test_an_edit_is_a_change_of_the_first_message_by_the_id_of_the_edit() -> None:
    event = said(
        "* new",
        **{
            "m.new_content": {"msgtype": "m.text", "body": "new"},
            "m.relates_to": {"rel_type": "m.replace", "event_id": "$first"},
        },
    )
    change = READER.read(ROOM, event, {})
    assert isinstance(change, MessageChange)
    assert (change.message_id, change.change_id, change.text, change.user_id) == (
        "$first",
        "$event",
        "new",
        ANN,
    )


@pytest.mark.parametrize("new", [True, False])
def test_a_redaction_is_a_deletion_in_every_version_of_rooms(new: bool) -> None:
    told = {"redacts": "$first"}
    event: dict[str, Any] = {"type": "m.room.redaction", "event_id": "$gone", "sender": ANN}
    event |= {"content": told} if new else {"content": {}, **told}
    change = READER.read(ROOM, event, {})
    assert isinstance(change, MessageChange)
    assert (change.message_id, change.change_id, change.text, change.user_id) == (
        "$first",
        "$gone",
        None,
        None,
    )


def test_encrypted_rooms_upgrades_and_changes_of_rooms_are_told() -> None:
    assert READER.read(ROOM, said() | {"type": "m.room.encrypted"}, {}) == Encrypted(room=ROOM)
    state = {"sender": ANN, "state_key": "", "event_id": "$s"}
    upgrade = {**state, "type": "m.room.tombstone", "content": {"replacement_room": "!new:x"}}
    assert READER.read(ROOM, upgrade, {}) == Moved(room=ROOM, to="!new:x", by=ANN)
    renamed = {**state, "type": "m.room.name", "content": {"name": "x"}}
    assert READER.read(ROOM, renamed, {}) == RoomChanged(room=ROOM)


@given(EVENTS)
def test_whatever_is_sent_is_news_nothing_or_malformed(event: Any) -> None:
    shapes: list[Any] = [event, said() | {"content": event}]
    if isinstance(event, dict):
        shapes.append(said() | event)
    for one in shapes:
        with suppress(Malformed):
            READER.read(ROOM, one, {})
        arrival_in([one], ME)
        invitation_in([one], ME)


@given(JSON | EVENTS)
def test_whatever_a_sync_answers_is_read_or_malformed(told: Any) -> None:
    for answer in (
        {"next_batch": "s1", "rooms": told},
        {"next_batch": "s1", "rooms": {"join": {ROOM: told}, "invite": {ROOM: told}}},
        {"next_batch": "s1", "rooms": {"join": {ROOM: {"timeline": told, "state": told}}}},
        {"next_batch": told},
    ):
        with suppress(Malformed):
            batch_in(answer, ME)


# -- answers ---------------------------------------------------------------------------------------


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text('ab[]{}\\"é👩'),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_ordinary_answers_are_read_as_they_are(value: Any) -> None:
    assert read_answer(json.dumps(value).encode()) == value


def test_what_lies_too_deep_is_left_out_and_the_rest_is_read() -> None:
    for opened, closed in (('{"in":', "}"), ("[", "]")):
        raw = f'{{"a": {opened * 50_000}1{closed * 50_000}, "b": "]]}}[", "c": [[1]]}}'
        found = read_answer(raw.encode())
        assert (found["b"], found["c"]) == ("]]}[", [[1]])
    shallow = f"{'[' * MAX_DEPTH}{']' * MAX_DEPTH}"
    assert json.dumps(read_answer(shallow.encode())) == shallow


def test_a_number_that_is_too_long_is_nothing() -> None:
    assert read_answer(b"[1, %s, -9223372036854775808]" % (b"9" * 100_000)) == [1, None, -(2**63)]
    assert read_answer(b"[NaN, Infinity]") == [None, None]


@pytest.mark.parametrize("raw", [b"", b"{", b"[" * 100, b'{"a": ' * 100, b"<html>", b"[]]"])
def test_what_is_no_json_is_said_to_be_none(raw: bytes) -> None:
    with pytest.raises(ValueError, match="no JSON"):
        read_answer(raw)


# -- rooms, batches, contents ----------------------------------------------------------------------


def member(user: str, membership: str, before: str | None = None) -> dict[str, Any]:
    event = {
        "type": "m.room.member",
        "state_key": user,
        "sender": ANN,
        "content": {"membership": membership, "is_direct": True},
    }
    return (
        event if before is None else {**event, "unsigned": {"prev_content": {"membership": before}}}
    )


def test_the_account_comes_into_a_room_by_a_join_and_not_by_a_new_name() -> None:
    assert arrival_in([said(), member(ME, "join", "invite")], ME) == (1, True)
    assert arrival_in([member(ME, "join")], ME) == (0, False)
    assert arrival_in([member(ME, "join", "join"), member(ANN, "join", "invite")], ME) is None


def test_an_answer_is_read_by_rooms_and_one_bad_room_hides_no_other() -> None:
    timeline = {"events": [said()], "limited": True, "prev_batch": "p"}
    names = {"events": [member(ANN, "join") | {"content": {"displayname": "Ann"}}]}
    invite = {"invite_state": {"events": [member(ME, "invite")]}}
    batch = batch_in(
        {
            "next_batch": "s2",
            "rooms": {
                "join": {ROOM: {"timeline": timeline, "state": names}, "bad": {}, "!worse": 7},
                "invite": {"!i:x": invite, "!j:x": {}},
            },
        },
        ME,
    )
    assert (batch.next, batch.malformed) == ("s2", 3)
    (news,) = batch.rooms
    assert (news.room, news.gap, dict(news.names)) == (ROOM, "p", {ANN: "Ann"})
    (asked,) = batch.invites
    assert (asked.room, asked.by, asked.direct) == ("!i:x", ANN, True)


@given(st.permutations(range(6)))
def test_the_mark_stands_behind_what_is_settled_in_whatever_order(order: list[int]) -> None:
    backlog = Backlog()
    numbers = [backlog.add(f"s{batch}", 2) for batch in range(3)]
    done = [0, 0, 0]
    reached = 0
    for item in order:
        backlog.settle(numbers[item // 2])
        done[item // 2] += 1
        token = backlog.settled()
        expected = next((n for n, count in enumerate(done) if count < 2), 3)
        assert token == (f"s{expected - 1}" if expected > reached else None)
        reached = max(reached, expected)
    assert len(backlog) == 0


def test_an_answer_without_news_moves_the_mark_at_once() -> None:
    backlog = Backlog()
    backlog.add("s1", 0)
    assert backlog.settled() == "s1"
    assert backlog.settled() is None


@pytest.mark.parametrize(
    ("policy", "admitted"),
    [
        ("server", [ANN]),
        ("all", [ANN, "@eve:evil.test"]),
        ("none", []),
        (["@eve:evil.test"], ["@eve:evil.test"]),
    ],
)
def test_invitations_are_accepted_from_those_that_are_named(
    policy: Any, admitted: list[str]
) -> None:
    found = [user for user in (ANN, "@eve:evil.test") if JoinPolicy(policy).admits(user, ME)]
    assert found == admitted


@pytest.mark.parametrize("policy", ["", "sever", ["ann"], ["@ann"]])
def test_a_policy_that_means_nothing_is_refused(policy: Any) -> None:
    with pytest.raises(ValueError, match="join_invites"):
        JoinPolicy(policy)


@given(st.text(max_size=4_000))
def test_every_message_and_edit_fits_into_an_event_and_notifies_nobody(text: str) -> None:
    for content in (
        related(text_message(text, "m.text"), thread="$t", reply_to="$r"),
        edit(text, "m.text", "$e"),
    ):
        assert content["m.mentions"] == {}
        assert len(json.dumps(content, ensure_ascii=False).encode()) < 62_000


def test_the_longest_part_fits_with_its_edit() -> None:
    for text in ("**a** " * 2666, "é" * 8_000, '"' * 16_000, "👩‍👩‍👧‍👦" * 640):
        raw = json.dumps(edit(text, "m.text", "$e"), ensure_ascii=False).encode()
        assert len(raw) < 62_000


def test_an_edit_shows_little_to_clients_that_know_none() -> None:
    content = edit("x" * 5_000, "m.text", "$e")
    assert len(content["body"]) < 600
    assert content["m.new_content"]["body"] == "x" * 5_000
