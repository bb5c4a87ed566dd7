"""What can be seen of a store: sessions, histories, bindings, deliveries.

Reads only, over any `Reads`: the same answers come from a live runtime and from a store at rest.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from .actors.core.routing import BindingRow, read_binding
from .actors.core.runtime_records import FeedRecord
from .actors.core.window import Message
from .actors.frozen import message
from .actors.journal import FEED_STREAM, load_binding, load_records, load_session_number
from .actors.ledger import pages
from .actors.messages import Address
from .actors.windows import read_window
from .histories import HistoryRecord, history
from .session_views import (
    SessionInfo,
    heads,
    info_of,
    newest_sessions,
    open_sessions,
    session_info,
    sessions,
)
from .storage.base import Reads, Table
from .storage.codec import decode
from .words import time_of

__all__ = [
    "Binding",
    "DeliveryInfo",
    "FeedEntry",
    "HistoryRecord",
    "SessionInfo",
    "Story",
    "binding",
    "binding_of",
    "bindings",
    "feed",
    "heads",
    "history",
    "info_of",
    "newest_sessions",
    "open_sessions",
    "pages",
    "session_info",
    "sessions",
    "time_of",
    "window",
]


@message
class Binding:
    """A conversation and its owner."""

    instance: str
    conversation: str
    thread: str | None
    session_id: str
    version: int
    platform: str
    guild: str | None
    direct: bool
    since: datetime
    by: str
    """What made it: a rule or an operator's act."""
    user_id: str | None = None
    """Of a direct conversation: whose it is."""
    scope: str = "place"
    """How the session was chosen: `user`, `main`, `place`, `conversation`, `guild` or `manual`."""
    from_session: str | None = None
    """The session that owned the conversation before, if any."""


@message
class DeliveryInfo:
    """One delivery, and what became of it."""

    delivery_id: str
    session_id: str
    to: Address | None
    """None for the feed."""
    status: str
    """`delivered`, `rendered`, `failed`, `retrying`, `unknown`, `sending` or `waiting`."""
    reason: str | None
    attempts: int
    platform_message_id: str | None
    asked: datetime
    updated: datetime
    text: str
    parts: tuple[str, ...] = ()
    """The platform's ids of what has arrived, of a message that takes several."""
    note: str | None = None
    """Where the note of it is, `session/number`, if another session owns the conversation."""
    receipt: str | None = None
    """What the platform has told later: `delivered`, `read` or `failed`."""
    nobody_at: str | None = None
    """The instance where it was meant to go, and nobody was to address."""


@message
class FeedEntry:
    """Something that was shown in the console feed."""

    at: datetime
    session_id: str
    delivery_id: str
    text: str


@message
class Story:
    """Why a message went where it went, or what became of something: lines, oldest first."""

    id: str
    kind: Literal[
        "turn",
        "run",
        "delivery",
        "note",
        "summary",
        "session",
        "change",
        "command",
        "refusal",
        "messages",
        "record",
    ]
    """`refusal`: a message that was not let in. `messages`: several that have this id.
    `record`: any other record of a session."""
    lines: tuple[str, ...]


def window(store: Reads, session_id: str) -> tuple[Message, ...] | None:
    """The context of a session between turns; None if there is no such session."""
    stream = load_session_number(store, session_id)
    return read_window(store, stream, None) if stream is not None else None


def feed(store: Reads, limit: int = 200) -> list[FeedEntry]:
    """The newest entries of the console feed, oldest first."""
    newest: list[FeedEntry] = []
    for _, record in load_records(store, FEED_STREAM, reverse=True):
        if len(newest) == limit:
            break
        if isinstance(record, FeedRecord):
            newest.append(
                FeedEntry(
                    at=time_of(record.at_us),
                    session_id=record.session_id,
                    delivery_id=record.delivery_id,
                    text=record.text,
                )
            )
    return newest[::-1]


# -- bindings ------------------------------------------------------------------------------------


def binding_of(row: BindingRow) -> Binding:
    """A stored binding, as it is shown."""
    return Binding(
        instance=row.instance,
        conversation=row.conversation,
        thread=row.thread,
        session_id=row.session_id,
        version=row.version,
        platform=row.platform,
        guild=row.guild,
        direct=row.direct,
        since=time_of(row.at_us),
        by=row.by,
        user_id=row.user_id,
        scope=row.scope,
        from_session=row.from_session,
    )


def binding(store: Reads, place: Address) -> Binding | None:
    """Who owns `place`; None if nobody does."""
    row = load_binding(store, place)
    return binding_of(row) if row is not None else None


def bindings(store: Reads) -> list[Binding]:
    """Every binding, by instance, conversation and thread."""
    found: list[Binding] = []
    for page in pages(store, Table.BINDINGS):
        found.extend(binding_of(read_binding(decode(data))) for _, data in page)
    return sorted(found, key=lambda b: (b.instance, b.conversation, b.thread or ""))
