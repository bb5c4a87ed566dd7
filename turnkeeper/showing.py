"""Tells a channel that an agent is at work on a turn, and what it has said so far."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any, Final

import trio

from .actors.kernel import ActorDeadError, ActorRef
from .actors.messages import AgentBegan, AgentEnded, AgentSays, InboundTurn, TurnId
from .actors.runner import TurnJob
from .actors.services import Post

__all__ = ["Showing", "showing"]

_SAY_EVERY_S: Final = 0.25
"""Least seconds between two states of a reply; no platform takes them faster."""
_MAX_CHARS: Final = 20_000
"""Characters of a reply that is shown while it grows: more than any platform has in one message."""


class Showing:
    """What is shown of one attempt at a turn."""

    def __init__(self, channel: ActorRef[Any], turn_id: TurnId) -> None:
        self._channel = channel
        self._turn_id = turn_id
        self._pieces: list[str] = []
        self._chars = 0
        self._told_at = trio.current_time()
        self.answered = False
        """To be set once there is a reply."""

    def add(self, piece: str) -> None:
        """The agent has yielded a piece of its reply."""
        if self._chars > _MAX_CHARS:
            return
        self._pieces.append(piece)
        self._chars += len(piece)
        now = trio.current_time()
        if now - self._told_at >= _SAY_EVERY_S:
            self._told_at = now
            self._pieces = ["".join(self._pieces)]
            if self._pieces[0].strip():
                self.tell(AgentSays(turn_id=self._turn_id, text=self._pieces[0]))

    def tell(self, message: AgentBegan | AgentSays | AgentEnded) -> None:
        """Tell the channel, unless it has stopped."""
        with suppress(ActorDeadError):
            self._channel.tell(message)


@contextmanager
def showing(post: Post, job: TurnJob) -> Generator[Showing | None]:
    """Show that an agent works on `job`, where that can be shown, while the block lasts."""
    turn = job.turn
    if not isinstance(turn, InboundTurn) or turn.address.instance not in post.watchers:
        yield None
        return
    turn_id = TurnId(f"{job.session_id}/{job.seq}")
    shown = Showing(post.channels[turn.address.instance], turn_id)
    shown.tell(AgentBegan(turn_id=turn_id, address=turn.address, reply_to=turn.message_id))
    try:
        yield shown
    finally:
        shown.tell(AgentEnded(turn_id=turn_id, answered=shown.answered))
