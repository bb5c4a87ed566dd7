"""Sessions that go on inside others, and leave them again, as an act moves conversations.

Pure: changes the draft of the act, and nothing else.
"""

from __future__ import annotations

from ..acts import Joined
from ..messages import SessionId
from .draft import Draft, SessionDraft
from .ownership_records import LinkedRecord, UnlinkedRecord

__all__ = ["emptied", "join", "leave_contexts"]


def leave_contexts(draft: Draft) -> list[Joined]:
    """Sessions that own a conversation again leave the contexts which they had joined."""
    gainers = [draft.session(row.session_id) for _, row in draft.moves]
    left: list[Joined] = []
    for session in {session.session_id: session for session in gainers}.values():
        streams = {session.stream: session.session_id, **_inside(draft, session)}
        through = session.head.merged_into if session.head is not None else None
        visited = {session.session_id}
        while through is not None and through not in visited:
            visited.add(SessionId(through))
            host = draft.find(through)
            if host is None:
                break  # it was deleted
            for stream, earlier in streams.items():
                if host.joined.pop(stream, None) is not None:
                    host.records.append(
                        UnlinkedRecord(
                            at_us=draft.now_us,
                            session_id=earlier,
                            stream=stream,
                            number=draft.number,
                            by=draft.text,
                        )
                    )
                    left.append(_joining(draft, host, earlier, joined=False))
            through = host.head.merged_into if host.head is not None else None
    return left


def emptied(draft: Draft) -> dict[str, SessionDraft]:
    """Sessions that own nothing any more, and the one session each where all of it went."""
    targets: dict[str, set[str]] = {}
    for before, after in draft.moves:
        if before.session_id != after.session_id:
            targets.setdefault(before.session_id, set()).add(after.session_id)
    return {
        earlier: draft.session(next(iter(found)))
        for earlier, found in targets.items()
        if len(found) == 1 and next(draft.places(draft.session(earlier)), None) is None
    }


def join(draft: Draft, earlier: SessionDraft, target: SessionDraft) -> list[Joined]:
    """Let the context of `target` include `earlier`, and what had joined that."""
    new: list[Joined] = []
    inside = _inside(draft, earlier)
    for stream, session_id in {**inside, earlier.stream: earlier.session_id}.items():
        if stream == target.stream or stream in target.joined:
            continue
        target.joined[stream] = session_id
        target.records.append(
            LinkedRecord(
                at_us=draft.now_us,
                session_id=session_id,
                stream=stream,
                number=draft.number,
                by=draft.text,
            )
        )
        new.append(_joining(draft, target, session_id, joined=True))
    return new


def _inside(draft: Draft, session: SessionDraft) -> dict[int, str]:
    """The sessions that go on in this one: not those that went on by themselves since."""
    return {
        stream: earlier
        for stream, earlier in session.joined.items()
        if _goes_on_in(draft, draft.find(earlier), session.session_id)
    }


def _goes_on_in(draft: Draft, earlier: SessionDraft | None, session_id: str) -> bool:
    """Whether a session goes on in another one; one that was deleted goes on nowhere."""
    passed: set[str] = set()
    while earlier is not None and earlier.head is not None and earlier.head.merged_into is not None:
        following = earlier.head.merged_into
        if following == session_id or following in passed:
            return following == session_id
        passed.add(following)
        earlier = draft.find(following)
    return False


def _joining(draft: Draft, host: SessionDraft, earlier: str, *, joined: bool) -> Joined:
    other = draft.session(earlier)
    return Joined(
        session_id=host.session_id,
        earlier=other.session_id,
        records=other.head.next_seq - 1 if other.head is not None else len(other.records),
        joined=joined,
    )
