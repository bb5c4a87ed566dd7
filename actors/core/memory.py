"""The agent's memory of a session: what it may hold, and what the log says that it does.

Values under keys, both text. It is no part of the context: neither clearing nor summarising that
touches it, and no window shows it. Pure, and changed by applying records alone, so that replaying
the log of a session gives the very memory that wrote it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from .records import Record
from .view_records import ForgottenRecord, MemoryRecord
from .weight import bytes_of

__all__ = [
    "MAX_KEYS",
    "MAX_KEY_CHARS",
    "MAX_MEMORY_BYTES",
    "MAX_VALUE_BYTES",
    "Memory",
    "MemoryFull",
    "checked_key",
    "checked_value",
    "memory_of",
    "size_bytes",
]

MAX_KEY_CHARS: Final = 200
MAX_VALUE_BYTES: Final = 16_384
"""Longest value, in bytes of UTF-8."""
MAX_KEYS: Final = 1_000
"""Keys of one session."""
MAX_MEMORY_BYTES: Final = 262_144
"""Bytes of UTF-8 that all keys and values of one session may have together."""


class MemoryFull(Exception):
    """The memory of the session has no room for it; nothing was stored."""


def checked_key(key: object) -> str:
    """`key`, as it is stored.

    Raises:
        TypeError: it is no str.
        ValueError: it is empty, or has more than `MAX_KEY_CHARS` characters.
    """
    text = _text("a key", key)
    if not 0 < len(text) <= MAX_KEY_CHARS:
        raise ValueError(f"a key has 1 to {MAX_KEY_CHARS} characters, not {len(text):,}")
    return text


def checked_value(value: object) -> str:
    """`value`, as it is stored.

    Raises:
        TypeError: it is no str.
        ValueError: it has more than `MAX_VALUE_BYTES` bytes of UTF-8.
    """
    text = _text("a value", value)
    if (size := bytes_of(text)) > MAX_VALUE_BYTES:
        raise ValueError(f"a value has at most {MAX_VALUE_BYTES:,} bytes, not {size:,}")
    return text


def _text(what: str, given: object) -> str:
    if not isinstance(given, str):
        raise TypeError(f"{what} must be a str, not {type(given).__name__}")
    return str.__str__(given)  # records hold plain str, whatever a subclass makes of itself


def size_bytes(key: str, value: str) -> int:
    """How much of `MAX_MEMORY_BYTES` a key and its value take."""
    return bytes_of(key) + bytes_of(value)


class Memory:
    """What one session's agent keeps, and how much room that takes."""

    __slots__ = ("_size_bytes", "_values")

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self._values = dict(values or {})
        self._size_bytes = sum(size_bytes(*pair) for pair in self._values.items())

    def __repr__(self) -> str:
        return f"<Memory of {len(self._values)} keys, {self._size_bytes} bytes>"

    @property
    def values(self) -> Mapping[str, str]:
        """Every value, by its key."""
        return self._values

    def keep(self, key: str, value: str | None, at_us: int, during: int = 0) -> MemoryRecord | None:
        """The record by which `value` is kept under `key`; None if it changes nothing.

        Args:
            key: the key.
            value: what to keep; None to keep nothing there any more.
            at_us: the time.
            during: the turn in which the agent asks for it; 0 for none.

        Raises:
            TypeError, ValueError: they cannot be kept: see `checked_key` and `checked_value`.
            MemoryFull: there would be too many keys, or too many bytes.
        """
        key = checked_key(key)
        if value is not None:
            value = checked_value(value)
        before = self._values.get(key)
        if value == before:
            return None
        if value is not None:
            self._check_room(key, before, value)
        return MemoryRecord(at_us=at_us, key=key, value=value, during=during)

    def _check_room(self, key: str, before: str | None, value: str) -> None:
        if before is None and len(self._values) >= MAX_KEYS:
            raise MemoryFull(f"a session's memory has at most {MAX_KEYS:,} keys, and is full")
        freed = size_bytes(key, before) if before is not None else 0
        total = self._size_bytes - freed + size_bytes(key, value)
        if total > MAX_MEMORY_BYTES:
            raise MemoryFull(
                f"a session's memory has at most {MAX_MEMORY_BYTES:,} bytes, keys included, and "
                f"with this it would have {total:,}"
            )

    def apply(self, record: Record) -> None:
        """Change what is kept as `record` says; most kinds say nothing of it."""
        match record:
            case MemoryRecord():
                before = self._values.pop(record.key, None)
                if before is not None:
                    self._size_bytes -= size_bytes(record.key, before)
                if record.value is not None:
                    self._values[record.key] = record.value
                    self._size_bytes += size_bytes(record.key, record.value)
            case ForgottenRecord():
                self._values.clear()
                self._size_bytes = 0
            case _:
                pass


def memory_of(records: Iterable[Record]) -> dict[str, str]:
    """What a session keeps whose log holds `records`."""
    memory = Memory()
    for record in records:
        memory.apply(record)
    return dict(memory.values)
