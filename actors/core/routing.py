"""Which session a turn belongs to: the decision, and what a binding keeps of it.

Pure. The rules in order: the binding that the conversation has; else a session of its own. Every
answer names the rule, so that it can be explained afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias, cast

from ..frozen import fact
from ..messages import Address, InboundTurn, Instance, SessionId
from .records import BoundRecord, MalformedRecord, OpenedRecord

__all__ = ["BindingRow", "Bound", "NewSession", "Route", "bind", "read_binding", "route"]


class BindingRow(NamedTuple):
    """A conversation and the session that owns it. A tuple, as it is stored."""

    session_id: str
    stream: int
    """Number of the session's log."""
    version: int
    """1 for the first owner, one more at every change."""
    instance: str
    conversation: str
    thread: str | None
    platform: str
    guild: str | None
    direct: bool
    at_us: int
    by: str
    """What made the binding: a rule or an operator's act."""

    @property
    def address(self) -> Address:
        """The bound place."""
        return Address(
            instance=Instance(self.instance), conversation=self.conversation, thread=self.thread
        )


def read_binding(payload: object) -> BindingRow:
    """The binding whose tuple is `payload`.

    Raises:
        MalformedRecord: it is not a binding.
    """
    if not isinstance(payload, list | tuple):
        raise MalformedRecord(f"a binding must be a list: {payload!r:.80}")
    values = cast("Sequence[object]", payload)
    if len(values) != len(BindingRow._fields):
        raise MalformedRecord(f"a binding has {len(values)} fields, not {len(BindingRow._fields)}")
    return BindingRow(*values)  # type: ignore[arg-type]  # the checksum vouches for the types


@fact
class Bound:
    """The conversation has an owner."""

    session_id: SessionId
    stream: int


@fact
class NewSession:
    """The conversation gets a session of its own. `by` names the rule."""

    by: str


Route: TypeAlias = Bound | NewSession


def route(_turn: InboundTurn, binding: BindingRow | None) -> Route:
    """Decide for a turn whose conversation has `binding`, or None.

    Different conversations get different sessions, and so do different threads: without a proof
    that two of them belong together they are kept apart.
    """
    if binding is not None:
        return Bound(SessionId(binding.session_id), binding.stream)
    return NewSession(by="first message")


def bind(
    turn: InboundTurn, session_id: SessionId, stream: int, agent: str, by: str, now_us: int
) -> tuple[BindingRow, tuple[OpenedRecord, BoundRecord]]:
    """A new session and its first binding: the row to store and the records to log."""
    place = turn.address
    row = BindingRow(
        session_id=session_id,
        stream=stream,
        version=1,
        instance=place.instance,
        conversation=place.conversation,
        thread=place.thread,
        platform=turn.platform,
        guild=turn.guild,
        direct=turn.direct,
        at_us=now_us,
        by=by,
    )
    opened = OpenedRecord(at_us=now_us, session_id=session_id, agent=agent, by=by)
    bound = BoundRecord(
        at_us=now_us,
        instance=place.instance,
        conversation=place.conversation,
        thread=place.thread,
        version=1,
        by=by,
        platform=turn.platform,
        guild=turn.guild,
        direct=turn.direct,
    )
    return row, (opened, bound)
