"""What Telegram's updates are read as."""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.actors.messages import Address, InboundTurn, Instance, MessageChange
from turnkeeper.channels.heard import Heard
from turnkeeper.channels.incoming_files import IncomingFile
from turnkeeper.channels.json_fields import Malformed
from turnkeeper.channels.telegram_wire import (
    Me,
    Moved,
    Reader,
    conversation_of,
    me_in,
    units,
    update_id,
)

TG: Final = Instance("tg")
ME: Final = Me(id=9, username="Keeper_Bot")
ANN: Final = {"id": 1001, "is_bot": False, "first_name": "Ann", "last_name": "Lee"}
PRIVATE: Final = {"id": 1001, "type": "private", "first_name": "Ann"}
GROUP: Final = {"id": -300, "type": "group", "title": "A group"}
FORUM: Final = {"id": -100400, "type": "supergroup", "title": "A forum", "is_forum": True}
CHANNEL: Final = {"id": -100500, "type": "channel", "title": "News"}
BOT: Final = {"id": 77, "is_bot": True, "first_name": "Other"}


def message(**more: Any) -> dict[str, Any]:
    return {"message_id": 5, "date": 1, "chat": PRIVATE, "from": ANN, **more}


def read(content: Any, kind: str = "message", **options: Any) -> Any:
    return Reader(TG, ME, **options).read({"update_id": 1, kind: content})


def turn(**more: Any) -> InboundTurn:
    news = read(message(**more))
    assert isinstance(news, Heard)
    return news.turn


def in_group(text: str, *entities: dict[str, Any], **more: Any) -> InboundTurn:
    return turn(chat=GROUP, text=text, entities=list(entities), **more)


def mark(kind: str, offset: int, length: int, **more: Any) -> dict[str, Any]:
    return {"type": kind, "offset": offset, "length": length, **more}


def test_a_private_message_is_a_turn_with_stable_ids() -> None:
    assert read(message(text="hello")) == Heard(
        turn=InboundTurn(
            address=Address(TG, "1001"),
            platform="telegram",
            message_id="5",
            user_id="1001",
            text="hello",
            user_name="Ann Lee",
        )
    )


def test_a_group_is_no_direct_conversation() -> None:
    heard = in_group("hello")
    assert (heard.direct, heard.mentioned, heard.chat_name) == (False, False, "A group")
    assert heard.address.conversation == "-300"


@pytest.mark.parametrize(
    ("text", "entity", "said"),
    [
        ("@keeper_bot hello", mark("mention", 0, 11), "hello"),
        ("@KEEPER_BOT, hello", mark("mention", 0, 11), "hello"),
        ("hello @keeper_bot", mark("mention", 6, 11), "hello @keeper_bot"),
        ("🙂 @keeper_bot", mark("mention", 3, 11), "🙂 @keeper_bot"),
        ("@keeper_bot", mark("mention", 0, 11), "@keeper_bot"),
        ("Keeper: hello", mark("text_mention", 0, 6, user={"id": 9}), "hello"),
        ("/new@keeper_bot now", mark("bot_command", 0, 15), "/new now"),
        ("/new@Keeper_Bot", mark("bot_command", 0, 15), "/new"),
    ],
)
def test_who_names_the_bot_means_it_and_the_name_before_the_text_is_cut(
    text: str, entity: dict[str, Any], said: str
) -> None:
    heard = in_group(text, entity)
    assert (heard.mentioned, heard.text) == (True, said)


@pytest.mark.parametrize(
    ("text", "entity"),
    [
        ("@keeper_bot hello", mark("bold", 0, 11)),
        ("@keeper_bot2 hello", mark("mention", 0, 12)),
        ("@other_bot hello", mark("mention", 0, 10)),
        ("Ann, hello", mark("text_mention", 0, 3, user={"id": 1001})),
        ("/new", mark("bot_command", 0, 4)),
        ("/new@other_bot", mark("bot_command", 0, 14)),
        ("hello", mark("mention", 10_000, 11)),
    ],
)
def test_who_names_somebody_else_does_not_mean_the_bot(text: str, entity: dict[str, Any]) -> None:
    heard = in_group(text, entity)
    assert (heard.mentioned, heard.text) == (False, text)


def test_who_answers_the_bot_means_it() -> None:
    answered = {"message_id": 4, "from": {"id": 9, "is_bot": True}}
    heard = in_group("yes", reply_to_message=answered)
    assert (heard.mentioned, heard.reply_to) == (True, "4")
    answered = {"message_id": 4, "from": ANN}
    heard = in_group("yes", reply_to_message=answered)
    assert (heard.mentioned, heard.reply_to) == (False, "4")


def test_a_topic_is_a_thread_and_its_first_message_is_no_quotation() -> None:
    topic = {"is_topic_message": True, "message_thread_id": 12, "chat": FORUM}
    first = {"message_id": 12, "from": {"id": 9}, "forum_topic_created": {"name": "one"}}
    heard = turn(text="hello", reply_to_message=first, **topic)
    assert heard.address == Address(TG, "-100400", "12")
    assert (heard.reply_to, heard.mentioned) == (None, False)
    bare = turn(text="hello", reply_to_message={"message_id": 12}, **topic)
    assert bare.reply_to is None
    assert turn(text="hello", reply_to_message={"message_id": 13}, **topic).reply_to == "13"


def test_comments_below_a_post_are_no_topic() -> None:
    heard = turn(text="hello", chat=FORUM, message_thread_id=12)
    assert heard.address.thread is None


def test_bots_are_not_heard_unless_they_may_and_its_own_words_never() -> None:
    assert read(message(text="hello", **{"from": BOT})) is None
    news = read(message(text="hello", **{"from": BOT}), allow_bots=True)
    assert isinstance(news, Heard)
    assert news.turn.user_id == "77"
    own = {"id": 9, "is_bot": True}
    assert read(message(text="hello", **{"from": own}), allow_bots=True) is None


def test_who_writes_in_the_name_of_a_chat_is_that_chat() -> None:
    anonymous = {"id": 1087968824, "is_bot": True, "first_name": "Group"}
    heard = turn(text="hello", chat=FORUM, sender_chat=FORUM, **{"from": anonymous})
    assert (heard.user_id, heard.user_name) == ("-100400", "A forum")


def test_a_post_of_a_channel_is_a_turn_once_where_it_was_posted() -> None:
    post = {"message_id": 5, "chat": CHANNEL, "sender_chat": CHANNEL, "text": "news"}
    news = read(post, "channel_post")
    assert isinstance(news, Heard)
    assert (news.turn.user_id, news.turn.direct) == ("-100500", False)
    shown = message(text="news", chat=FORUM, sender_chat=CHANNEL, is_automatic_forward=True)
    assert read(shown) is None


@pytest.mark.parametrize(
    "content",
    [
        {"new_chat_members": [ANN]},
        {"pinned_message": {"message_id": 3}},
        {"forum_topic_created": {"name": "one"}},
        {"video_chat_started": {}},
        {"text": "to a channel", "direct_messages_topic": {"topic_id": 1}},
        {},
    ],
)
def test_service_messages_are_nothing_to_us(content: dict[str, Any]) -> None:
    assert read(message(**content)) is None


@pytest.mark.parametrize("kind", ["poll", "callback_query", "my_chat_member", "phase_of_the_moon"])
def test_updates_of_other_kinds_are_nothing_to_us(kind: str) -> None:
    assert read({"id": 1}, kind) is None


@pytest.mark.parametrize(
    ("media", "file"),
    [
        (
            {"photo": [{"file_id": "s"}, {"file_id": "l", "file_size": 7}]},
            IncomingFile(kind="image", reference="l", mime="image/jpeg", size_bytes=7),
        ),
        (
            {"document": {"file_id": "d", "mime_type": "text/plain", "file_name": "a.txt"}},
            IncomingFile(kind="file", reference="d", mime="text/plain", name="a.txt"),
        ),
        (
            {"document": {"file_id": "d", "mime_type": "image/tiff"}},
            IncomingFile(kind="image", reference="d", mime="image/tiff"),
        ),
        (
            {"animation": {"file_id": "a"}, "document": {"file_id": "a"}},
            IncomingFile(kind="video", reference="a", mime="video/mp4"),
        ),
        (
            {"voice": {"file_id": "v", "mime_type": "audio/ogg"}},
            IncomingFile(kind="audio", reference="v", mime="audio/ogg"),
        ),
        (
            {"audio": {"file_id": "a", "mime_type": "audio/mpeg"}},
            IncomingFile(kind="audio", reference="a", mime="audio/mpeg"),
        ),
        (
            {"video_note": {"file_id": "v"}},
            IncomingFile(kind="video", reference="v", mime="video/mp4"),
        ),
        (
            {"sticker": {"file_id": "s", "is_animated": True}},
            IncomingFile(kind="file", reference="s", mime="application/x-tgsticker"),
        ),
        (
            {"sticker": {"file_id": "s", "is_video": True}},
            IncomingFile(kind="video", reference="s", mime="video/webm"),
        ),
        (
            {"sticker": {"file_id": "s"}},
            IncomingFile(kind="image", reference="s", mime="image/webp"),
        ),
    ],
)
def test_a_file_comes_with_its_caption_as_text(media: Any, file: IncomingFile) -> None:
    marks = [mark("mention", 0, 11)]
    news = read(message(caption="@keeper_bot look", caption_entities=marks, **media))
    assert isinstance(news, Heard)
    assert (news.files, news.turn.text) == ((file,), "look")
    bare = read(message(**media))
    assert isinstance(bare, Heard)
    assert (bare.files, bare.turn.text) == ((file,), "")


def test_a_name_before_nothing_but_a_file_is_cut() -> None:
    marks = [mark("mention", 0, 11)]
    photo = [{"file_id": "l"}]
    assert turn(caption="@keeper_bot", caption_entities=marks, photo=photo).text == ""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"location": {"latitude": 52.5, "longitude": 13}}, "[location: 52.5, 13]"),
        (
            {
                "location": {"latitude": 1, "longitude": 2},
                "venue": {"title": "Here", "address": "Road 1"},
            },
            "[location: Here, Road 1, 1, 2]",
        ),
        (
            {"contact": {"first_name": "Ben", "phone_number": "+49123"}},
            "[contact: Ben +49123]",
        ),
        (
            {"poll": {"question": "Which?", "options": [{"text": "a"}, {"text": "b"}]}},
            "[poll: Which?]\n- a\n- b",
        ),
        ({"dice": {"emoji": "🎲", "value": 4}}, "[🎲: 4]"),
    ],
)
def test_places_contacts_polls_and_dice_come_in_words(content: Any, words: str) -> None:
    assert turn(**content).text == words


def test_an_edit_is_a_change() -> None:
    content = message(text="@keeper_bot before", entities=[mark("mention", 0, 11)], edit_date=60)
    change = read(content, "edited_message")
    assert isinstance(change, MessageChange)
    assert (change.message_id, change.text, change.user_id) == ("5", "before", "1001")
    assert change.address == Address(TG, "1001")
    assert read(content, "edited_message") == change


def test_edits_in_one_second_are_different_changes() -> None:
    one = read(message(text="one", edit_date=60), "edited_message")
    two = read(message(text="two", edit_date=60), "edited_message")
    later = read(message(text="one", edit_date=61), "edited_message")
    assert len({one.change_id, two.change_id, later.change_id}) == 3


@pytest.mark.parametrize(
    "content",
    [
        {"text": "a reaction was added"},
        {"location": {"latitude": 1, "longitude": 2}, "edit_date": 60},
        {"text": "a bot's", "edit_date": 60, "from": BOT},
    ],
)
def test_edits_that_no_human_made_are_no_changes(content: dict[str, Any]) -> None:
    assert read(message(**content), "edited_message") is None


def test_an_edited_caption_is_a_change_and_a_removed_one_is_empty() -> None:
    photo = [{"file_id": "l"}]
    change = read(message(photo=photo, caption="new", edit_date=60), "edited_message")
    assert change.text == "new"
    assert read(message(photo=photo, edit_date=60), "edited_message").text == ""


def test_a_group_that_became_a_supergroup_has_moved() -> None:
    news = read(message(chat=GROUP, migrate_to_chat_id=-100300))
    assert news == Moved(conversation="-300", to="-100300")
    assert read(message(chat=FORUM, migrate_from_chat_id=-300)) is None


@pytest.mark.parametrize(
    "content",
    [
        7,
        [],
        {},
        message(text=5),
        message(text="hi", chat=None),
        message(text="hi", chat={"id": "1001"}),
        message(text="hi", chat={"id": True}),
        message(text="hi", chat={"id": 2**63}),
        message(text="hi", message_id=1.5),
        {"message_id": 5, "chat": GROUP, "text": "from nobody"},
        message(text="hi", entities={}),
        message(text="hi", entities=[3]),
        message(text="hi", entities=[mark("mention", -1, 2)]),
        message(text="hi", entities=[mark("mention", 0, 0)]),
        message(text="hi", entities=[{"type": "mention"}]),
        message(text="hi", is_topic_message=True),
        message(text="hi", reply_to_message=3),
        message(text="hi", reply_to_message={}),
        message(photo=[7]),
        message(photo=[{}]),
        message(document={"file_id": "d", "file_size": -1}),
        message(document={"file_id": "d", "mime_type": 3}),
        message(location={"latitude": "north", "longitude": 1}),
        message(migrate_to_chat_id="-1"),
    ],
)
def test_what_is_not_as_documented_is_malformed(content: Any) -> None:
    with pytest.raises(Malformed):
        read(content)


def test_the_error_of_a_malformed_update_quotes_nothing() -> None:
    with pytest.raises(Malformed) as caught:
        read(message(text={"secret": "words"}))
    assert "words" not in str(caught.value)


def test_who_the_bot_is_is_read() -> None:
    assert me_in({"id": 9, "is_bot": True, "username": "Keeper_Bot"}) == ME
    for told in ({}, {"id": 9}, {"id": "9", "username": "x"}, None):
        with pytest.raises(Malformed):
            me_in(told)


def test_an_update_has_an_id_and_a_conversation() -> None:
    update = {"update_id": 7, "edited_message": message(text="hi")}
    assert (update_id(update), conversation_of(update)) == (7, "1001")
    without: list[Any] = [{"update_id": 7}, {"message": []}, {"message": {"chat": 3}}, None, "x"]
    assert {conversation_of(other) for other in without} == {""}
    # A negative offset would let Telegram forget whatever waits before it.
    nameless: list[Any] = [{}, {"update_id": "7"}, {"update_id": -7}, None, []]
    for other in nameless:
        with pytest.raises(Malformed):
            update_id(other)


def test_entities_are_counted_in_utf16_code_units() -> None:
    assert units("👩‍👧 @bot!", 6, 4) == ("@bot", "!")
    assert units("🙂x", 1, 2) == ("x", "")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(["\ud800", "\x00", "@keeper_bot"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    [
        *("message_id", "chat", "from", "text", "entities", "caption", "photo", "document"),
        *("edit_date", "reply_to_message", "sender_chat", "is_topic_message", "poll", "dice"),
        *("message_thread_id", "sticker", "migrate_to_chat_id", "contact", "location", "venue"),
    ]
)


@given(
    st.dictionaries(FIELDS, JSON, max_size=5),
    st.sampled_from(["message", "edited_message", "channel_post", "edited_channel_post"]),
)
def test_whatever_comes_is_read_or_malformed(replaced: dict[str, Any], kind: str) -> None:
    update = {"update_id": 1, kind: {**message(text="@keeper_bot hi"), **replaced}}
    conversation_of(update)
    try:
        news = Reader(TG, ME).read(update)
    except Malformed:
        return
    assert news is None or isinstance(news, Heard | MessageChange | Moved)


@given(st.text(), st.integers(0, 60), st.integers(1, 60))
def test_a_piece_and_what_follows_are_parts_of_the_text(
    text: str, offset: int, length: int
) -> None:
    piece, rest = units(text, offset, length)
    assert piece in text
    assert text.endswith(rest)
