"""Who is who, and who may talk: links, pairs, changes and access as they are stored. Reads only."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Literal

from .actors.codebook import ACCESS_CODES
from .actors.core.codes import PendingCode, read_pending
from .actors.core.routing import IdentityRow, read_identity
from .actors.core.runtime_records import ChangeRecord
from .actors.door import read_standing
from .actors.frozen import message
from .actors.ledger import changes_since
from .actors.messages import Address
from .links import IdentityLink
from .routes import bindings_of
from .storage.base import Reads, Table
from .storage.codec import decode
from .views import Binding, binding_of, pages, time_of

__all__ = [
    "AccessInfo",
    "ChangeInfo",
    "PairInfo",
    "access",
    "binding_history",
    "changes",
    "links",
    "pairs",
]


@message
class PairInfo:
    """An identity and the session that its direct conversations belong to."""

    platform: str
    user_id: str
    session_id: str
    by: str
    """`config`, or who else made it."""
    since: datetime


@message
class ChangeInfo:
    """An explicit change of who is who, or of what belongs to whom."""

    number: int
    at: datetime
    act: str
    by: str
    text: str
    moved: int
    """How many conversations changed their session."""
    undone_by: int | None
    """The change that took this one back."""


@message
class AccessInfo:
    """Where somebody stands at an instance."""

    instance: str
    user_id: str
    standing: Literal["approved", "revoked", "pending"]
    user_name: str | None
    """Display name; untrusted."""
    since: datetime
    expires: datetime | None
    """Of `pending`: when the code works no more."""


def links(store: Reads, user: str | None = None) -> list[IdentityLink]:
    """Every link, or those of one user, by user and platform."""
    found = [
        IdentityLink(platform=row.platform, user_id=row.user_id, user=row.user)
        for row in _identities(store)
        if row.user is not None and user in {None, row.user}
    ]
    return sorted(found, key=lambda link: (link.user, link.platform, link.user_id))


def pairs(store: Reads) -> list[PairInfo]:
    """Every pair, by platform and user id."""
    found = [
        PairInfo(
            platform=row.platform,
            user_id=row.user_id,
            session_id=row.session_id,
            by=row.paired_by or "program",
            since=time_of(row.paired_us),
        )
        for row in _identities(store)
        if row.session_id is not None
    ]
    return sorted(found, key=lambda pair: (pair.platform, pair.user_id))


def _identities(store: Reads) -> Iterator[IdentityRow]:
    for page in pages(store, Table.IDENTITIES):
        for _, data in page:
            yield read_identity(decode(data))


def changes(store: Reads) -> list[ChangeInfo]:
    """Every change in the ledger, the oldest first."""
    entries = list(changes_since(store))
    undone = {record.undoes: number for number, record in entries if record.undoes is not None}
    return [_change(number, record, undone.get(number)) for number, record in entries]


def _change(number: int, record: ChangeRecord, undone_by: int | None) -> ChangeInfo:
    return ChangeInfo(
        number=number,
        at=time_of(record.at_us),
        act=record.act,
        by=record.by,
        text=record.text,
        moved=len(record.moves),
        undone_by=undone_by,
    )


def access(store: Reads, now_us: int) -> list[AccessInfo]:
    """Everybody who was approved or revoked, and whoever waits with an access code."""
    found: list[AccessInfo] = []
    for page in pages(store, Table.ACCESS):
        for _, data in page:
            entry = read_standing(decode(data))
            found.append(
                AccessInfo(
                    instance=entry.instance,
                    user_id=entry.user_id,
                    standing=entry.standing,
                    user_name=entry.user_name,
                    since=time_of(entry.at_us),
                    expires=None,
                )
            )
    for page in pages(store, Table.CODES):
        for key, data in page:
            if key.startswith(ACCESS_CODES):
                pending = read_pending(decode(data))
                if pending.expires_us > now_us:
                    found.append(_waiting(pending))
    return sorted(found, key=lambda info: (info.instance, info.standing, info.user_id))


def _waiting(pending: PendingCode) -> AccessInfo:
    return AccessInfo(
        instance=pending.instance,
        user_id=pending.user_id,
        standing="pending",
        user_name=pending.user_name,
        since=time_of(pending.made_us),
        expires=time_of(pending.expires_us),
    )


def binding_history(store: Reads, place: Address) -> list[Binding]:
    """Every owner that `place` had, the first one first and that of now last."""
    return [binding_of(row) for row in bindings_of(store, place)]
