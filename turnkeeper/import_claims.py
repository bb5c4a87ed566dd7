"""What a session that is brought in lays claim to: conversations, and keys that it serves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .actors.core.ownership_records import KeyedRecord
from .actors.core.routing import BindingRow, Key, KeyRow
from .actors.journal import load_binding
from .actors.ledger import key_key, load_key, past_bindings, past_key, put_binding
from .storage.base import Batch, Reads, Table
from .storage.codec import encode
from .words import show_place

__all__ = ["ComingPlace", "claim_key", "claim_place"]


@dataclass(slots=True)
class ComingPlace:
    """A conversation that the session has owned."""

    versions: dict[int, BindingRow] = field(default_factory=dict[int, BindingRow])
    released: int = 0
    """The version with which it went to another session for the last time."""

    @property
    def newest(self) -> BindingRow:
        """The last binding to this session."""
        return self.versions[max(self.versions)]

    @property
    def is_owned(self) -> bool:
        """Whether the session still owns it; a move to itself has one version for both sides."""
        return self.released <= max(self.versions)


def claim_place(batch: Batch, store: Reads, place: ComingPlace) -> Iterator[str]:
    """Let the session own a conversation, or have owned it; tell what speaks against that.

    Versions are never given twice, so what this store knows of the conversation must be older, or
    belong in between.
    """
    address, newest = place.newest.address, max(place.versions)
    owner = load_binding(store, address)
    here = {row.version: row.session_id for row in past_bindings(store, address)}
    if owner is not None:
        here[owner.version] = owner.session_id
    clash = place.versions.keys() & here
    if owner is not None and (place.is_owned or owner.version < newest):
        yield f"{show_place(address)} belongs to {owner.session_id!r} here"
    elif clash:
        yield f"{show_place(address)} was that of {here[min(clash)]!r} here"
    elif place.is_owned and here and max(here) > newest:
        yield f"{show_place(address)} was that of {here[max(here)]!r} here, later"
    for version, row in place.versions.items():
        if version == newest and place.is_owned:
            put_binding(batch, row, first=True)
        else:
            batch.put(Table.PAST_BINDINGS, past_key(row), encode(list(row)))


def claim_key(
    batch: Batch, store: Reads, session_id: str, stream: int, record: KeyedRecord
) -> Iterator[str]:
    """Let the session serve a key, or have given it away; tell what speaks against that.

    Args:
        batch: what brings the session in.
        store: one moment of it.
        session_id: the session.
        stream: its number.
        record: the last that its log tells of the key.
    """
    key: Key = tuple(record.key)
    here = load_key(store, key)
    is_served = here is not None and here.session_id is not None
    if here is not None and is_served and (record.held or here.version < record.version):
        yield f"{here.session_id!r} serves {'/'.join(key)} here"
    elif here is None or here.version < record.version:
        row = KeyRow(session_id, stream, record.version, key)
        if not record.held:
            row = KeyRow(None, 0, record.version, key)
        batch.put(Table.KEYS, key_key(key), encode(list(row)))
