"""Why a message reached its session, what a change did, and what became of a delivery.

Tells things as they were when the message came, from the logs, and what has changed since. Reads
only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final

from .actors.core.delivery_records import NoteRecord
from .actors.core.ownership_records import OpenedRecord
from .actors.core.records import Record, address_of
from .actors.core.routing import BindingRow, IdentityRow, default_user, pair_of
from .actors.core.runtime_records import AccessRecord, ChangeRecord
from .actors.core.turn_records import (
    AssistantRecord,
    AttemptRecord,
    FailureRecord,
    InterruptedRecord,
    MissionRecord,
    QuarantinedRecord,
    SilentRecord,
    UserRecord,
)
from .actors.core.view_records import CommandRecord, SummaryRecord
from .actors.door import Refusal
from .actors.erased import load_erased
from .actors.journal import load_record, load_records, load_session_number
from .actors.ledger import LEDGER_STREAM
from .actors.messages import split_record_id
from .canonical import canonical_user_id
from .explain_changed import changed_lines
from .explain_changes import access_lines, change_lines, made_by, session_lines
from .explain_commands import command_lines
from .explain_deliveries import delivery_lines, note_lines, run_lines
from .explain_records import record_lines
from .explain_summaries import summary_lines
from .findings import Found, Reading, find_heard, find_messages, readings
from .routes import Rules, bindings_of, how_to_move, identity_then
from .storage.base import Reads
from .views import Story
from .words import counted, show_place, stamp

__all__ = ["explain", "find_refusal", "refused"]

_CHANGE: Final = "change"
_COMMAND: Final = "command/"
"""What the id of a turn begins with that was a command to the runtime."""


def explain(store: Reads, record_id: str, rules: Rules | None = None) -> Story | None:
    """The story of what `record_id` names; None if it names nothing.

    Args:
        store: one moment of it.
        record_id: a session (`s1`), a turn, a delivery or another record (`s1/3`), an entry of the
            ledger (`change/3`), or a message: `INSTANCE/CONVERSATION/MESSAGE_ID`, or its id alone.
        rules: of each instance, as they are now; then it is told what they would choose otherwise.
    """
    stream = load_session_number(store, record_id)
    if stream is not None:
        return _session(store, record_id, record_id, stream, rules or {})
    return (
        _of_record(store, record_id, rules or {})
        or _of_erased(store, record_id)
        or _of_entry(store, record_id)
        or _of_message(store, record_id, rules or {})
    )


def _session(store: Reads, story_id: str, session_id: str, stream: int, rules: Rules) -> Story:
    lines = tuple(session_lines(store, stream, session_id, rules))
    return Story(id=story_id, kind="session", lines=lines)


def _of_record(store: Reads, record_id: str, rules: Rules) -> Story | None:
    parts = split_record_id(record_id)
    stream = load_session_number(store, parts[0]) if parts is not None else None
    if parts is None or stream is None:
        return None
    session_id, seq = parts
    match load_record(store, stream, seq):
        case UserRecord() as record:
            lines = tuple(_turn_lines(store, session_id, stream, seq, record, rules))
            return Story(id=record_id, kind="turn", lines=lines)
        case AssistantRecord() as record:
            lines = tuple(delivery_lines(store, session_id, stream, seq, record))
            return Story(id=record_id, kind="delivery", lines=lines)
        case MissionRecord() as record:
            lines = (*run_lines(record), *_events(store, session_id, stream, seq))
            return Story(id=record_id, kind="run", lines=lines)
        case OpenedRecord():
            return _session(store, record_id, session_id, stream, rules)
        case record:
            return _of_aside(store, record_id, stream, record)


def _of_aside(store: Reads, record_id: str, stream: int, record: Record | None) -> Story | None:
    """Of what is neither a turn nor a delivery."""
    session_id, _, number = record_id.rpartition("/")
    match record:
        case NoteRecord():
            return Story(id=record_id, kind="note", lines=tuple(note_lines(store, record)))
        case CommandRecord():
            lines = tuple(command_lines(store, session_id, stream, int(number), record))
            return Story(id=record_id, kind="command", lines=lines)
        case SummaryRecord():
            lines = tuple(summary_lines(store, session_id, stream, int(number), record))
            return Story(id=record_id, kind="summary", lines=lines)
        case None:
            return None
        case other:
            lines = tuple(record_lines(session_id, other))
            return Story(id=record_id, kind="record", lines=lines)


def _of_erased(store: Reads, record_id: str) -> Story | None:
    """What is left to tell of a session that was deleted, or of a record of it."""
    parts = split_record_id(record_id)
    row = load_erased(store, parts[0] if parts is not None else record_id)
    if row is None:
        return None
    left = f"none of its {counted(row.records, 'record')} is left"
    line = f"{stamp(row.at_us)}  {row.session_id} was deleted by the {row.by}: {left}"
    return Story(id=record_id, kind="session", lines=(line,))


def _of_entry(store: Reads, record_id: str) -> Story | None:
    parts = split_record_id(record_id)
    if parts is None or parts[0] != _CHANGE:
        return None
    match load_record(store, LEDGER_STREAM, parts[1]):
        case ChangeRecord() as record:
            return Story(
                id=record_id, kind="change", lines=tuple(change_lines(store, parts[1], record))
            )
        case AccessRecord() as record:
            return Story(id=record_id, kind="change", lines=tuple(access_lines(record)))
        case _:
            return None


# -- messages, by the platform's id ----------------------------------------------------------------


def _of_message(store: Reads, message: str, rules: Rules) -> Story | None:
    if message.startswith(_COMMAND):
        try:
            found = find_heard(store, bytes.fromhex(message.removeprefix(_COMMAND)))
        except ValueError:
            found = []
    else:
        found = find_messages(store, message)
    match found:
        case []:
            return None
        case [Found(session_id="")]:
            line = "it was a command to the runtime: no session heard it, and no log holds it"
            return Story(id=message, kind="command", lines=(line,))
        case [one]:
            return _of_record(store, f"{one.session_id}/{one.seq}", rules)
        case several:
            lines = sorted(filter(None, map(partial(_listed, store), several)))
            return Story(id=message, kind="messages", lines=tuple(lines))


def _listed(store: Reads, found: Found) -> str | None:
    """One of several messages that have an id."""
    stream = load_session_number(store, found.session_id)
    record = load_record(store, stream, found.seq) if stream is not None else None
    if not isinstance(record, UserRecord | CommandRecord):
        return None
    place = show_place(address_of(record))
    what = "turn" if isinstance(record, UserRecord) else "command"
    return f"{stamp(record.at_us)}  in {place} it is {what} {found.session_id}/{found.seq}"


def refused(refusal: Refusal) -> Story:
    """The story of a message that was not let in."""
    place, came = refusal.address, stamp(refusal.at_us)
    wrote = f"wrote message {refusal.message_id!r} in {show_place(place)}"
    return Story(
        id=f"{place.instance}/{place.conversation}/{refusal.message_id}",
        kind="refusal",
        lines=(
            f"{came}  {refusal.platform} user {refusal.user_id!r} {wrote}",
            f"{came}  it was not let in, and nothing of it was stored: {refusal.rule}",
        ),
    )


def find_refusal(refusals: Iterable[Refusal], message: str) -> Refusal | None:
    """The newest refusal of a message, which is named as for :func:`explain`."""
    meant = readings(message)
    newest: Refusal | None = None
    for refusal in refusals:
        where = refusal.address
        named = Reading(where.instance, where.conversation, refusal.message_id)
        if refusal.message_id == message or named in meant:
            newest = refusal
    return newest


# -- turns ---------------------------------------------------------------------------------------


def _turn_lines(
    store: Reads, session_id: str, stream: int, seq: int, record: UserRecord, rules: Rules
) -> Iterator[str]:
    came = stamp(record.at_us)
    wrote = f"wrote message {record.message_id!r} in {show_place(address_of(record))}"
    yield f"{came}  {record.platform} user {record.user_id!r} {wrote}"
    yield from (f"{came}  {line}" for line in _who_lines(store, record))
    bound, now = _bindings(store, session_id, record)
    if bound is not None:
        belongs = "belongs" if bound == now else "belonged"
        yield f"{stamp(bound.at_us)}  that conversation {belongs} to {_owner(store, bound)}"
    yield f"{came}  accepted as {session_id}/{seq}"
    yield from _events(store, session_id, stream, seq)
    yield from changed_lines(store, session_id, stream, seq)
    if now is not None and now != bound:
        yield f"{stamp(now.at_us)}  since then that conversation has moved to {_owner(store, now)}"
    if now is not None and (moves := how_to_move(store, now, rules)) is not None:
        yield f"that conversation is pinned to {now.session_id}: {moves}"


def _who_lines(store: Reads, record: UserRecord) -> Iterator[str]:
    """Who the speaker was when the message came."""
    try:
        user_id = canonical_user_id(record.platform, record.user_id)
    except ValueError:
        return
    find = partial(_then, store, record.at_us)
    identity = find(record.platform, user_id)
    if identity.user is not None:
        yield f"{default_user(record.platform, user_id)} was linked to {identity.user} then"
    paired = pair_of(identity, find)
    if paired is not None:
        yield f"{default_user(record.platform, user_id)} was paired with {paired} then"


def _then(store: Reads, at_us: int, platform: str, user_id: str) -> IdentityRow:
    return identity_then(store, platform, user_id, at_us)


def _bindings(
    store: Reads, session_id: str, record: UserRecord
) -> tuple[BindingRow | None, BindingRow | None]:
    """The binding by which a message came to its session, and that of now."""
    place = address_of(record)
    rows = bindings_of(store, place) if place is not None else []
    theirs = [row for row in rows if row.session_id == session_id]
    before = [row for row in theirs if row.at_us <= record.at_us]
    # A clock may have been set back: then the first stay there is the best guess.
    bound = before[-1] if before else next(iter(theirs), None)
    return bound, rows[-1] if rows else None


def _owner(store: Reads, row: BindingRow) -> str:
    before, change = "", ""
    if row.from_session is not None:
        before = f", before that to {row.from_session}"
        change = made_by(store, row.at_us, row.by)
    return f"{row.session_id}{before} (binding {row.version}, made by: {row.by}{change})"


def _events(store: Reads, session_id: str, stream: int, seq: int) -> Iterator[str]:
    """What became of the turn."""
    for number, later in load_records(store, stream, seq + 1):
        if getattr(later, "turn_seq", None) != seq:
            continue
        yield f"{stamp(later.at_us)}  {_event(session_id, number, later)}"
        if isinstance(later, AssistantRecord | SilentRecord | QuarantinedRecord):
            return
    yield "the turn is open"


def _event(session_id: str, seq: int, record: Record) -> str:
    match record:
        case AssistantRecord():
            return f"answered; the reply is delivery {session_id}/{seq}"
        case SilentRecord():
            return "the agent ended it in silence"
        case AttemptRecord():
            return f"attempt {record.attempt} began"
        case InterruptedRecord():
            return "interrupted by a stopping runtime; the attempt does not count"
        case FailureRecord():
            return f"attempt {record.attempt} failed: {record.error}"
        case QuarantinedRecord():
            return f"quarantined after {counted(record.attempts, 'attempt')}: {record.error}"
        case _:
            return record.kind
