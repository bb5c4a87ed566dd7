"""Who is heard when: what comes in a conversation one after the other, in the order it came."""

from __future__ import annotations

from collections import deque
from types import TracebackType

import trio

__all__ = ["Place", "Queues"]


class Place:
    """A place in the queue of one conversation; the block begins when it is the first."""

    def __init__(self, queues: dict[str, deque[Place]], conversation: str) -> None:
        self._queues = queues
        self._conversation = conversation
        self._first = trio.Event()
        queue = queues.setdefault(conversation, deque())
        queue.append(self)
        if queue[0] is self:
            self._first.set()

    async def __aenter__(self) -> None:
        try:
            await self._first.wait()
        except BaseException:
            self.leave()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.leave()

    def leave(self) -> None:
        """Let the next one begin, if this was the first."""
        queue = self._queues[self._conversation]
        queue.remove(self)
        if queue:
            queue[0]._first.set()
        else:
            del self._queues[self._conversation]


class Queues:
    """The queues of all conversations in which something is being heard."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[Place]] = {}

    def __repr__(self) -> str:
        return f"<Queues of {len(self._queues)} conversations>"

    def __len__(self) -> int:
        return len(self._queues)

    def stand(self, conversation: str) -> Place:
        """Take the last place. Whoever takes it must enter it, or `leave`."""
        return Place(self._queues, conversation)
