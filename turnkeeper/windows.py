"""The context window, read from the logs: a session's own, and those that have joined it."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from .actors.core.head import Head
from .actors.core.records import (
    AssistantRecord,
    MissionRecord,
    NoteRecord,
    ReceiptRecord,
    Record,
    UserRecord,
)
from .actors.core.turns import TOLD, in_context
from .actors.core.veil import Hidden
from .actors.core.window import Message, Stretch, build_window, text_chars
from .actors.journal import find_session, load_head, load_record, load_records
from .storage.base import Reads

__all__ = ["read_window"]

_NEWEST: Final = 2_000
"""Most messages of a window."""


class _Earlier(NamedTuple):
    """A session that goes on inside another."""

    head: Head
    since_us: int
    """When the context that it is part of began anew for the last time; 0 if it never did."""


def read_window(
    store: Reads,
    stream: int,
    max_chars: int | None,
    current: tuple[int, UserRecord | MissionRecord] | None = None,
) -> tuple[Message, ...]:
    """The newest part of a session's context, oldest first.

    Where there is no room to look back to the last turn before a marker, a note is shown that this
    turn may have seen: better twice than never.

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
    joined = _joined(store, stream, head)
    kept: dict[int, list[tuple[int, Record]]] = {stream: []}
    room = float("inf") if max_chars is None else max_chars
    left = float("inf") if max_chars is None else _NEWEST
    if current is not None:
        room -= text_chars(current[1])
    family = {head.session_id, *(earlier.head.session_id for earlier in joined.values())}
    since = {stream: 0, **{number: earlier.since_us for number, earlier in joined.items()}}
    for number, seq, record in _newest_first(store, since):
        if number == stream and turn_seq and _waits(seq, record, turn_seq):
            continue
        if isinstance(record, NoteRecord) and record.session_id in family:
            continue  # what one of these sessions said is shown as what it said
        room -= text_chars(record)
        left -= isinstance(record, TOLD)
        if room < 0 or left < 0:
            break
        kept.setdefault(number, []).append((seq, record))
    own = kept.pop(stream)[::-1]
    if current is not None:
        own.append(current)
    stretches = [
        Stretch(
            joined[number].head.session_id,
            records[::-1],
            _hidden(joined[number].head),
            joined[number].since_us,
            _quoted(store, number, records),
        )
        for number, records in kept.items()
    ]
    stretches.append(Stretch(None, own, _hidden(head), quoted=_quoted(store, stream, own)))
    return build_window(stretches, turn_seq, head.session_id)


def _joined(store: Reads, stream: int, head: Head) -> dict[int, _Earlier]:
    """The earlier sessions that go on inside this one, by their numbers.

    One that has got a conversation of its own again goes on by itself, and whatever is said there
    from then on is for nobody else.
    """
    own_us = _cleared_us(store, stream, head)
    found: dict[int, _Earlier] = {}
    for number, _ in head.joined or ():
        earlier = load_head(store, number)
        since_us = _goes_on_since(store, earlier, head.session_id) if earlier is not None else None
        if earlier is not None and since_us is not None:
            found[number] = _Earlier(earlier, max(own_us, since_us))
    return found


def _goes_on_since(store: Reads, earlier: Head, session_id: str) -> int | None:
    """The last time that a session between these two was cleared; None if it does not go on."""
    passed: set[str] = set()
    since_us = 0
    while (following := earlier.merged_into) is not None and following not in passed:
        if following == session_id:
            return since_us
        passed.add(following)
        through = find_session(store, following)
        if through is None:
            return None
        since_us = max(since_us, _cleared_us(store, *through))
        earlier = through[1]
    return None


def _cleared_us(store: Reads, stream: int, head: Head) -> int:
    """When the context of a session began anew; 0 if it never did."""
    marker = load_record(store, stream, head.cleared) if head.cleared else None
    return marker.at_us if marker is not None else 0


def _hidden(head: Head) -> tuple[Hidden, ...]:
    return tuple(Hidden(*entry) for entry in head.hidden or ())


def _quoted(
    store: Reads, stream: int, records: Sequence[tuple[int, Record]]
) -> dict[int, AssistantRecord]:
    """What the receipts among `records` speak of, where it is not among them."""
    here = {seq for seq, record in records if isinstance(record, AssistantRecord)}
    wanted = {
        record.delivery_seq
        for _, record in records
        if isinstance(record, ReceiptRecord) and record.delivery_seq not in here
    }
    found = ((seq, load_record(store, stream, seq)) for seq in wanted)
    return {seq: record for seq, record in found if isinstance(record, AssistantRecord)}


def _waits(seq: int, record: Record, turn_seq: int) -> bool:
    """Whether a record is the current turn, which comes last, or waits for its own."""
    return seq == turn_seq or (seq > turn_seq and isinstance(record, UserRecord | MissionRecord))


def _newest_first(store: Reads, since: Mapping[int, int]) -> Iterator[tuple[int, int, Record]]:
    """What windows are made of in some logs, back to a time each, with where it stands."""
    logs = [_told(store, stream, since_us) for stream, since_us in since.items()]
    if len(logs) == 1:
        return logs[0]
    return heapq.merge(*logs, key=lambda entry: entry[2].at_us, reverse=True)


def _told(store: Reads, stream: int, since_us: int) -> Iterator[tuple[int, int, Record]]:
    for seq, record in in_context(load_records(store, stream, reverse=True), since_us):
        yield stream, seq, record
