"""What the agent sees of a session: its messages, oldest first, the current turn last.

The log is in the order of arrival; a conversation reads in the order of its turns. A reply stands
behind the message that it answers even if the human wrote again meanwhile, and messages that wait
for their own turn are not shown before it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from ..frozen import message
from .records import AssistantRecord, Record, ToolRecord, UserRecord

__all__ = ["Message", "build_window", "text_chars"]


@message
class Message:
    """One entry of the context window."""

    role: Literal["user", "assistant", "tool"]
    kind: str
    """Kind of the record that it comes from."""
    text: str
    seq: int
    """The record's sequence number."""
    at_us: int
    instance: str | None = None
    """Where it was said."""
    conversation: str | None = None


def build_window(records: Iterable[tuple[int, Record]], turn_seq: int) -> tuple[Message, ...]:
    """The window for the turn of user record `turn_seq`.

    Args:
        records: a stretch of the session's log that ends at or after that record, ascending.
        turn_seq: the current turn; 0 for the window as it stands between turns.
    """
    placed: list[tuple[int, int, Message]] = []
    for seq, record in records:
        match record:
            case UserRecord() if not turn_seq or seq <= turn_seq:
                place = seq
                message = Message(
                    role="user",
                    kind=record.kind,
                    text=record.text,
                    seq=seq,
                    at_us=record.at_us,
                    instance=record.instance,
                    conversation=record.conversation,
                )
            case AssistantRecord():
                place = record.turn_seq or seq
                message = Message(
                    role="assistant",
                    kind=record.kind,
                    text=record.text,
                    seq=seq,
                    at_us=record.at_us,
                    instance=record.instance,
                    conversation=record.conversation,
                )
            case ToolRecord():
                place = record.turn_seq
                message = Message(
                    role="tool",
                    kind=record.kind,
                    text=f"{record.name}({record.arguments}) -> {record.result}",
                    seq=seq,
                    at_us=record.at_us,
                )
            case _:
                continue
        placed.append((1 if seq == turn_seq else 0, place, message))
    placed.sort(key=lambda entry: (entry[0], entry[1], entry[2].seq))
    return tuple(message for _, _, message in placed)


def text_chars(record: Record) -> int:
    """How many characters of a window `record` takes."""
    match record:
        case UserRecord() | AssistantRecord():
            return len(record.text)
        case ToolRecord():
            return len(record.name) + len(record.arguments) + len(record.result)
        case _:
            return 0
