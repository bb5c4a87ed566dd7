"""WhatsApp's webhooks, read: every documented type, and whatever else may stand there."""

from __future__ import annotations

import contextlib
import copy
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper import Address
from turnkeeper.actors.deliveries import LateReceipt
from turnkeeper.actors.messages import InboundTurn, Instance, MessageChange
from turnkeeper.channels.heard import Heard
from turnkeeper.channels.incoming_files import IncomingFile
from turnkeeper.channels.json_fields import Malformed
from turnkeeper.channels.whatsapp_content import Said, said_in
from turnkeeper.channels.whatsapp_wire import Batch, Later, NumberChanged, Reader

WA: Final = Instance("wa")
NUMBER: Final = "106540352242922"
ANN: Final = "16505551234"
READER: Final = Reader(WA, NUMBER)


def change(
    messages: object = None, *, statuses: object = None, number: str = NUMBER, **more: Any
) -> dict[str, Any]:
    value: dict[str, Any] = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "+1 555-078-3881", "phone_number_id": number},
        "contacts": [{"profile": {"name": "Ann"}, "wa_id": ANN}],
        **more,
    }
    if messages is not None:
        value["messages"] = messages
    if statuses is not None:
        value["statuses"] = statuses
    return {"field": "messages", "value": value}


def body(*changes: object) -> dict[str, Any]:
    entries = [{"id": "1", "changes": [one]} for one in changes]
    return {"object": "whatsapp_business_account", "entry": entries}


def message(number: int = 1, at: int = 1749416383, **content: Any) -> dict[str, Any]:
    told = {"from": ANN, "id": f"wamid.{number}", "timestamp": str(at), "type": "text"}
    return {**told, "text": {"body": f"text {number}"}, **content}


def turn(number: int = 1, text: str | None = None, **more: Any) -> InboundTurn:
    given: dict[str, Any] = {"user_id": ANN, "user_name": "Ann", **more}
    return InboundTurn(
        address=Address(WA, given["user_id"]),
        platform="whatsapp",
        message_id=f"wamid.{number}",
        text=f"text {number}" if text is None else text,
        **given,
    )


def read(*changes: object) -> Batch:
    return READER.read(body(*changes))


def test_a_message_is_a_turn() -> None:
    assert read(change([message()])) == Batch(news=((ANN, Heard(turn=turn())),))


def test_what_is_quoted_is_told_and_what_is_forwarded_quotes_nothing() -> None:
    quoted = read(change([message(context={"from": "1", "id": "wamid.0"})])).news[0][1]
    assert quoted == Heard(turn=turn(reply_to="wamid.0"))
    forwarded = read(change([message(context={"forwarded": True})])).news[0][1]
    assert forwarded == Heard(turn=turn())


def test_who_hides_their_number_is_known_by_the_other_id() -> None:
    told = message(from_user_id="US.123")
    del told["from"]
    contacts = [{"profile": {"name": "Ann"}, "user_id": "US.123"}]
    (news,) = read(change([told], contacts=contacts)).news
    assert news == ("US.123", Heard(turn=turn(user_id="US.123")))


def test_messages_of_a_batch_are_put_in_the_order_in_which_they_were_said() -> None:
    batch = read(
        change([message(3, at=30), message(1, at=10)]),
        change([message(2, at=10), message(0, at=5)]),
        change(statuses=[{"id": "wamid.9", "status": "read", "recipient_id": ANN}]),
    )
    ids = [news.turn.message_id for _, news in batch.news if isinstance(news, Heard)]
    assert ids == ["wamid.0", "wamid.1", "wamid.2", "wamid.3"]
    assert isinstance(batch.news[-1][1], Later)


def test_what_is_wrong_with_the_account_is_told_in_words() -> None:
    error = {"code": 130429, "title": "Rate limit hit", "error_data": {"details": "Too\nmany."}}
    batch = read(change(errors=[error, {"code": 7}]), change([message()], errors=[5]))
    assert batch.complaints == ("130429 Rate limit hit: Too\\x0amany.", "7")
    assert len(batch.news) == len(batch.wrong) == 1


def test_one_bad_message_spoils_no_other() -> None:
    batch = read(
        change([message(1), {"from": ANN}, 7, message(2, timestamp="now"), message(3)]),
        change("no list", statuses={}),
        change([message(4)], number="1"),
        {"field": "messages", "value": 5},
        7,
        change([message(5)]),
    )
    ids = [news.turn.message_id for _, news in batch.news if isinstance(news, Heard)]
    assert ids == ["wamid.1", "wamid.3", "wamid.5"]
    assert batch.wrong == (
        "timestamp is missing",
        "messages is no object",
        "timestamp is no time",
        "messages is no list",
        "statuses is no list",
        "a change of another number, '1'",
        "value is no object",
        "change is no object",
    )


@pytest.mark.parametrize(
    "told",
    [
        message(group_id="g"),
        {**message(), "from": "15550783881"},
        message(type="reaction", reaction={"message_id": "wamid.0", "emoji": "x"}),
        message(type="unsupported", unsupported={"type": "poll"}, errors=[{"code": 131051}]),
        message(type="request_welcome"),
        message(type="hologram", hologram={}),
        message(type="system", system={"type": "customer_identity_changed"}),
    ],
)
def test_what_is_nothing_to_us_is_left_out_quietly(told: dict[str, Any]) -> None:
    assert read(change([told])) == Batch(news=())


def test_other_fields_and_other_products_are_nothing_to_us() -> None:
    assert read({"field": "account_update", "value": 5}) == Batch(news=())
    assert READER.read({"object": "page", "entry": 5}) == Batch(news=())


def test_edits_and_deletions_are_changes() -> None:
    edit = {
        "original_message_id": "wamid.1",
        "message": {"type": "text", "text": {"body": "new"}},
    }
    caption = {
        "original_message_id": "wamid.2",
        "message": {"type": "image", "image": {"id": "9", "caption": "seen"}},
    }
    revoke = {"original_message_id": "wamid.3"}
    batch = read(
        change(
            [
                message(11, type="edit", edit=edit),
                message(12, type="edit", edit=caption),
                message(13, type="revoke", revoke=revoke),
            ]
        )
    )
    assert [news for _, news in batch.news] == [
        MessageChange(
            address=Address(WA, ANN),
            platform="whatsapp",
            message_id=f"wamid.{number}",
            change_id=f"wamid.1{number}",
            user_id=ANN,
            text=text,
        )
        for number, text in ((1, "new"), (2, "seen"), (3, None))
    ]


def test_a_number_that_changes_is_told() -> None:
    told = message(type="system", system={"type": "user_changed_number", "wa_id": "49"})
    assert read(change([told])).news == ((ANN, NumberChanged(conversation=ANN, to="49")),)


def test_what_became_of_our_messages() -> None:
    told: list[dict[str, Any]] = [
        {"id": "wamid.1", "status": "sent", "recipient_id": ANN},
        {"id": "wamid.1", "status": "delivered", "recipient_id": ANN},
        {"id": "wamid.1", "status": "read", "recipient_id": ANN, "recipient_user_id": "US.1"},
        {"id": "wamid.2", "status": "failed", "recipient_id": ANN, "errors": [{"code": 131047}]},
        {"id": "wamid.3", "status": "failed", "recipient_user_id": "US.1", "errors": []},
        {"id": "wamid.4", "status": "played", "recipient_id": ANN},
    ]

    def late(number: int, status: Any, *places: str, reason: str | None = None) -> Later:
        return Later(
            receipts=tuple(
                LateReceipt(
                    conversation=place,
                    platform_message_id=f"wamid.{number}",
                    status=status,
                    reason=reason,
                )
                for place in places
            )
        )

    assert [news for _, news in read(change(statuses=told)).news] == [
        late(1, "delivered", ANN),
        late(1, "read", ANN, "US.1"),
        late(2, "failed", ANN, reason="window_closed"),
        late(3, "failed", "US.1", reason="rejected"),
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"type": "text", "text": {"body": "hi"}}, Said(text="hi")),
        ({"type": "button", "button": {"payload": "p", "text": "Yes"}}, Said(text="Yes")),
        (
            {
                "type": "interactive",
                "interactive": {"type": "button_reply", "button_reply": {"id": "1", "title": "No"}},
            },
            Said(text="No"),
        ),
        (
            {
                "type": "interactive",
                "interactive": {
                    "type": "list_reply",
                    "list_reply": {"id": "1", "title": "Tea", "description": "hot"},
                },
            },
            Said(text="Tea"),
        ),
        (
            {
                "type": "interactive",
                "interactive": {
                    "type": "nfm_reply",
                    "nfm_reply": {"name": "flow", "body": "Sent", "response_json": '{"a":1}'},
                },
            },
            Said(text='{"a":1}'),
        ),
        (
            {"type": "location", "location": {"latitude": 1.5, "longitude": -2, "name": "Pier"}},
            Said(text="[location: Pier, 1.5, -2]"),
        ),
        (
            {
                "type": "contacts",
                "contacts": [
                    {
                        "name": {"formatted_name": "Bob"},
                        "phones": [{"phone": "+1 5", "type": "CELL"}],
                        "emails": [{"email": "b@example.org"}],
                    },
                    {"name": {"formatted_name": "Cy"}},
                ],
            },
            Said(text="[contact: Bob +1 5 b@example.org]\n[contact: Cy]"),
        ),
        (
            {
                "type": "order",
                "order": {
                    "text": "please",
                    "product_items": [{"product_retailer_id": "di9", "quantity": 2}],
                },
            },
            Said(text="[order: please]\n- 2 x di9"),
        ),
        (
            {"type": "image", "image": {"id": "9", "mime_type": "image/jpeg", "caption": "see"}},
            Said(text="see", file=IncomingFile(kind="image", reference="9", mime="image/jpeg")),
        ),
        (
            {"type": "audio", "audio": {"id": "9", "mime_type": "audio/ogg; codecs=opus"}},
            Said(
                text="",
                file=IncomingFile(kind="audio", reference="9", mime="audio/ogg; codecs=opus"),
            ),
        ),
        (
            {"type": "sticker", "sticker": {"id": "9", "mime_type": "image/webp"}},
            Said(text="", file=IncomingFile(kind="image", reference="9", mime="image/webp")),
        ),
        (
            {
                "type": "document",
                "document": {"id": "9", "filename": "b.pdf", "mime_type": "a/b"},
            },
            Said(text="", file=IncomingFile(kind="file", reference="9", mime="a/b", name="b.pdf")),
        ),
        (
            {"type": "document", "document": {"id": "9", "mime_type": "video/mp4"}},
            Said(text="", file=IncomingFile(kind="video", reference="9", mime="video/mp4")),
        ),
    ],
)
def test_every_type_says_something(content: dict[str, Any], said: Said) -> None:
    assert said_in(content) == said


WHOLE: Final = body(
    change(
        [
            message(1, context={"id": "wamid.0"}),
            message(2, type="image", image={"id": "9", "caption": "c"}),
            message(3, type="location", location={"latitude": 1, "longitude": 2}),
            message(4, type="contacts", contacts=[{"name": {}, "phones": [{"phone": "1"}]}]),
            message(5, type="edit", edit={"original_message_id": "x", "message": message(6)}),
            message(7, type="interactive", interactive={"type": "a", "a": {"title": "b"}}),
            message(8, type="order", order={"product_items": [{}]}),
            message(9, type="system", system={"wa_id": "1"}),
        ],
        statuses=[{"id": "1", "status": "failed", "recipient_id": "2", "errors": [{"code": 1}]}],
    )
)
ANY: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=4,
)


def keys_of(whole: Any) -> list[Any]:
    match whole:
        case {**whole_object}:
            return list(whole_object)
        case [*whole_list]:
            return list(range(len(whole_list)))
        case _:
            return []


def replaced(whole: Any, draw: st.DrawFn) -> Any:
    """`whole`, with anything in the place of some piece of it."""
    keys = keys_of(whole)
    if not keys or draw(st.integers(0, 8)) == 0:
        return draw(ANY)
    key = draw(st.sampled_from(keys))
    changed = copy.copy(whole)
    changed[key] = replaced(whole[key], draw)
    return changed


@st.composite
def nearly_whole(draw: st.DrawFn) -> Any:
    told: Any = WHOLE
    for _ in range(draw(st.integers(1, 3))):
        told = replaced(told, draw)
    return told


@given(nearly_whole())
def test_a_call_with_anything_anywhere_is_read_or_malformed(told: object) -> None:
    try:
        batch = READER.read(told)
    except Malformed:
        return
    for conversation, news in batch.news:
        assert conversation
        assert isinstance(news, Heard | MessageChange | Later | NumberChanged)
    assert all(isinstance(why, str) for why in batch.wrong)


@given(ANY)
def test_any_json_is_read_or_malformed(told: object) -> None:
    with contextlib.suppress(Malformed):
        assert READER.read(told) == Batch(news=())
