"""The agent's memory, as its turns and operators see it."""

from __future__ import annotations

from typing import Any, TypeVar, cast, overload

from .actors.core.memory import checked_key, checked_value
from .actors.journal import find_session
from .actors.kernel import ActorRef
from .actors.memories import Forget, Remember
from .actors.memory_rows import load_memory, load_value, memory_keys
from .actors.runner import TurnJob
from .storage.base import Reads

__all__ = ["SessionMemory", "memory"]

T = TypeVar("T")


class SessionMemory:
    """What an agent keeps of a session: texts under keys, small, durable, and this session's alone.

    It survives restarts, and every change of the context. A key has 1 to 200 characters, a value at
    most 16,384 bytes of UTF-8; a session keeps at most 1,000 keys, and 262,144 bytes of keys and
    values together. Changes return once they are durable, and are seen by all that is read from
    then on; cancelling one does not take it back. Where a change is refused, nothing is stored.

    Every method raises TypeError or ValueError for what can be no key.
    """

    __slots__ = ("_job", "_registry", "_store")

    def __init__(self, job: TurnJob, store: Reads, registry: ActorRef[Any]) -> None:
        self._job = job
        self._store = store
        self._registry = registry

    def __repr__(self) -> str:
        return f"<SessionMemory of {self._job.session_id}: {len(self)} keys>"

    @overload
    def get(self, key: str) -> str | None: ...
    @overload
    def get(self, key: str, default: T) -> str | T: ...
    def get(self, key: str, default: object = None) -> object:
        """What is kept under `key`; `default` if nothing is."""
        found = load_value(self._store, self._job.stream, checked_key(key))
        return default if found is None else found

    def __contains__(self, key: str) -> bool:
        return self.get(key) is not None

    def __len__(self) -> int:
        return sum(1 for _ in memory_keys(self._store, self._job.stream))

    def keys(self) -> tuple[str, ...]:
        """Every key, in order."""
        return tuple(load_memory(self._store, self._job.stream))

    def items(self) -> tuple[tuple[str, str], ...]:
        """Every key with its value, in the order of the keys."""
        return tuple(load_memory(self._store, self._job.stream).items())

    async def set(self, key: str, value: str) -> None:
        """Keep `value` under `key`, instead of what was kept there.

        Raises:
            TypeError, ValueError: it is no text, or too long.
            MemoryFull: there are too many keys, or too many bytes in all.
        """
        await self._change(key, checked_value(value))

    async def delete(self, key: str) -> bool:
        """Keep nothing under `key` any more; return whether anything was."""
        return await self._change(key, None)

    async def clear(self) -> int:
        """Keep nothing any more; return how many keys there were."""
        job = self._job
        message = Forget(session_id=job.session_id, by=f"turn {job.session_id}/{job.seq}")
        return cast("int", await self._registry.ask(message, block=False))

    async def _change(self, key: str, value: str | None) -> bool:
        job = self._job
        message = Remember(
            session_id=job.session_id, key=checked_key(key), value=value, during=job.seq
        )
        return cast("bool", await self._registry.ask(message, block=False))


def memory(reads: Reads, session_id: str) -> dict[str, str] | None:
    """What the agent keeps of a session, in the order of the keys; None without such a session."""
    found = find_session(reads, session_id)
    return load_memory(reads, found[0]) if found is not None else None
