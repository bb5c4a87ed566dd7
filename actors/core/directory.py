"""Which sessions are in memory, and what waits for one that is just leaving it.

A session leaves only when it has agreed to: from the question until its answer, messages for it
are held here, and then go to it or to its successor in the order in which they came.

Idleness is kept in two generations: whatever was not asked for during a whole generation is idle.
That costs nothing for a session in use and needs no clock.
"""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ["Directory", "Recent"]

K = TypeVar("K")
V = TypeVar("V")
M = TypeVar("M")


class Recent(Generic[K, V]):
    """A mapping that can tell what was not used between its last two rotations."""

    __slots__ = ("_new", "_old")

    def __init__(self) -> None:
        self._new: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def __len__(self) -> int:
        return len(self._new) + len(self._old)

    def get(self, key: K) -> V | None:
        """The value at `key`, which is in use from now on."""
        value = self._new.get(key)
        if value is None and (value := self._old.pop(key, None)) is not None:
            self._new[key] = value
        return value

    def put(self, key: K, value: V) -> None:
        """Keep `value` at `key`, which is in use."""
        self._old.pop(key, None)
        self._new[key] = value

    def drop(self, key: K) -> V | None:
        """Forget `key`."""
        value = self._new.pop(key, None)
        return value if value is not None else self._old.pop(key, None)

    def rotate(self) -> dict[K, V]:
        """Begin a new generation; forget and return what was not used in the one that ends."""
        idle, self._old, self._new = self._old, self._new, {}
        return idle

    def items(self) -> list[tuple[K, V]]:
        """Everything kept, used or not."""
        return [*self._old.items(), *self._new.items()]


class Directory(Generic[K, V, M]):
    """Sessions in memory (`K` -> `V`), and messages `M` held for those that are leaving."""

    __slots__ = ("_held", "_leaving", "_present")

    def __init__(self) -> None:
        self._present: Recent[K, V] = Recent()
        self._leaving: dict[K, V] = {}
        self._held: dict[K, list[M]] = {}

    def __repr__(self) -> str:
        return f"<Directory present={len(self._present)} leaving={list(self._leaving)}>"

    def __len__(self) -> int:
        return len(self._present) + len(self._leaving)

    def find(self, key: K) -> V | None:
        """The session `key`, if it is in memory and takes messages."""
        return self._present.get(key)

    def find_any(self, key: K) -> V | None:
        """The session `key`, if it is in memory, even if it is leaving."""
        return self._present.get(key) or self._leaving.get(key)

    def add(self, key: K, value: V) -> None:
        """The session `key` is in memory."""
        self._present.put(key, value)

    def is_leaving(self, key: K) -> bool:
        """Whether `key` was asked to leave and has not answered yet."""
        return key in self._leaving

    def leaves(self, key: K, value: V) -> None:
        """The session `key` is leaving without having been asked."""
        self._present.drop(key)
        self._leaving[key] = value

    def hold(self, key: K, message: M) -> None:
        """Keep `message` until `key`, which is leaving, has answered."""
        self._held.setdefault(key, []).append(message)

    def idle(self) -> list[tuple[K, V]]:
        """Sessions that were not used for a whole generation; they are leaving from now on."""
        idle = self._present.rotate()
        self._leaving.update(idle)
        return list(idle.items())

    def left(self, key: K) -> list[M]:
        """The session has gone; what was held for it goes to its successor."""
        self._leaving.pop(key, None)
        self._present.drop(key)
        return self._held.pop(key, [])

    def stayed(self, key: K) -> list[M]:
        """The session has work and stays; what was held for it goes to it."""
        value = self._leaving.pop(key, None)
        if value is not None:
            self._present.put(key, value)
        return self._held.pop(key, [])

    def items(self) -> list[tuple[K, V]]:
        """Everything in memory."""
        return [*self._present.items(), *self._leaving.items()]
