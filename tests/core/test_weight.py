"""What a record takes in a window at most: never less than what is shown of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from turnkeeper.actors.core.alterations import as_altered
from turnkeeper.actors.core.asides import SHOWN_RECEIPTS
from turnkeeper.actors.core.attached import attachment_line
from turnkeeper.actors.core.delivery_records import NoteRecord, ReceiptRecord
from turnkeeper.actors.core.names import MAX_NAME_CHARS
from turnkeeper.actors.core.records import Record
from turnkeeper.actors.core.shown import (
    Message,
    change_of,
    message_of,
    receipt_of,
    summary_of,
)
from turnkeeper.actors.core.turn_records import (
    AssistantRecord,
    AttemptRecord,
    MissionRecord,
    SilentRecord,
    ToolRecord,
    UserRecord,
)
from turnkeeper.actors.core.view_records import (
    ChangedRecord,
    ClearRecord,
    CommandRecord,
    SummaryRecord,
)
from turnkeeper.actors.core.weight import (
    FILE_TOKENS,
    IMAGE_TOKENS,
    OVERHEAD,
    bytes_of,
    extra_of,
    frame_of,
    weight_of,
)

BREAKS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
texts = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=40),
    st.text(st.sampled_from(BREAKS + 'a| "[]\\'), max_size=40),
    st.text(st.sampled_from("é漢\U0001f600\ud800\udc00\u200b"), max_size=100),
)
names = st.none() | texts
ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", fullmatch=True)
times = st.integers(0, 4_000_000_000_000_000)


def user(text: str, **fields: Any) -> UserRecord:
    values: dict[str, Any] = {
        "at_us": 1,
        "text": text,
        "instance": "tg",
        "conversation": "c1",
        "thread": None,
        "platform": "telegram",
        "message_id": "m1",
        "user_id": "u1",
    }
    return UserRecord(**(values | fields))


def assistant(text: str, **fields: Any) -> AssistantRecord:
    return AssistantRecord(
        at_us=2, text=text, turn_seq=3, instance="tg", conversation="c1", thread=None, **fields
    )


def shown_bytes(message: Message) -> int:
    """What a model is shown of a message, the lines for files included."""
    lines = [attachment_line(attachment) for attachment in message.attachments]
    return bytes_of("\n".join([message.attributed, *lines]))


attachments = st.lists(
    st.tuples(
        st.sampled_from(["image", "file", "audio", "No kind]"]),
        st.just("reference"),
        st.none() | st.sampled_from(["image/png", "Application/PDF"]) | texts,
        st.none() | st.integers(0, 2**63 - 1),
        names,
    ),
    max_size=4,
).map(tuple)
humans = st.builds(
    user,
    texts,
    direct=st.booleans(),
    user_id=texts,
    user_name=names,
    attachments=st.none() | attachments,
)
tools = st.builds(
    ToolRecord, at_us=times, turn_seq=st.just(3), name=texts, arguments=texts, result=texts
)
notes = st.builds(
    NoteRecord,
    at_us=times,
    text=texts,
    source=texts,
    session_id=names,
    mission=names,
    delivery_id=names,
    instance=names,
    conversation=names,
    thread=names,
    status=st.sampled_from(["delivered", "partial", "unknown", "mirrored"]),
    metadata=st.none() | st.just('{"a": "b]"}') | texts,
)
runs = st.builds(
    MissionRecord,
    at_us=times,
    text=texts,
    mission=st.just("inbox"),
    run=st.just(1),
    due_us=times,
)


replies = st.builds(assistant, texts, attachments=st.none() | attachments)


@given(st.one_of(humans, tools, notes, runs, replies))
@example(user("x", direct=False, user_id="\U0001f600"))
@example(user("x", direct=False, user_id="[" * 9, user_name="\u200b"))
@example(user("\n" * 9, direct=False, user_name="\U0001f600" * 99))
@example(user("\r\n\u2028" * 9, direct=False, user_name='"\\“' * 9))
@example(user("", attachments=(("image", "x", None, None, "漢" * 99),) * 64))
def test_no_message_takes_more_than_its_record_weighs(
    record: UserRecord | ToolRecord | NoteRecord | MissionRecord | AssistantRecord,
) -> None:
    shown = message_of(9, record, None, {})
    assert OVERHEAD + shown_bytes(shown) <= weight_of(record)
    assert OVERHEAD + bytes_of(shown.attributed) + extra_of(record) <= weight_of(record)


@given(st.one_of(tools, notes, runs, replies, humans.filter(lambda record: record.direct)))
def test_what_has_no_speaker_weighs_exactly_what_it_takes(
    record: UserRecord | ToolRecord | NoteRecord | MissionRecord | AssistantRecord,
) -> None:
    shown = message_of(9, record, None, {})
    assert weight_of(record) == OVERHEAD + bytes_of(shown.attributed) + extra_of(record)


@given(humans.filter(lambda record: not record.direct))
def test_in_a_group_no_more_is_added_than_lines_may_need(record: UserRecord) -> None:
    shown = message_of(9, record, None, {})
    spare = weight_of(record) - OVERHEAD - bytes_of(shown.attributed) - extra_of(record)
    assert 0 <= spare <= 6 * len(record.text.splitlines())


changes = st.builds(
    ChangedRecord,
    at_us=times,
    message_seq=st.just(3),
    change_id=st.just("e1"),
    text=st.none() | texts,
    by=st.just("u1"),
    shown=st.sampled_from(["later", "instead", "nowhere"]),
)


@given(changes, st.none() | humans, st.booleans())
@example(
    ChangedRecord(at_us=1, message_seq=3, change_id="e", text="x", by="u1", shown="later"),
    user("\U0001f600" * 99, user_name="漢" * 99),
    False,
)
def test_what_is_told_of_a_change_takes_no_more_than_it_weighs(
    record: ChangedRecord, said: UserRecord | None, deleted: bool
) -> None:
    if record.shown == "later":
        if said is not None:
            said = replace(said, user_id="u1")
        shown = change_of(9, record, None, said, deleted=deleted)
        assert OVERHEAD + shown_bytes(shown) <= weight_of(record)


@given(humans, st.lists(changes, max_size=4))
@example(
    user("", direct=False),
    [ChangedRecord(at_us=1, message_seq=3, change_id="e1", text=None, by="u1", shown="instead")],
)
def test_a_message_that_was_changed_takes_no_more_than_it_weighs_with_its_changes(
    record: UserRecord, later: list[ChangedRecord]
) -> None:
    shown = as_altered(record, later)
    assert weight_of(shown) <= weight_of(record) + sum(map(weight_of, later)) or any(
        change.text is None and change.shown == "nowhere" for change in later
    )


@given(
    st.lists(st.sampled_from(["ab", "é", "\r\n", *"\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"])),
    st.integers(60_000, 70_000),
)
def test_the_lines_of_a_long_text_are_never_too_few(parts: list[str], at_least: int) -> None:
    unit = "".join(parts) or "x"
    record = user(unit * (at_least // len(unit)), direct=False)
    shown = message_of(9, record, None, {})
    spare = weight_of(record) - OVERHEAD - bytes_of(shown.attributed)
    assert 0 <= spare <= 2 + 6 * len(record.text)


@given(st.one_of(humans, tools))
def test_the_frame_is_what_is_left_where_the_texts_are_empty(
    record: UserRecord | ToolRecord,
) -> None:
    if isinstance(record, ToolRecord):
        bare: Record = ToolRecord(at_us=1, turn_seq=3, name=record.name, arguments="", result="")
    else:
        bare = user("", direct=record.direct, user_id=record.user_id, user_name=record.user_name)
    assert frame_of(record) == frame_of(bare) == weight_of(bare)


@given(
    st.builds(
        ReceiptRecord,
        at_us=times,
        delivery_seq=st.integers(1, 2**63),
        status=st.sampled_from(sorted(SHOWN_RECEIPTS)),
        reason=names,
    ),
    st.none() | ids,
    st.none() | st.builds(assistant, texts),
)
@example(
    ReceiptRecord(at_us=0, delivery_seq=2**63, status="failed", reason="\U0001f600" * 99),
    "x" * 64,
    assistant("\U0001f600" * MAX_NAME_CHARS),
)
def test_no_receipt_takes_more_than_it_weighs(
    record: ReceiptRecord, session_id: str | None, said: AssistantRecord | None
) -> None:
    shown = receipt_of(9, record, None, session_id, said)
    taken = OVERHEAD + bytes_of(shown.attributed)
    assert taken <= weight_of(record) < taken + 600


@given(texts)
def test_a_summary_weighs_what_it_takes(text: str) -> None:
    record = SummaryRecord(
        at_us=1,
        text=text,
        through=3,
        asides=4,
        by="extract",
        tokens=9,
        covered_tokens=99,
        covered_bound=99,
        covered_messages=2,
    )
    shown = summary_of(9, record, None)
    assert weight_of(record) == OVERHEAD + bytes_of(shown.attributed)


@pytest.mark.parametrize(
    "record",
    [
        SilentRecord(at_us=1, turn_seq=3),
        AttemptRecord(at_us=1, turn_seq=3, attempt=2),
        ClearRecord(at_us=1, by="operator"),
        ReceiptRecord(at_us=1, delivery_seq=4, status="delivered"),
        assistant("Started anew.", by="runtime", route="command"),
        CommandRecord(
            at_us=1,
            command="new",
            instance="tg",
            conversation="c1",
            thread=None,
            platform="telegram",
            message_id="m1",
            user_id="u1",
        ),
    ],
    ids=lambda record: record.kind,
)
def test_what_no_window_shows_weighs_nothing(record: Record) -> None:
    assert weight_of(record) == 0


def test_what_came_with_a_message_weighs_by_the_rule_and_its_line() -> None:
    image = ("image", "x", "image/png", 5, "a.png")
    other = ("audio", "x", None, None, None)
    record = user("look", attachments=(image, other))
    lines = len('[attached: image "a.png", image/png, 5 bytes]') + len("[attached: audio]")
    assert extra_of(record) == IMAGE_TOKENS + FILE_TOKENS + lines
    assert weight_of(record) == OVERHEAD + len("look") + extra_of(record)
    assert extra_of(user("look")) == extra_of(assistant("look")) == 0
