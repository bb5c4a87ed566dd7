"""What follows from the moves of an act, and the plan of all that it writes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from ..acts import ActiveChange, Change, Joined, Moved
from ..messages import Address, SessionId
from .active_places import active_changes, set_active
from .draft import Draft
from .joining import emptied, join, leave_contexts
from .ownership_records import HiddenRecord, ReleasedRecord
from .routing import IdentityRow, record_of
from .runtime_records import ChangeRecord
from .world import Plan

__all__ = ["finish"]


def finish(
    draft: Draft,
    act: str,
    *,
    merge: bool,
    rejoin: Collection[tuple[str, str]] = (),
    hide: Iterable[tuple[IdentityRow, int]] = (),
    restore: Mapping[str, Address] | None = None,
    undoes: int | None = None,
) -> Plan:
    """Add what follows from the moves: merged histories, active channels, the record of it all.

    Args:
        act: what was asked for.
        merge: whether a session that loses its last conversation goes on in the other one.
        rejoin: sessions that do so anyhow, each with the one that it had been part of before.
        hide: identities, and since when what they said where they leave is not to be shown.
        restore: active channels to bring back, where the session owns the place again.
        undoes: number of the change that is taken back.
    """
    joined = leave_contexts(draft)
    merged = {
        earlier: target
        for earlier, target in emptied(draft).items()
        if merge or (earlier, target.session_id) in rejoin
    }
    actives = active_changes(draft, restore or {})
    _hand_over(draft, merged)
    for earlier, target in merged.items():
        joined += join(draft, draft.session(earlier), target)
    _hide(draft, hide)
    set_active(draft, actives)
    return _plan(draft, act, joined, actives, undoes)


def _hand_over(draft: Draft, merged: Collection[str]) -> None:
    """Tell both sessions of each move; one of `merged` goes on elsewhere after its last."""
    last = {before.session_id: before.address for before, _ in draft.moves}
    for before, after in draft.moves:
        draft.session(before.session_id).records.append(
            ReleasedRecord(
                at_us=draft.now_us,
                instance=before.instance,
                conversation=before.conversation,
                thread=before.thread,
                version=after.version,
                by=draft.text,
                to_session=after.session_id,
                merged=before.session_id in merged and last[before.session_id] == before.address,
            )
        )
        draft.session(after.session_id).records.append(record_of(after))


def _hide(draft: Draft, hide: Iterable[tuple[IdentityRow, int]]) -> None:
    """Let each session that an identity leaves show no more of what it said there."""
    for identity, since_us in hide:
        sessions = dict.fromkeys(
            row.session_id
            for row, _ in draft.moves
            if (row.platform, row.user_id) == (identity.platform, identity.user_id)
        )
        for session_id in sessions:
            draft.session(session_id).records.append(
                HiddenRecord(
                    at_us=draft.now_us,
                    platform=identity.platform,
                    user_id=identity.user_id,
                    since_us=since_us,
                    number=draft.number,
                )
            )


def _plan(
    draft: Draft,
    act: str,
    joined: Sequence[Joined],
    actives: Sequence[ActiveChange],
    undoes: int | None,
) -> Plan:
    written = draft.written
    return Plan(
        change=_change(draft, act, joined, actives),
        record=_ledger_record(draft, act, joined, actives, undoes),
        logs={session.stream: session.records for session in written},
        concerned={
            session.session_id: session.stream
            for session in written
            if session.session_id not in draft.opened
        },
        opened=draft.opened,
        identities=draft.decided,
        bindings=draft.moves,
        keys=draft.given,
    )


def _change(
    draft: Draft, act: str, joined: Sequence[Joined], actives: Sequence[ActiveChange]
) -> Change:
    """The act as whoever asked for it is told."""
    return Change(
        number=draft.number,
        act=act,
        text=draft.text,
        dry_run=False,
        moved=tuple(
            Moved(
                address=row.address,
                from_session=SessionId(row.session_id),
                to_session=SessionId(after.session_id),
                version=after.version,
            )
            for row, after in draft.moves
        ),
        joined=tuple(joined),
        active=tuple(actives),
        opened=tuple(draft.opened),
    )


def _ledger_record(
    draft: Draft,
    act: str,
    joined: Sequence[Joined],
    actives: Sequence[ActiveChange],
    undoes: int | None,
) -> ChangeRecord:
    """The act as the ledger keeps it: in full, so that it can be taken back."""
    return ChangeRecord(
        at_us=draft.now_us,
        act=act,
        by=draft.by,
        text=draft.text,
        identities=tuple(_identity_change(before, after) for before, after in draft.decided),
        moves=tuple(
            (*row.address, row.session_id, after.session_id, after.version, row.scope)
            for row, after in draft.moves
        ),
        keys=tuple(
            (after.key, before.session_id if before else None, after.session_id)
            for before, after in draft.given
            if (before.session_id if before else None) != after.session_id
        ),
        actives=tuple(
            (change.session_id, _plain(change.before), _plain(change.after)) for change in actives
        ),
        undoes=undoes,
        joins=tuple((j.session_id, j.earlier, j.joined) for j in joined),
    )


def _identity_change(before: IdentityRow | None, after: IdentityRow) -> tuple[Any, ...]:
    old = before or IdentityRow(after.platform, after.user_id)
    return (
        after.platform,
        after.user_id,
        (old.user, old.session_id, old.paired_by, old.linked_us, old.paired_us),
        (after.user, after.session_id, after.paired_by, after.linked_us, after.paired_us),
    )


def _plain(place: Address | None) -> tuple[Any, ...] | None:
    return tuple(place) if place is not None else None
