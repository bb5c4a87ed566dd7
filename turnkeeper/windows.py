"""The context window, read from the logs: a session's own, and those that have joined it."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import Final

from .actors.core.head import Head
from .actors.core.records import (
    AssistantRecord,
    MissionRecord,
    Record,
    ToolRecord,
    UserRecord,
)
from .actors.core.window import Hidden, Message, Stretch, build_window, text_chars
from .actors.journal import load_head, load_records, load_session_number
from .storage.base import Reads

__all__ = ["read_window"]

_NEWEST: Final = 2_000
"""Most messages of a window."""


def read_window(
    store: Reads,
    stream: int,
    max_chars: int | None,
    current: tuple[int, UserRecord | MissionRecord] | None = None,
) -> tuple[Message, ...]:
    """The newest part of a session's context, oldest first.

    Args:
        store: where the logs are.
        stream: number of the session.
        max_chars: characters that fit, the current turn's included; None for everything.
        current: sequence number and record of the turn that the window is for; None between turns.
    """
    head = load_head(store, stream)
    if head is None:
        return ()
    turn_seq = current[0] if current is not None else 0
    joined = _joined(store, head)
    kept: dict[int, list[tuple[int, Record]]] = {stream: []}
    room = float("inf") if max_chars is None else max_chars
    left = float("inf") if max_chars is None else _NEWEST
    if current is not None:
        room -= text_chars(current[1])
    for number, seq, record in _newest_first(store, (stream, *joined)):
        if number == stream and turn_seq and _waits(seq, record, turn_seq):
            continue
        room -= text_chars(record)
        if room < 0 or left <= 0:
            break
        left -= 1
        kept.setdefault(number, []).append((seq, record))
    own = kept.pop(stream)[::-1]
    if current is not None:
        own.append(current)
    earlier = [
        Stretch(joined[number].session_id, records[::-1], _hidden(joined[number]))
        for number, records in kept.items()
    ]
    return build_window([*earlier, Stretch(None, own, _hidden(head))], turn_seq)


def _joined(store: Reads, head: Head) -> dict[int, Head]:
    """The earlier sessions that go on inside this one: number and head of each.

    One that has got a conversation of its own again goes on by itself, and whatever is said there
    from then on is for nobody else.
    """
    heads = ((number, load_head(store, number)) for number, _ in head.joined or ())
    return {
        number: earlier
        for number, earlier in heads
        if earlier is not None and _goes_on_in(store, earlier, head.session_id)
    }


def _goes_on_in(store: Reads, earlier: Head, session_id: str) -> bool:
    passed: set[str] = set()
    while (following := earlier.merged_into) is not None and following not in passed:
        if following == session_id:
            return True
        passed.add(following)
        stream = load_session_number(store, following)
        through = load_head(store, stream) if stream is not None else None
        if through is None:
            return False
        earlier = through
    return False


def _hidden(head: Head) -> tuple[Hidden, ...]:
    return tuple(Hidden(*entry) for entry in head.hidden or ())


def _waits(seq: int, record: Record, turn_seq: int) -> bool:
    """Whether a record is the current turn, which comes last, or waits for its own."""
    return seq == turn_seq or (seq > turn_seq and isinstance(record, UserRecord))


def _newest_first(store: Reads, streams: Sequence[int]) -> Iterator[tuple[int, int, Record]]:
    """What was said in a session and in those that have joined it, with where it stands."""
    logs = [_said(store, stream) for stream in streams]
    if len(logs) == 1:
        return logs[0]
    return heapq.merge(*logs, key=lambda entry: entry[2].at_us, reverse=True)


def _said(store: Reads, stream: int) -> Iterator[tuple[int, int, Record]]:
    for seq, record in load_records(store, stream, reverse=True):
        if isinstance(record, UserRecord | AssistantRecord | ToolRecord):
            yield stream, seq, record
