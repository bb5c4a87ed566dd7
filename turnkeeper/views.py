"""What can be seen of a store: sessions, histories, bindings, deliveries.

Reads only, over any `Reads`: the same answers come from a live runtime and from a store at rest.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, Final, Literal

from .actors.core.head import Head, read_head
from .actors.core.records import (
    ActiveRecord,
    AssistantRecord,
    BoundRecord,
    FeedRecord,
    MalformedRecord,
    NoteRecord,
    Record,
    ReleasedRecord,
    ReopenedRecord,
    UserRecord,
    address_of,
)
from .actors.core.routing import BindingRow, read_binding
from .actors.core.shown import Source, source_of
from .actors.core.window import Message
from .actors.frozen import message
from .actors.journal import (
    FEED_STREAM,
    find_session,
    load_binding,
    load_records,
    load_session_number,
)
from .actors.ledger import pages
from .actors.messages import Address, SessionId
from .actors.windows import read_window
from .collector import collector_paused
from .storage.base import Reads, Table
from .storage.codec import decode, decode_all
from .storage.errors import StorageError
from .words import text_of

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
    "open_sessions",
    "pages",
    "session_info",
    "sessions",
    "time_of",
    "window",
]

logger = logging.getLogger("turnkeeper")


@message
class SessionInfo:
    """One session."""

    id: str
    state: Literal["active", "idle"]
    """`active` while a turn is open, else `idle`."""
    agent: str
    active_channel: Address | None
    """Where its proactive messages go."""
    opened: datetime
    last_active: datetime
    """When a human last wrote."""
    records: int
    """How many records its log holds."""
    open_turns: int
    open_deliveries: int
    context_tokens: int
    """Size of the context; an estimate, until it is large enough to be counted."""
    joined: tuple[str, ...] = ()
    """Earlier sessions whose histories are part of its context."""
    merged_into: str | None = None
    """The session that it goes on in, if it owns no conversation any more."""


@message
class HistoryRecord:
    """One record of a session's log."""

    seq: int
    kind: str
    text: str
    at: datetime
    conversation: Address | None
    """Where it was said."""
    source: Source | None = None
    """Of a note: who said it, and as which delivery; None for everything else."""
    detail: dict[str, Any] | None = None
    """Everything else that the record holds."""


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
        "turn", "run", "delivery", "note", "session", "change", "command", "refusal", "messages"
    ]
    """`refusal`: a message that was not let in. `messages`: several that have this id."""
    lines: tuple[str, ...]


def time_of(at_us: int) -> datetime:
    """The moment `at_us` microseconds after the Unix epoch, UTC."""
    return datetime.fromtimestamp(at_us / 1e6, UTC)  # exact to the microsecond until 2106


# -- sessions ------------------------------------------------------------------------------------


def info_of(head: Head) -> SessionInfo:
    """What a head tells of its session."""
    return SessionInfo(
        id=head.session_id,
        state="active" if head.open_turns else "idle",
        agent=head.agent,
        active_channel=head.active_channel,
        opened=time_of(head.opened_at_us),
        last_active=time_of(head.last_active_us),
        records=head.next_seq - 1,
        open_turns=head.open_turns,
        open_deliveries=head.open_deliveries,
        context_tokens=head.context_bound // 4,
        joined=tuple(earlier for _, earlier in head.joined or ()),
        merged_into=head.merged_into,
    )


def heads(store: Reads) -> Iterator[tuple[int, Head]]:
    """Number and head of every session, in the order in which they were opened."""
    for page in pages(store, Table.HEADS):
        for key, data in page:
            yield int.from_bytes(key, "big"), read_head(decode(data))


def sessions(store: Reads) -> list[SessionInfo]:
    """Every session, the one in which a human wrote last first.

    A damaged one is logged and left out; `turnkeeper verify` names what is wrong with it.
    """
    found: list[SessionInfo] = []
    with collector_paused():
        for page in pages(store, Table.HEADS):
            found.extend([info_of(head) for head in _readable(page)])
    found.sort(key=attrgetter("last_active"), reverse=True)
    return found


def open_sessions(store: Reads) -> Iterator[list[SessionId]]:
    """Ids of the sessions that have open work, a page of heads at a time.

    A head that cannot be read keeps no other session from going on: it is logged and passed over,
    and whoever writes to that session is told.
    """
    for page in pages(store, Table.HEADS):
        yield [SessionId(head.session_id) for head in _readable(page) if head.open_since]


def _readable(page: list[tuple[bytes, bytes]]) -> list[Head]:
    try:
        return [read_head(row) for row in decode_all([data for _, data in page])]
    except (StorageError, MalformedRecord):
        pass  # which one it is, and all the others, below
    heads: list[Head] = []
    for key, data in page:
        try:
            heads.append(read_head(decode(data, ("head", int.from_bytes(key, "big")))))
        except (StorageError, MalformedRecord) as error:
            logger.error("a session is damaged: %s", error)  # noqa: TRY400  (the text says it all)
    return heads


def session_info(store: Reads, session_id: str) -> SessionInfo | None:
    """The session called `session_id`, or None."""
    found = find_session(store, session_id)
    return info_of(found[1]) if found is not None else None


# -- histories -----------------------------------------------------------------------------------


def _place(record: Record) -> Address | None:
    match record:
        case (
            UserRecord()
            | AssistantRecord()
            | ReopenedRecord()
            | BoundRecord()
            | ReleasedRecord()
            | ActiveRecord()
            | NoteRecord()
        ):
            return address_of(record)
        case _:
            return None


_SHOWN_ELSEWHERE: Final = frozenset(
    {"kind", "at_us", "text", "instance", "conversation", "thread", "error"}
)


def _entry(seq: int, record: Record) -> HistoryRecord:
    names = type(record).__dataclass_fields__
    return HistoryRecord(
        seq=seq,
        kind=record.kind,
        text=text_of(record),
        at=time_of(record.at_us),
        conversation=_place(record),
        source=source_of(record) if isinstance(record, NoteRecord) else None,
        detail={
            name: value
            for name in names
            if name not in _SHOWN_ELSEWHERE and (value := getattr(record, name)) not in (None, ())
        },
    )


def history(
    store: Reads, session_id: str, start: int = 1, stop: int | None = None
) -> list[HistoryRecord] | None:
    """The raw log of a session, oldest first; None if there is no such session."""
    stream = load_session_number(store, session_id)
    if stream is None:
        return None
    return [_entry(seq, record) for seq, record in load_records(store, stream, start, stop)]


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
