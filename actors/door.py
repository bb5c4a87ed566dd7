"""The door: who may talk at which instance, as the rules and the operator have it now.

Reads what the operator decided of somebody only where there is anything to read. What cannot be
read lets nobody in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, cast

from ..storage.base import Reads, Table
from ..storage.codec import decode
from ..storage.errors import CorruptRecord, StorageError
from .core.access import Admitted, Denied, Knock, Standing, Unaddressed, admit, may_receive
from .core.routing import InstanceRules
from .deliveries import Notice
from .errors import AccessDenied, NotAddressed
from .frozen import message
from .journal import load_binding
from .ledger import access_key
from .messages import Address, InboundTurn, Instance

__all__ = ["Door", "Refusal", "StandingRow", "load_standing", "read_standing"]

_KEPT: Final = 1_000
"""Refusals that are remembered, the newest ones, until the runtime stops."""


@message
class Refusal:
    """A turn that was not let in."""

    at_us: int
    address: Address
    message_id: str
    platform: str
    user_id: str
    rule: str
    """What kept it out."""


class StandingRow(NamedTuple):
    """What the operator has decided about somebody. A tuple, as it is stored."""

    standing: Literal["approved", "revoked"]
    instance: str
    user_id: str
    at_us: int
    user_name: str | None


class Door:
    """Judges every inbound turn, and every message and notice before it leaves."""

    def __init__(self, store: Reads, rules: Mapping[Instance, InstanceRules]) -> None:
        self._store = store
        self.refusals: deque[Refusal] = deque(maxlen=_KEPT)
        self._rules: Mapping[Instance, InstanceRules] = {}
        self._wide_open: frozenset[Instance] = frozenset()
        self._has_standings = bool(store.scan(Table.ACCESS, limit=1))
        self.follow(rules)

    def follow(self, rules: Mapping[Instance, InstanceRules]) -> None:
        """Judge by `rules` from now on."""
        self._rules = rules
        self._wide_open = frozenset(
            instance
            for instance, rule in rules.items()
            if rule.access.access == "open"
            and not rule.access.denied_users
            and rule.access.allowed_conversations is None
            and not rule.access.require_mention
        )

    def decided(self) -> None:
        """The operator has decided about somebody: from now on there is something to read."""
        self._has_standings = True

    def is_wide_open(self, instance: Instance) -> bool:
        """Whether there is nothing to judge at an instance."""
        return instance in self._wide_open and not self._has_standings

    def judge(self, turn: InboundTurn, now_us: int) -> Knock | None:
        """Let a turn in, or a stranger knock.

        Args:
            turn: what was heard; its user id is in canonical form.
            now_us: the time.

        Raises:
            AccessDenied, NotAddressed: it is not let in.
        """
        instance = turn.address.instance
        verdict = admit(
            self._rules[instance].access,
            user_id=turn.user_id,
            conversation=turn.address.conversation,
            direct=turn.direct,
            mentioned=turn.mentioned,
            standing=self._standing(instance, turn.user_id),
        )
        if isinstance(verdict, Admitted):
            return None
        self.refusals.append(
            Refusal(
                at_us=now_us,
                address=turn.address,
                message_id=turn.message_id,
                platform=turn.platform,
                user_id=turn.user_id,
                rule=verdict.rule,
            )
        )
        match verdict:
            case Denied():
                raise AccessDenied(verdict.text)
            case Unaddressed():
                raise NotAddressed("the message is meant for others")
            case Knock():
                return verdict

    def closed_to(self, place: Address, speaker: str | None) -> str | None:
        """Why nothing may be sent to `place` now; None if it may.

        Args:
            place: where it would go.
            speaker: who is answered there, in canonical form; None if nobody in particular. Of a
                direct conversation the human is known anyway.
        """
        if self.is_wide_open(place.instance):
            return None
        rules = self._rules.get(place.instance)
        if rules is None:
            return None  # no such instance: whoever sends will say so
        try:
            row = load_binding(self._store, place)
            user_id = row.user_id if row is not None and row.direct else speaker
            return may_receive(
                rules.access,
                user_id=user_id,
                conversation=place.conversation,
                direct=row is not None and row.direct,
                standing=self._standing(place.instance, user_id) if user_id is not None else None,
            )
        except StorageError:
            return "unreadable"

    def may_tell(self, notice: Notice) -> bool:
        """Whether what the runtime itself says may go out now."""
        place = notice.address
        rules = self._rules.get(place.instance)
        if rules is None or self.is_wide_open(place.instance):
            return True
        try:
            verdict = admit(
                rules.access,
                user_id=notice.user_id,
                conversation=place.conversation,
                direct=notice.direct,
                mentioned=True,
                standing=self._standing(place.instance, notice.user_id),
            )
        except StorageError:
            return False
        return isinstance(verdict, Admitted | Knock if notice.to_stranger else Admitted)

    def _standing(self, instance: str, user_id: str) -> Standing:
        return load_standing(self._store, instance, user_id) if self._has_standings else None


def load_standing(store: Reads, instance: str, user_id: str) -> Standing:
    """What the operator has decided about somebody at an instance.

    Raises:
        CorruptRecord: it cannot be read; nobody may be let in for that.
    """
    data = store.get(Table.ACCESS, access_key(instance, user_id))
    if data is None:
        return None
    entry = read_standing(decode(data))
    if (entry.instance, entry.user_id) != (instance, user_id):
        raise CorruptRecord(f"the standing of {user_id!r:.40} at {instance!r} is somebody else's")
    return entry.standing


def read_standing(payload: object) -> StandingRow:
    """The standing whose tuple is `payload`.

    Raises:
        CorruptRecord: it is none.
    """
    values = cast("list[object]", payload) if isinstance(payload, list) else []
    match values:
        case ["approved" | "revoked", str(instance), str(user_id), int(at_us), None | str()]:
            standing: Literal["approved", "revoked"] = (
                "approved" if values[0] == "approved" else "revoked"
            )
            return StandingRow(standing, instance, user_id, at_us, cast("str | None", values[4]))
        case _:
            raise CorruptRecord("the standing of somebody is malformed")
