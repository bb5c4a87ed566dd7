"""Whether a summary can be what it says: of something that was over, and that was there.

Who wrote its text, and whether that is true, nobody can tell from the log. What it stands for can
be told: one that claims more hides from the agent what nobody has summarised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

from .actors.core.head import Head
from .actors.core.records import Record
from .actors.core.turn_records import MissionRecord, UserRecord
from .actors.core.view_records import SummaryRecord
from .actors.journal import load_record
from .storage.base import Reads
from .storage.errors import CorruptRecord, RecordFromFuture
from .verify_rows import Problem

__all__ = ["check_summary", "faults_of", "is_summary"]


def is_summary(record: SummaryRecord) -> bool:
    """Whether every field is of its type, so that the record can be followed at all."""
    numbers = (
        record.at_us,
        record.through,
        record.asides,
        record.tokens,
        record.covered_tokens,
        record.covered_bound,
        record.covered_messages,
        record.previous,
        record.for_turn,
    )
    others = cast("object", record.others)
    return (
        all(type(number) is int for number in numbers)
        and type(record.text) is str
        and type(record.by) is str
        and (record.fault is None or type(record.fault) is str)
        and isinstance(others, list | tuple)
        and all(map(_is_other, cast("list[object]", others)))
    )


def _is_other(entry: object) -> bool:
    if not isinstance(entry, list | tuple):
        return False
    numbers = cast("list[object]", entry)
    return len(numbers) == 4 and all(type(number) is int for number in numbers)


def check_summary(
    reads: Reads, stream: int, seq: int, record: SummaryRecord, before: Head
) -> Iterator[Problem]:
    """What is wrong with a summary.

    Args:
        reads: the frozen moment.
        stream: number of the session.
        seq: where the summary is.
        record: the summary, for which :func:`is_summary` holds.
        before: what the log in front of it comes to.
    """
    place = f"log {stream}/{seq}"
    for text in faults_of(seq, record, before, lambda at: _kind(reads, stream, at)):
        yield Problem(place=place, text=f"a summary that {text}")


def faults_of(
    seq: int, record: SummaryRecord, before: Head, kind_of: Callable[[int], type[Record] | None]
) -> Iterator[str]:
    """What a summary claims that cannot be: the rest of "a summary that …".

    Args:
        seq: where it is.
        record: the summary, for which :func:`is_summary` holds.
        before: what the log in front of it comes to.
        kind_of: the type of an earlier record of its log; None where there is none.
    """
    if not record.text or record.text.isspace():
        yield "says nothing"
    if record.tokens < 1 or record.covered_tokens < 1:
        yield f"has {record.tokens} tokens, for {record.covered_tokens}"
    if not 0 <= record.through <= before.settled:
        over = f"turn {before.settled} was the last that was over"
        yield f"stands for turns up to {record.through}, when {over}"
    elif record.through and not _is_turn(kind_of(record.through)):
        yield f"stands for turns up to {record.through}, which is no turn"
    if not 0 <= record.asides < seq:
        yield f"stands for what belongs to no turn up to {record.asides}, which comes later"
    if record.previous and not (
        0 < record.previous < seq and kind_of(record.previous) is SummaryRecord
    ):
        yield f"folds in {record.previous}, which is no earlier summary"
    if record.for_turn and not 0 < record.for_turn < seq:
        yield f"was waited for by {record.for_turn}, which comes later"
    elif record.for_turn and not _is_turn(kind_of(record.for_turn)):
        yield f"was waited for by {record.for_turn}, which is no turn"
    yield from _too_much(record, before)
    joined = {number for number, _ in before.joined or ()}
    for number, through, asides, hidden in record.others:
        if number not in joined:
            yield f"stands for log {number}, which had not joined"
        elif min(through, asides, hidden) < 0:
            yield f"stands for {through}, {asides} and {hidden} of log {number}"


def _too_much(record: SummaryRecord, before: Head) -> Iterator[str]:
    """Whether it stands for more than there was in its own log."""
    void = record.previous != before.summary  # then what that one had covered counts again
    tokens = before.context_bound + (before.covered_bound if void else 0)
    messages = before.context_messages + (before.covered_messages if void else 0)
    if not 0 <= record.covered_messages <= messages:
        yield f"stands for {record.covered_messages} messages, when there were {messages}"
    if not 0 <= record.covered_bound <= tokens:
        yield f"stands for up to {record.covered_bound} tokens, when there were {tokens}"


def _is_turn(kind: type[Record] | None) -> bool:
    return kind is UserRecord or kind is MissionRecord


def _kind(reads: Reads, stream: int, seq: int) -> type[Record] | None:
    try:
        record = load_record(reads, stream, seq)
    except (CorruptRecord, RecordFromFuture):
        return None  # told where it is read
    return type(record) if record is not None else None
