"""What an act is planned on, and what comes of it: the world before, and what must be written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..acts import Change
from ..messages import SessionId
from .head import Head
from .records import Record
from .routing import BindingRow, IdentityRow, Key, KeyRow
from .runtime_records import ChangeRecord

__all__ = ["Plan", "World"]


class World(Protocol):
    """One moment of what is stored."""

    @property
    def next_stream(self) -> int:
        """Number that the next session gets."""
        ...

    @property
    def next_number(self) -> int:
        """Number that the next change gets in the ledger."""
        ...

    def agent_at(self, instance: str) -> str | None:
        """Who answers at an instance now; None if no rules are known for it."""
        ...

    def identity(self, platform: str, user_id: str) -> IdentityRow | None:
        """What was decided of an identity."""
        ...

    def identities_of(self, user: str) -> Sequence[IdentityRow]:
        """The identities that are linked to a user."""
        ...

    def paired_to(self, session_id: str) -> Sequence[IdentityRow]:
        """The identities that are paired to a session."""
        ...

    def places_of_identity(self, platform: str, user_id: str) -> Sequence[BindingRow]:
        """The direct conversations of an identity."""
        ...

    def places_of_session(self, stream: int) -> Iterable[BindingRow]:
        """The conversations that a session owns: very many, where it serves a guild."""
        ...

    def key(self, key: Key) -> KeyRow | None:
        """Which session serves a key."""
        ...

    def session(self, session_id: str) -> tuple[int, Head] | None:
        """Number and head of a session."""
        ...


@dataclass(slots=True)
class Plan:
    """Everything that an act writes, in one batch."""

    change: Change
    record: ChangeRecord
    logs: dict[int, list[Record]]
    """Session number -> records to append."""
    concerned: dict[SessionId, int]
    """The sessions among them that exist already, and their numbers."""
    opened: dict[SessionId, int]
    """Those that are new."""
    identities: list[tuple[IdentityRow | None, IdentityRow]]
    """Before and after."""
    bindings: list[tuple[BindingRow, BindingRow]]
    keys: list[tuple[KeyRow | None, KeyRow]]
