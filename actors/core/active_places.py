"""The active channels of sessions, as an act moves conversations.

Pure: changes the draft of the act, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..acts import ActiveChange
from ..messages import Address
from .draft import Draft, Move, SessionDraft
from .ownership_records import ActiveRecord

__all__ = ["active_changes", "set_active"]


def active_changes(draft: Draft, restore: Mapping[str, Address]) -> list[ActiveChange]:
    """Active channels move with their conversations; the human's newest one counts."""
    moves = draft.moves
    changes: list[ActiveChange] = []
    gone = {
        (before.session_id, before.address)
        for before, after in moves
        if before.session_id != after.session_id
    }
    for session_id in dict.fromkeys(before.session_id for before, _ in moves):
        session = draft.session(session_id)
        if session.active is not None and (session_id, session.active) in gone:
            after = _restored(draft, session, restore)
            changes.append(
                ActiveChange(session_id=session.session_id, before=session.active, after=after)
            )
    taken: dict[str, list[Move]] = {}
    for before, after_row in moves:
        taken.setdefault(after_row.session_id, []).append((before, after_row))
    for session_id, rows in taken.items():
        session = draft.session(session_id)
        best = _restored(draft, session, restore) or _newest_active(draft, session, rows)
        if best is not None and best != session.active:
            changes.append(
                ActiveChange(session_id=session.session_id, before=session.active, after=best)
            )
    return changes


def _restored(
    draft: Draft, session: SessionDraft, restore: Mapping[str, Address]
) -> Address | None:
    place = restore.get(session.session_id)
    if place is None or all(row.address != place for row in draft.places(session)):
        return None
    return place


def _newest_active(draft: Draft, session: SessionDraft, moves: Sequence[Move]) -> Address | None:
    if draft.mode == "back" and session.active is not None:
        return None
    newest_us = session.last_active_us if session.active is not None else -1
    best: Address | None = None
    for before, after in moves:
        earlier = draft.session(before.session_id)
        if earlier.active == before.address and earlier.last_active_us > newest_us:
            best, newest_us = after.address, earlier.last_active_us
    if best is None and session.active is None:
        best = moves[-1][1].address
    return best


def set_active(draft: Draft, changes: Sequence[ActiveChange]) -> None:
    """Let the active channels be what `changes` say.

    A conversation that stays where it is, by another rule, stays the active one.
    """
    for change in changes:
        if change.after is not None:  # what is released is not the active channel any more
            _point(draft, draft.session(change.session_id), change.after)
    changed = {change.session_id for change in changes}
    for before, after in draft.moves:
        session = draft.session(after.session_id)
        is_active = before.session_id == after.session_id and session.active == after.address
        if is_active and session.session_id not in changed:
            _point(draft, session, after.address)


def _point(draft: Draft, session: SessionDraft, place: Address) -> None:
    session.records.append(
        ActiveRecord(
            at_us=draft.now_us,
            instance=place.instance,
            conversation=place.conversation,
            thread=place.thread,
            by=draft.text,
        )
    )
