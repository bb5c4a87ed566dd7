"""Who is who, and who may talk, as the ledger tells it.

Kept in memory: what was decided last of each identity, and of whoever was approved or revoked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from .actors.core.codes import read_attempts, read_pending
from .actors.core.records import MalformedRecord
from .actors.core.routing import IdentityRow, default_user, read_identity
from .actors.core.runtime_records import AccessRecord, ChangeRecord
from .actors.door import StandingRow, read_standing
from .actors.ledger import access_key, identity_key, put_identity, starting_with
from .storage.base import Batch, Reads, Table
from .verify_rows import (
    Problem,
    Unreadable,
    adopt,
    compare_index,
    compare_table,
    readable,
)

__all__ = ["People", "compare_codes"]


class People:
    """Identities and standings."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self._identities: dict[bytes, IdentityRow] = {}
        self._standings: dict[bytes, StandingRow] = {}
        self._unsure: set[bytes] | None = None
        """Keys of what may have been decided anew where the ledger is damaged; None if it is not.
        So may be whoever is not known at all."""

    def decided(self, record: ChangeRecord) -> None:
        """The ledger tells of a change.

        Raises:
            TypeError, ValueError: what it says of identities has another shape.
        """
        for platform, user_id, _, state in record.identities:
            key = identity_key(platform, user_id)
            self._identities[key] = IdentityRow(platform, user_id, *state)
            self._be_sure(key)

    def judged(self, record: AccessRecord) -> None:
        """The ledger tells that somebody was approved or revoked."""
        key = access_key(record.instance, record.user_id)
        self._standings[key] = read_standing(
            [record.standing, record.instance, record.user_id, record.at_us, record.user_name]
        )
        self._be_sure(key)

    def lost(self) -> None:
        """Here the ledger cannot be read: whatever was known so far may have been changed."""
        self._unsure = {*self._identities, *self._standings}

    def _be_sure(self, key: bytes) -> None:
        if self._unsure is not None:
            self._unsure.discard(key)

    def compare(self) -> Iterator[Problem]:
        """What is wrong with identities, the index of users, and who may talk."""
        reads = self._reads
        if self._unsure is not None:
            self._adopt(self._unsure)
        yield from compare_table(
            reads, Table.IDENTITIES, self._identities, read_identity, _identity
        )
        yield from compare_index(reads, Table.USERS, self._identities, _users_of, _identity)
        yield from compare_table(reads, Table.ACCESS, self._standings, read_standing, _standing)

    def _adopt(self, unsure: Collection[bytes]) -> None:
        """Believe of a damaged ledger what the tables say that it told."""
        for key, row in adopt(self._reads, Table.IDENTITIES, read_identity):
            if key in unsure or key not in self._identities:
                self._identities[key] = row
        for key, standing in adopt(self._reads, Table.ACCESS, read_standing):
            if key in unsure or key not in self._standings:
                self._standings[key] = standing


def _identity(row: IdentityRow) -> str:
    return f"identity {default_user(row.platform, row.user_id)}"


def _standing(row: StandingRow) -> str:
    return f"access of {row.user_id} at {row.instance}"


def _users_of(row: IdentityRow) -> Collection[bytes]:
    """Every key in `Table.USERS` that leads to an identity."""
    batch = Batch()
    put_identity(batch, None, row)
    return [key for table, key, _ in batch.puts if table is Table.USERS]


def compare_codes(reads: Reads) -> Iterator[Problem]:
    """Which one-time codes cannot be read. No log tells of them: they are gone after a day."""
    for key, data in starting_with(reads, Table.CODES, b""):
        try:
            readable(data, _read_code)
        except Unreadable as error:
            yield Problem(place=f"code {key.hex()}", text=str(error))


def _read_code(payload: Any) -> object:
    try:
        return read_pending(payload)
    except MalformedRecord:
        pass
    try:
        return read_attempts(payload)
    except MalformedRecord:
        raise MalformedRecord("neither a code that waits nor a count of attempts") from None
