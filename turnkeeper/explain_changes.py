"""What has belonged to a session, and what a change did: the lines of their stories. Reads only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from .actors.core.ownership_records import (
    ActiveRecord,
    BoundRecord,
    HiddenRecord,
    KeyedRecord,
    LinkedRecord,
    OpenedRecord,
    ReleasedRecord,
    UnlinkedRecord,
)
from .actors.core.records import Record, address_of
from .actors.core.routing import default_user
from .actors.core.runtime_records import AccessRecord, ChangeRecord
from .actors.journal import load_head, load_records, load_session_number
from .actors.ledger import StoreWorld, changes_since
from .actors.messages import Address, Instance
from .routes import Rules, change_made, how_to_move, records_at
from .storage.base import Reads
from .words import show_key, show_place, stamp, text_of

__all__ = ["access_lines", "change_lines", "made_by", "session_lines"]

_ASKERS: Final = {
    "operator": "the operator",
    "program": "the program",
    "config": "the configuration",
    "code": "the human concerned, with a code",
    "resolver": "the identity resolver",
}


def made_by(store: Reads, at_us: int, text: str) -> str:
    """The change that was made at that time in those words, as `, change 3 by the operator`."""
    made = change_made(store, at_us, text)
    return f", change {made[0]} by {_ASKERS.get(made[1].by, made[1].by)}" if made else ""


# -- sessions ------------------------------------------------------------------------------------


def session_lines(store: Reads, stream: int, session_id: str, rules: Rules) -> Iterator[str]:
    """What has belonged to a session, and where it goes on."""
    for _, record in load_records(store, stream):
        if isinstance(record, OpenedRecord):
            opened = f"session {session_id} opened for agent {record.agent!r} by: {record.by}"
            yield f"{stamp(record.at_us)}  {opened}"
        elif text := _of_session(store, record):
            yield f"{stamp(record.at_us)}  {text}"
    head = load_head(store, stream)
    if head is not None and head.merged_into is not None:
        yield f"it owns nothing any more, and goes on in {head.merged_into}"
    for row in StoreWorld(store, 0).places_of_session(stream):
        if moves := how_to_move(store, row, rules):
            yield f"{show_place(row.address)} is pinned here: {moves}"


def _of_session(store: Reads, record: Record) -> str:
    match record:
        case BoundRecord():
            moved = record.from_session is not None
            before = f", before that {record.from_session}" if moved else ""
            change = made_by(store, record.at_us, record.by) if moved else ""
            made = f"binding {record.version}, made by: {record.by}{change}"
            return f"owns {show_place(address_of(record))}{before} ({made})"
        case ReleasedRecord():
            change = made_by(store, record.at_us, record.by)
            made = f"binding {record.version}, made by: {record.by}{change}"
            place = show_place(address_of(record))
            return f"{place} belongs to {record.to_session} from here on ({made})"
        case LinkedRecord() | UnlinkedRecord():
            return f"{text_of(record)}, change {record.number}"
        case ActiveRecord(instance=None):
            return f"it has no active channel any more ({record.by})"
        case ActiveRecord(conversation=None):
            return f"it is meant to speak on {record.instance}, and nobody is there ({record.by})"
        case ActiveRecord():
            return f"its active channel is {show_place(address_of(record))} ({record.by})"
        case KeyedRecord() | HiddenRecord():
            return text_of(record)
        case _:
            return ""


# -- changes -------------------------------------------------------------------------------------


def change_lines(store: Reads, number: int, change: ChangeRecord) -> Iterator[str]:
    """What a change did, and whether it was taken back."""
    by = _ASKERS.get(change.by, change.by)
    yield f"{stamp(change.at_us)}  {change.act} by {by}: {change.text}"
    for platform, user_id, before, after in change.identities:
        yield f"{default_user(platform, user_id)} was {_state(before)}, and is {_state(after)}"
    for instance, conversation, thread, was, now, version, _ in change.moves:
        place = show_place(Address(Instance(instance), conversation, thread))
        yield f"{place} went from {was} to {now} (binding {version})"
    for key, was, now in change.keys:
        yield f"{now or 'nobody'} serves {show_key(key)}, and {was or 'nobody'} did before"
    yield from _joined(store, number, change)
    for session_id, was, now in change.actives:
        yield f"the active channel of {session_id} is {_place(now)}, and was {_place(was)}"
    for later, other in changes_since(store, number + 1):
        if other.undoes == number:
            yield f"{stamp(other.at_us)}  taken back by change {later}"


def _state(state: Sequence[Any]) -> str:
    user, session_id, paired_by = state[:3]
    parts = [str(user)] if user is not None else []
    if session_id is not None:
        parts.append(f"paired with {session_id} by {_ASKERS.get(paired_by, paired_by)}")
    return " and ".join(parts) or "itself"


def _place(place: Sequence[Any] | None) -> str:
    return show_place(Address(Instance(place[0]), place[1], place[2])) if place else "none"


def _joined(store: Reads, number: int, change: ChangeRecord) -> Iterator[str]:
    """Histories that joined a context, or left one, as the sessions concerned wrote it down."""
    concerned = [session_id for move in change.moves for session_id in move[3:5]]
    for session_id in dict.fromkeys(concerned):
        stream = load_session_number(store, session_id)
        if stream is None:
            continue
        for _, record in records_at(store, stream, change.at_us):
            match record:
                case LinkedRecord(number=made) | UnlinkedRecord(number=made) if made == number:
                    joined = "joined" if isinstance(record, LinkedRecord) else "left"
                    yield f"the history of {record.session_id} {joined} the context of {session_id}"
                case HiddenRecord(number=made) if made == number:
                    yield f"in {session_id}, {text_of(record)}"
                case _:
                    pass


def access_lines(record: AccessRecord) -> Iterator[str]:
    """What was decided about who may talk."""
    who = f"{record.user_id} ({record.user_name!r})" if record.user_name else record.user_id
    by = _ASKERS.get(record.by, record.by)
    yield f"{stamp(record.at_us)}  {who} was {record.standing} at {record.instance} by {by}"
