"""Logs of sessions, written record by record, with the heads that follow from them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeAlias

from turnkeeper.actors.core.attached import attachment_line
from turnkeeper.actors.core.delivery_records import NoteRecord, ReceiptRecord
from turnkeeper.actors.core.ownership_records import LinkedRecord, OpenedRecord, ReleasedRecord
from turnkeeper.actors.core.records import Record, pack
from turnkeeper.actors.core.state import State
from turnkeeper.actors.core.turn_records import (
    AssistantRecord,
    AttemptRecord,
    MissionRecord,
    ToolRecord,
    UserRecord,
)
from turnkeeper.actors.core.view_records import ClearRecord, SummaryRecord
from turnkeeper.actors.core.weight import OVERHEAD, bytes_of, weight_of
from turnkeeper.actors.core.window import Message
from turnkeeper.actors.counts import count_row
from turnkeeper.actors.journal import load_record, name_key
from turnkeeper.actors.windows import WindowRules, read_window, window_at
from turnkeeper.storage.base import Table
from turnkeeper.storage.codec import encode
from turnkeeper.storage.keys import log_key, number_key, table_key
from turnkeeper.storage.memory import MemoryDisk, MemoryReads

__all__ = [
    "Logs",
    "Window",
    "attempt",
    "clear",
    "cost",
    "linked",
    "merged",
    "note",
    "places",
    "receipt",
    "reply",
    "run",
    "summary",
    "texts",
    "tool",
    "user",
]

Window: TypeAlias = tuple[Message, ...]


class Logs:
    """The sessions `s1`, `s2` and so on, on a disk in memory."""

    def __init__(self) -> None:
        self.disk = MemoryDisk()
        self.store = MemoryReads(self.disk)
        self.states: dict[int, State] = {}

    def add(self, stream: int, *records: Record) -> int:
        """Write `records` behind the log of session `s<stream>`; the number of the last one."""
        if stream not in self.states:
            self.states[stream] = State()
            opened = OpenedRecord(at_us=0, session_id=f"s{stream}", agent="main", by="x")
            records = (opened, *records)
            self.put(Table.NAMES, name_key(f"s{stream}"), encode(stream))
        state = self.states[stream]
        for record in records:
            self.disk.log.put(log_key(stream, state.apply(record)), encode(pack(record)))
        self.put(Table.HEADS, number_key(stream), encode(list(state.head())))
        return state.next_seq - 1

    def put(self, table: Table, key: bytes, row: bytes) -> None:
        self.disk.tables.put(table_key(table, key), row)

    def damage(self, stream: int, seq: int) -> None:
        """Let a bit of record `seq` be another one."""
        ((_, data),) = self.store.read_log(stream, seq, seq + 1, limit=1)
        self.disk.log.put(log_key(stream, seq), data[:-1] + bytes([data[-1] ^ 1]))

    def count(self, stream: int, seq: int, tokens: int, mark: bytes) -> None:
        """Keep how many tokens record `seq` has for a counter."""
        self.put(Table.TOKENS, log_key(stream, seq), count_row(tokens, mark))

    def window(self, turn: int = 0, rules: WindowRules | None = None, stream: int = 1) -> Window:
        """The window for the newest attempt at `turn`, or between turns."""
        if not turn:
            return read_window(self.store, stream, rules)
        current = load_record(self.store, stream, turn)
        assert isinstance(current, UserRecord | MissionRecord)
        return read_window(self.store, stream, rules, (turn, current))

    def window_at(self, turn: int, rules: WindowRules | None = None, stream: int = 1) -> Window:
        """The window that was given for `turn`."""
        return window_at(self.store, stream, turn, rules)


def user(at_us: int, text: str = "q", **fields: Any) -> UserRecord:
    values: dict[str, Any] = {
        "instance": "tg",
        "conversation": "c1",
        "thread": None,
        "platform": "telegram",
        "message_id": f"m{at_us}",
        "user_id": "u1",
    }
    return UserRecord(at_us=at_us, text=text, **(values | fields))


def run(at_us: int, text: str = "prompt") -> MissionRecord:
    return MissionRecord(at_us=at_us, text=text, mission="inbox", run=1, due_us=at_us)


def reply(at_us: int, turn_seq: int, text: str = "a", **fields: Any) -> AssistantRecord:
    return AssistantRecord(
        at_us=at_us,
        text=text,
        turn_seq=turn_seq,
        instance="tg",
        conversation="c1",
        thread=None,
        **fields,
    )


def tool(at_us: int, turn_seq: int, **fields: Any) -> ToolRecord:
    values = {"name": "t", "arguments": "1", "result": "2"} | fields
    return ToolRecord(at_us=at_us, turn_seq=turn_seq, **values)


def note(at_us: int, text: str = "n", session_id: str | None = "s9") -> NoteRecord:
    return NoteRecord(
        at_us=at_us,
        text=text,
        source="session s9",
        session_id=session_id,
        mission=None,
        delivery_id="s9/4",
        instance="tg",
        conversation="c1",
        thread=None,
    )


def receipt(at_us: int, delivery_seq: int) -> ReceiptRecord:
    return ReceiptRecord(at_us=at_us, delivery_seq=delivery_seq, status="read")


def clear(at_us: int, state: State | None = None) -> ClearRecord:
    """A marker, as it is written for a session in `state`."""
    if state is None:
        return ClearRecord(at_us=at_us, by="operator")
    return ClearRecord(at_us=at_us, by="operator", cleared=state.cleared, summary=state.summary)


def attempt(at_us: int, turn_seq: int, number: int = 2) -> AttemptRecord:
    return AttemptRecord(at_us=at_us, turn_seq=turn_seq, attempt=number)


def summary(at_us: int, through: int, asides: int = 0, **fields: Any) -> SummaryRecord:
    values: dict[str, Any] = {
        "text": f"told up to {through}",
        "by": "extract",
        "covered_tokens": 0,
        "covered_bound": 0,
        "covered_messages": 0,
        "tokens": 0,
    } | fields
    record = SummaryRecord(at_us=at_us, through=through, asides=asides, **values)
    return record if "tokens" in fields else replace(record, tokens=weight_of(record))


def linked(at_us: int, stream: int) -> LinkedRecord:
    """`s<stream>` is part of this session's context from here on."""
    return LinkedRecord(at_us=at_us, session_id=f"s{stream}", stream=stream, number=1, by="x")


def merged(at_us: int, into: str = "s1") -> ReleasedRecord:
    """This session goes on in another one."""
    return ReleasedRecord(
        at_us=at_us,
        instance="tg",
        conversation="c1",
        thread=None,
        version=2,
        by="x",
        to_session=into,
        merged=True,
    )


def places(window: Window) -> list[int | tuple[str, int]]:
    """Sequence numbers, those of joined sessions with their ids."""
    return [
        message.seq if message.session_id is None else (message.session_id, message.seq)
        for message in window
    ]


def texts(window: Window) -> list[str]:
    return [message.text for message in window]


def cost(window: Window) -> int:
    """What a window takes at most: a byte of UTF-8 is a token, and files go by the rule."""
    return sum(OVERHEAD + bytes_of(message.attributed) + files(message) for message in window)


def files(message: Message) -> int:
    """What the files of a message take, by the rule that is documented."""
    return sum(
        (1_600 if file.kind == "image" else 100) + bytes_of(attachment_line(file))
        for file in message.attachments
    )
