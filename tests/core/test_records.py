"""The flat form of records: what is written once must be read for ever."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Any, cast, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.actors.core.head import Head, read_head
from turnkeeper.actors.core.heard import turn_of, user_record
from turnkeeper.actors.core.ownership_records import ActiveRecord, BoundRecord, ReleasedRecord
from turnkeeper.actors.core.records import MalformedRecord, Record, address_of, pack, unpack
from turnkeeper.actors.core.turn_records import AssistantRecord, UserRecord
from turnkeeper.actors.messages import Address, Attachment, InboundTurn, Instance
from turnkeeper.storage.codec import decode, encode

KINDS: tuple[type[Record], ...] = get_args(Record)

texts = st.text(alphabet=st.characters(exclude_categories=()), max_size=20)
optional_texts = st.none() | texts
counts = st.integers(0, 2**53)
values = optional_texts | counts | st.booleans()
rows = st.lists(st.lists(values | st.lists(values).map(tuple)).map(tuple), max_size=3).map(tuple)


def record_of(cls: type[Record]) -> st.SearchStrategy[Record]:
    """Records of one kind, of any values that the field's type allows."""
    by_type: dict[str, st.SearchStrategy[Any]] = {
        "int": counts,
        "str": texts,
        "bool": st.booleans(),
        "str | None": optional_texts,
        "int | None": st.none() | counts,
        "DeliveryStatus": st.sampled_from(["sending", "delivered", "failed"]),
        "tuple[str, ...]": st.lists(texts, max_size=4).map(tuple),
        "tuple[Any, ...]": rows,
        "tuple[Any, ...] | None": st.none() | rows,
    }
    return st.builds(cls, **{field.name: by_type[str(field.type)] for field in fields(cls)})


def as_tuples(value: Any) -> Any:
    """`value` with the lists that the codec makes of tuples as tuples again."""
    if not isinstance(value, list | tuple):
        return value
    return tuple(map(as_tuples, cast("Sequence[Any]", value)))


@given(st.one_of([record_of(cls) for cls in KINDS]))
def test_a_record_comes_back_from_the_disk_as_it_was_written(record: Record) -> None:
    again = unpack(decode(encode(pack(record))))
    assert type(again) is type(record)
    assert as_tuples(pack(again)) == as_tuples(pack(record))


@pytest.mark.parametrize("cls", KINDS)
def test_each_kind_has_a_name_of_its_own_that_comes_first(cls: type[Record]) -> None:
    assert [other.kind for other in KINDS].count(cls.kind) == 1
    values: dict[str, Any] = {field.name: 0 for field in fields(cls)}
    assert pack(cls(**values))[0] == cls.kind


@pytest.mark.parametrize("cls", KINDS)
def test_a_record_written_before_a_field_was_added_is_still_read(cls: type[Record]) -> None:
    required = [field.name for field in fields(cls) if field.default is MISSING]
    flat = [cls.kind, *range(len(required))]
    record = unpack(flat)
    for number, name in enumerate(required):
        assert getattr(record, name) == number
    for field in fields(cls):
        if field.default is not MISSING:
            assert getattr(record, field.name) == field.default


@pytest.mark.parametrize("cls", KINDS)
def test_a_record_with_too_few_or_too_many_fields_is_refused(cls: type[Record]) -> None:
    required = sum(1 for field in fields(cls) if field.default is MISSING)
    for count in (required - 1, len(fields(cls)) + 1):
        with pytest.raises(MalformedRecord, match=f"{cls.kind!r} record has {count} fields"):
            unpack([cls.kind, *range(count)])


@pytest.mark.parametrize(
    "payload",
    [None, 3, "user", b"user", {}, [], {"kind": "user"}, ["telepathy", 1], [None], [3, 1]],
)
def test_what_is_no_record_is_refused(payload: object) -> None:
    with pytest.raises(MalformedRecord):
        unpack(payload)


@pytest.mark.parametrize("kind", [["user"], {"user": 1}])
def test_a_kind_that_is_no_name_is_refused(kind: object) -> None:
    with pytest.raises(MalformedRecord):
        unpack([kind, 1])


attachments = st.builds(
    Attachment,
    kind=texts,
    reference=texts,
    mime=optional_texts,
    size_bytes=st.none() | counts,
    name=optional_texts,
)
turns = st.builds(
    InboundTurn,
    address=st.builds(
        Address,
        instance=texts.map(Instance),
        conversation=texts,
        thread=optional_texts,
    ),
    platform=texts,
    message_id=texts,
    user_id=texts,
    text=texts,
    user_name=optional_texts,
    chat_name=optional_texts,
    guild=optional_texts,
    direct=st.booleans(),
    reply_to=optional_texts,
    attachments=st.lists(attachments, max_size=3).map(tuple),
)


@given(turns, counts)
def test_a_turn_comes_back_from_its_record_as_its_channel_heard_it(
    turn: InboundTurn, at_us: int
) -> None:
    record = unpack(decode(encode(pack(user_record(turn, at_us)))))
    assert isinstance(record, UserRecord)
    assert turn_of(record) == turn
    assert record.at_us == at_us


def test_a_record_without_an_instance_speaks_of_the_feed() -> None:
    said = AssistantRecord(
        at_us=1, text="x", turn_seq=0, instance=None, conversation=None, thread=None
    )
    assert address_of(said) is None


def test_the_records_of_a_conversation_that_changes_hands_speak_of_that_conversation() -> None:
    place = Address(instance=Instance("tg"), conversation="c1", thread="t1")
    said: dict[str, Any] = {"at_us": 1, "by": "operator", **place._asdict()}
    bound = BoundRecord(version=2, platform="telegram", guild=None, direct=True, **said)
    released = ReleasedRecord(version=2, to_session="s2", **said)
    assert address_of(bound) == address_of(released) == address_of(ActiveRecord(**said)) == place


def test_a_session_whose_active_channel_was_taken_away_has_none() -> None:
    nowhere = ActiveRecord(at_us=1, instance=None, conversation=None, thread=None, by="operator")
    assert address_of(nowhere) is None


def test_a_head_comes_back_as_it_was_written() -> None:
    head = Head("s1", "main", 1, 2, 9, 3, 1, 2, 5, 1, 100, "tg", "c1", None)
    assert read_head(decode(encode(list(head)))) == head
    assert head.active_channel == Address(instance=Instance("tg"), conversation="c1")


@given(
    joined=st.none() | st.lists(st.tuples(counts, texts), min_size=1, max_size=3).map(tuple),
    hidden=st.none()
    | st.lists(st.tuples(texts, texts, counts, counts), min_size=1, max_size=3).map(tuple),
    merged_into=optional_texts,
)
def test_a_head_keeps_what_its_session_shares_with_others(
    joined: tuple[tuple[int, str], ...] | None,
    hidden: tuple[tuple[str, str, int, int], ...] | None,
    merged_into: str | None,
) -> None:
    head = Head("s1", "main", 1, 2, 9, 3, 0, 0, 0, 0, 9, None, None, None)
    head = head._replace(joined=joined, hidden=hidden, merged_into=merged_into)
    assert read_head(decode(encode(list(head)))) == head


def test_a_head_from_before_sessions_were_shared_is_still_read() -> None:
    head = Head("s1", "main", 1, 2, 9, 3, 1, 2, 5, 1, 100, "tg", "c1", None)
    assert read_head(list(head)[:14]) == head
    assert (head.joined, head.hidden, head.merged_into) == (None, None, None)


def test_a_head_tells_from_where_open_work_can_be_brought_back() -> None:
    idle = Head("s1", "main", 1, 2, 9, 3, 0, 0, 0, 0, 100, "tg", "c1", None)
    assert idle.open_since == 0
    assert idle._replace(open_turns=1).open_since == 4
    assert idle._replace(open_deliveries=1, oldest_delivery=7).open_since == 7
    assert idle._replace(open_turns=1, open_deliveries=1, oldest_delivery=2).open_since == 2


def test_a_session_that_no_human_wrote_to_has_no_active_channel() -> None:
    head = Head("s1", "main", 1, 2, 9, 3, 0, 0, 0, 0, 0, None, None, None)
    assert head.active_channel is None


@pytest.mark.parametrize("payload", [None, "head", {}, [], [1, 2, 3], [0] * 13, [0] * 99])
def test_what_is_no_head_is_refused(payload: object) -> None:
    with pytest.raises(MalformedRecord):
        read_head(payload)
