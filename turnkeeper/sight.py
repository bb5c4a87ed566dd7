"""What an agent may see of other sessions, from inside a turn."""

from __future__ import annotations

from typing import Final

from .actors.core.head import Head
from .actors.core.ownership_records import BoundRecord
from .actors.core.turn_records import UserRecord
from .actors.core.window import Message
from .actors.frozen import message
from .actors.journal import (
    find_session,
    load_records,
    read_note_row,
)
from .actors.ledger import starting_with
from .actors.usage import load_usage
from .actors.windows import read_window
from .outlook import Outlook, resting_outlook
from .storage.base import Reads, Table
from .storage.codec import decode
from .storage.keys import number_key
from .views import SessionInfo, info_of

__all__ = ["SessionDetails", "session_details"]


_OF_HUMANS: Final = (BoundRecord, UserRecord)


@message
class SessionDetails(SessionInfo):
    """A session, and what was said in it."""

    messages: tuple[Message, ...] = ()
    """Its context, oldest first."""


def session_details(
    store: Reads, viewer: str, session_id: str, outlook: Outlook | None = None
) -> SessionDetails | None:
    """The session called `session_id`, if the session `viewer` may see it, else None.

    It may see itself and what has joined it. Of another, it may see one of the same agent that has
    never owned a conversation and has spoken in one of the viewer's: a mission's. What another
    human says, or has said before their conversation went elsewhere, is for nobody else. Without an
    outlook it is shown as the newest runtime on the store would show it now.
    """
    found, own = find_session(store, session_id), find_session(store, viewer)
    if found is None or own is None:
        return None
    (stream, head), (_, seen_by) = found, own
    family = {viewer, *(earlier for _, earlier in seen_by.joined or ())}
    if session_id not in family and not _has_spoken_to(store, stream, head, seen_by, family):
        return None
    info = info_of(head, load_usage(store, stream), outlook or resting_outlook(store))
    fields = {name: getattr(info, name) for name in SessionInfo.__dataclass_fields__}
    return SessionDetails(**fields, messages=read_window(store, stream, None))


def _has_spoken_to(store: Reads, stream: int, head: Head, viewer: Head, family: set[str]) -> bool:
    if head.agent != viewer.agent:
        return False
    if any(isinstance(record, _OF_HUMANS) for _, record in load_records(store, stream)):
        return False
    notes = starting_with(store, Table.NOTES, number_key(stream))
    return any(read_note_row(decode(data))[0] in family for _, data in notes)
