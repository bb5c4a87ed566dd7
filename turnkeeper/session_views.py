"""Sessions as they are shown: one, all, or a page of them. Reads only."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime
from operator import attrgetter
from typing import Final

from .actors.core.head import Head
from .actors.core.lifecycle import Phase, phase_at
from .actors.core.records import MalformedRecord
from .actors.frozen import message
from .actors.journal import find_session, head_in
from .actors.ledger import pages
from .actors.messages import Address, SessionId
from .actors.usage import Usage, read_usage, size_of, usage_key
from .collector import collector_paused
from .outlook import Outlook, resting_outlook
from .storage.base import Reads, Table
from .storage.codec import decode, decode_all
from .storage.errors import StorageError
from .words import time_of

__all__ = [
    "SessionInfo",
    "heads",
    "info_of",
    "newest_sessions",
    "open_sessions",
    "session_info",
    "sessions",
]

logger = logging.getLogger("turnkeeper")

_LAST_ACTIVE: Final = Head._fields.index("last_active_us")
_OPEN_AT_ONCE: Final = 100
"""Heads that are read at once when a runtime starts: the first turns are answered in between."""


@message
class SessionInfo:
    """One session."""

    id: str
    state: Phase
    """`created`: nobody has written yet. `active`: a turn is open, or ended lately. `idle`: nothing
    has happened for a while. `compacted`: its older part was summarised since the last turn."""
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
    """Size of the context, joined sessions not included."""
    context_counted: bool
    """Whether all of that was counted. Otherwise it is an estimate: what was counted last, and a
    token for every four bytes since."""
    context_percent: float
    """Part of a full window that these tokens are, in percent."""
    context_messages: int
    """How many messages the context has, joined sessions not included."""
    summary: int | None = None
    """Sequence number of the summary that the context begins with, if there is one."""
    joined: tuple[str, ...] = ()
    """Earlier sessions whose histories are part of its context."""
    merged_into: str | None = None
    """The session that it goes on in, if it owns no conversation any more."""


def info_of(head: Head, usage: Usage | None, outlook: Outlook) -> SessionInfo:
    """What a head, and the last measurement of its context, tell of a session."""
    tokens, counted = size_of(head, usage)
    return SessionInfo(
        id=head.session_id,
        state=phase_at(
            head.phase, head.open_turns, head.last_turn_us, outlook.now_us, outlook.idle_after_us
        ),
        agent=head.agent,
        active_channel=head.active_channel,
        opened=time_of(head.opened_at_us),
        last_active=time_of(head.last_active_us),
        records=head.next_seq - 1,
        open_turns=head.open_turns,
        open_deliveries=head.open_deliveries,
        context_tokens=tokens,
        context_counted=counted,
        context_percent=round(100 * tokens / outlook.max_context_tokens, 1),
        context_messages=head.context_messages,
        summary=head.summary or None,
        joined=tuple(earlier for _, earlier in head.joined or ()),
        merged_into=head.merged_into,
    )


def heads(store: Reads) -> Iterator[tuple[int, Head]]:
    """Number and head of every session, in the order in which they were opened."""
    for page in pages(store, Table.HEADS):
        for key, data in page:
            stream = int.from_bytes(key, "big")
            yield stream, head_in(store, stream, decode(data))


def sessions(store: Reads, outlook: Outlook | None = None) -> list[SessionInfo]:
    """Every session, the one in which a human wrote last first.

    A damaged one is logged and left out; `turnkeeper verify` names what is wrong with it. Without
    an outlook, they are shown as the newest runtime on the store would show them now.
    """
    outlook = outlook or resting_outlook(store)
    found: list[SessionInfo] = []
    with collector_paused():
        usages = _usages(store)
        for page in pages(store, Table.HEADS):
            found.extend(
                [info_of(head, usages.get(key), outlook) for key, head in _readable(store, page)]
            )
    found.sort(key=attrgetter("last_active"), reverse=True)
    return found


def newest_sessions(
    store: Reads, outlook: Outlook | None = None, *, limit: int, offset: int = 0
) -> tuple[list[SessionInfo], int]:
    """A part of :func:`sessions`, without making all of it; and how many there are.

    Args:
        store: one moment of it.
        outlook: as for :func:`sessions`.
        limit: how many are wanted.
        offset: how many of the newest are passed over.
    """
    outlook = outlook or resting_outlook(store)
    # Of a head that is not shown only the time matters: making objects of all takes twice as long.
    keys: list[bytes] = []
    times: list[int] = []
    with collector_paused():
        for page in pages(store, Table.HEADS):
            for key, last_active_us in _last_active(store, page):
                keys.append(key)
                times.append(last_active_us)
    order = sorted(range(len(keys)), key=times.__getitem__, reverse=True)
    shown: list[SessionInfo] = []
    for place in order[offset : offset + limit]:
        data = store.get(Table.HEADS, keys[place])
        for key, head in _readable(store, [(keys[place], data)] if data is not None else []):
            shown.append(info_of(head, _usage(store, key), outlook))
    return shown, len(keys)


def _last_active(store: Reads, page: list[tuple[bytes, bytes]]) -> list[tuple[bytes, int]]:
    """When a human last wrote in each session."""
    try:
        rows = decode_all([data for _, data in page])
        return [(key, row[_LAST_ACTIVE]) for (key, _), row in zip(page, rows, strict=True)]
    except (StorageError, IndexError, KeyError, TypeError):
        return [(key, head.last_active_us) for key, head in _readable(store, page)]


def _usages(store: Reads) -> dict[bytes, Usage]:
    """The newest measurement of every context, by the session's key."""
    found: dict[bytes, Usage] = {}
    for page in pages(store, Table.USAGE):
        for key, data in page:
            usage = _usage_in(key, data)
            if usage is not None:
                found[key] = usage
    return found


def _usage(store: Reads, key: bytes) -> Usage | None:
    data = store.get(Table.USAGE, key)
    return _usage_in(key, data) if data is not None else None


def _usage_in(key: bytes, data: bytes) -> Usage | None:
    """A measurement; None for one that cannot be read: then the size is estimated."""
    try:
        return read_usage(decode(data, ("usage", int.from_bytes(key, "big"))))
    except StorageError as error:
        logger.error("the size of a context is estimated: %s", error)  # noqa: TRY400  (as below)
        return None


def open_sessions(store: Reads) -> Iterator[list[SessionId]]:
    """Ids of the sessions that have open work, a page of heads at a time.

    A head that cannot be read keeps no other session from going on: it is logged and passed over,
    and whoever writes to that session is told.
    """
    for page in pages(store, Table.HEADS, size=_OPEN_AT_ONCE):
        yield [SessionId(head.session_id) for _, head in _readable(store, page) if head.open_since]


def _readable(store: Reads, page: list[tuple[bytes, bytes]]) -> list[tuple[bytes, Head]]:
    """The heads of a page, with their keys."""
    try:
        rows = decode_all([data for _, data in page])
        return [
            (key, head_in(store, int.from_bytes(key, "big"), row))
            for (key, _), row in zip(page, rows, strict=True)
        ]
    except (StorageError, MalformedRecord):
        pass  # which one it is, and all the others, below
    heads: list[tuple[bytes, Head]] = []
    for key, data in page:
        try:
            stream = int.from_bytes(key, "big")
            heads.append((key, head_in(store, stream, decode(data, ("head", stream)))))
        except (StorageError, MalformedRecord) as error:
            logger.error("a session is damaged: %s", error)  # noqa: TRY400  (the text says it all)
    return heads


def session_info(
    store: Reads, session_id: str, outlook: Outlook | None = None
) -> SessionInfo | None:
    """The session called `session_id`, or None. Without an outlook, as :func:`sessions` has it."""
    found = find_session(store, session_id)
    if found is None:
        return None
    stream, head = found
    return info_of(head, _usage(store, usage_key(stream)), outlook or resting_outlook(store))
