"""The window as it is read from the store: no more of the logs than is shown."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.actors.core.delivery_records import DeliveryRecord, NoteRecord, ReceiptRecord
from turnkeeper.actors.core.head import Head
from turnkeeper.actors.core.ownership_records import OpenedRecord
from turnkeeper.actors.core.records import Record, pack
from turnkeeper.actors.core.turn_records import (
    AssistantRecord,
    MissionRecord,
    QuarantinedRecord,
    SilentRecord,
    UserRecord,
)
from turnkeeper.actors.core.view_records import ClearRecord
from turnkeeper.actors.core.weight import OVERHEAD, bytes_of, weight_of
from turnkeeper.actors.core.window import Message
from turnkeeper.actors.journal import name_key
from turnkeeper.actors.windows import WindowRules, read_window
from turnkeeper.storage.base import Table
from turnkeeper.storage.codec import encode
from turnkeeper.storage.keys import log_key, number_key, table_key
from turnkeeper.storage.memory import MemoryDisk, MemoryReads


class CountedReads(MemoryReads):
    """A store that counts the records which are read."""

    def __init__(self, disk: MemoryDisk) -> None:
        super().__init__(disk)
        self.records_read = 0

    def read_log(
        self,
        stream: int,
        start: int = 1,
        stop: int | None = None,
        *,
        limit: int,
        reverse: bool = False,
    ) -> list[tuple[int, bytes]]:
        page = super().read_log(stream, start, stop, limit=limit, reverse=reverse)
        self.records_read += len(page)
        return page


class Sessions:
    """Logs and heads, written by hand."""

    def __init__(self) -> None:
        self.disk = MemoryDisk()
        self.store = CountedReads(self.disk)

    def write(
        self,
        stream: int,
        *records: Record,
        joined: tuple[tuple[int, str], ...] | None = None,
        merged_into: str | None = None,
    ) -> None:
        """The log of session `s<stream>`; the first of `records` has number 2."""
        name = f"s{stream}"
        log = [OpenedRecord(at_us=0, session_id=name, agent="main", by="x"), *records]
        for seq, record in enumerate(log, 1):
            self.disk.log.put(log_key(stream, seq), encode(pack(record)))
        head = Head(name, "main", 0, 0, len(log) + 1, 0, 0, 0, 0, 0, 0, None, None, None)
        head = head._replace(joined=joined, merged_into=merged_into, cleared=cleared(log))
        self.put(Table.HEADS, number_key(stream), list(head))
        self.put(Table.NAMES, name_key(name), stream)

    def put(self, table: Table, key: bytes, value: object) -> None:
        self.disk.tables.put(table_key(table, key), encode(value))  # type: ignore[arg-type]

    def window(
        self,
        stream: int = 1,
        max_tokens: int | None = None,
        current: tuple[int, UserRecord | MissionRecord] | None = None,
    ) -> tuple[Message, ...]:
        rules = WindowRules(max_tokens) if max_tokens is not None else None
        return read_window(self.store, stream, rules, current)


def cleared(log: Sequence[Record]) -> int:
    return max((seq for seq, r in enumerate(log, 1) if isinstance(r, ClearRecord)), default=0)


@pytest.fixture
def sessions() -> Sessions:
    return Sessions()


def user(at_us: int, text: str = "q") -> UserRecord:
    return UserRecord(
        at_us=at_us,
        text=text,
        instance="tg",
        conversation="c1",
        thread=None,
        platform="telegram",
        message_id=f"m{at_us}",
        user_id="u1",
    )


def run(at_us: int, text: str = "prompt") -> MissionRecord:
    return MissionRecord(at_us=at_us, text=text, mission="inbox", run=1, due_us=at_us)


def reply(at_us: int, turn_seq: int, text: str = "a") -> AssistantRecord:
    return AssistantRecord(
        at_us=at_us, text=text, turn_seq=turn_seq, instance="tg", conversation="c1", thread=None
    )


def note(at_us: int, text: str = "n") -> NoteRecord:
    return NoteRecord(
        at_us=at_us,
        text=text,
        source="session s9",
        session_id="s9",
        mission=None,
        delivery_id="s9/4",
        instance="tg",
        conversation="c1",
        thread=None,
    )


def clear(at_us: int) -> ClearRecord:
    return ClearRecord(at_us=at_us, by="operator")


def read(at_us: int, delivery_seq: int) -> ReceiptRecord:
    return ReceiptRecord(at_us=at_us, delivery_seq=delivery_seq, status="read")


def seqs(window: Sequence[Message]) -> list[int]:
    return [message.seq for message in window]


def test_a_window_holds_missions_notes_and_receipts(sessions: Sessions) -> None:
    sessions.write(
        1,
        run(1),
        reply(2, 2, "Hello"),
        DeliveryRecord(at_us=3, delivery_seq=3, status="delivered"),
        note(4),
        read(5, 3),
        user(6),
    )
    window = sessions.window(current=(7, user(6)))
    assert [message.kind for message in window] == [
        "mission",
        "assistant",
        "note",
        "receipt",
        "user",
    ]
    assert window[3].text.startswith('[Your message "s1/3" ("Hello") was read ')


def test_turns_that_wait_are_not_shown_and_take_no_room(sessions: Sessions) -> None:
    long = "x" * 1_000
    sessions.write(1, user(1), reply(2, 2), user(3, "now"), user(4, long), run(5, long))
    room = weight_of(user(1)) + weight_of(reply(2, 2)) + weight_of(user(3, "now"))
    assert seqs(sessions.window(max_tokens=room, current=(4, user(3, "now")))) == [2, 3, 4]


def test_a_window_with_a_bound_has_a_bounded_number_of_messages(sessions: Sessions) -> None:
    history: list[Record] = []
    for turn in range(2, 4_500, 3):
        history += [user(turn), SilentRecord(at_us=turn, turn_seq=turn), note(turn)]
    sessions.write(1, *history)
    assert len(sessions.window(max_tokens=1 << 40)) == 2_000
    assert len(sessions.window()) == 3_000


def test_a_note_takes_the_room_of_all_its_text(sessions: Sessions) -> None:
    sessions.write(1, user(1), reply(2, 2), note(3), user(4, "now"))
    room = weight_of(note(3)) + weight_of(user(4, "now"))
    assert seqs(sessions.window(max_tokens=room, current=(5, user(4, "now")))) == [4, 5]
    assert seqs(sessions.window(max_tokens=room - 1, current=(5, user(4, "now")))) == [5]


def test_what_only_tells_that_a_turn_is_over_takes_no_room(sessions: Sessions) -> None:
    error = "x" * 1_000
    sessions.write(
        1,
        user(1),
        user(2),
        note(3),
        SilentRecord(at_us=4, turn_seq=2),
        QuarantinedRecord(at_us=5, turn_seq=3, attempts=3, error=error),
    )
    room = weight_of(note(3)) + 2 * weight_of(user(1))
    assert seqs(sessions.window(max_tokens=room)) == [2, 4, 3]


def test_a_cleared_session_shows_and_costs_only_what_came_later(sessions: Sessions) -> None:
    history: list[Record] = []
    for turn in range(2, 4_000, 2):
        history += [user(turn), reply(turn, turn, "x" * 100)]
    sessions.write(1, *history, note(9_000), clear(9_001), user(9_002))
    newest = len(history) + 2
    assert seqs(sessions.window()) == [newest, newest + 2]
    assert sessions.store.records_read < 300


def test_an_answer_before_the_marker_takes_no_room_behind_it(sessions: Sessions) -> None:
    sessions.write(1, user(1), reply(2, 2, "x" * 1_000), clear(3), user(4, "now"))
    sessions.write(2, user(1), note(2), reply(3, 2, "x" * 1_000), clear(4), user(5, "now"))
    room = weight_of(user(4, "now"))
    assert seqs(sessions.window(1, room)) == [5]
    assert seqs(sessions.window(2, room + weight_of(note(2)))) == [3, 6]


def test_earlier_sessions_are_cleared_up_to_the_time_of_the_marker(sessions: Sessions) -> None:
    sessions.write(2, user(10), reply(11, 2), user(30), reply(31, 4), merged_into="s1")
    sessions.write(1, user(5), clear(20), user(40), joined=((2, "s2"),))
    window = sessions.window()
    assert [(m.session_id, m.seq) for m in window] == [("s2", 4), ("s2", 5), (None, 4)]


def test_a_session_that_came_through_another_is_cleared_with_that_one(sessions: Sessions) -> None:
    sessions.write(3, user(10), user(30), merged_into="s2")
    sessions.write(2, user(15), clear(20), user(25), merged_into="s1")
    sessions.write(1, user(40), joined=((3, "s3"), (2, "s2")))
    window = sessions.window()
    assert [(m.session_id, m.seq) for m in window] == [("s2", 4), ("s3", 3), (None, 2)]


def test_a_receipt_quotes_what_was_said_before_the_window(sessions: Sessions) -> None:
    sessions.write(1, user(1), reply(2, 2, "Hello"), clear(3), read(4, 3))
    sessions.write(2, user(1), reply(2, 2, "Good day"), read(4, 3), clear(3), merged_into="s3")
    sessions.write(3, joined=((2, "s2"),))
    (own,) = sessions.window(1)
    (earlier,) = sessions.window(3)
    assert own.text.startswith('[Your message "s1/3" ("Hello") was read ')
    assert earlier.text.startswith('[Your message "s2/3" ("Good day") was read ')


@given(st.lists(st.sampled_from(["ask", "end", "note"]), max_size=30), st.integers(0, 2_000))
def test_with_less_room_the_newest_part_of_the_window_is_shown(kinds: list[str], room: int) -> None:
    sessions, records, waiting = Sessions(), list[Record](), list[int]()
    for at_us, kind in enumerate(kinds):
        match kind:
            case "end" if waiting:
                records.append(reply(at_us, waiting.pop(0)))
            case "note":
                records.append(note(at_us))
            case _:
                records.append(user(at_us))
                waiting.append(len(records) + 1)
    sessions.write(1, *records)
    whole, part = sorted(seqs(sessions.window())), sessions.window(max_tokens=room)
    assert sum(OVERHEAD + bytes_of(message.attributed) for message in part) <= room
    assert whole[len(whole) - len(part) :] == sorted(seqs(part))
