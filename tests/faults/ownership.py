"""Whose conversation is whose, and who is who, as the logs tell it commit by commit."""

from __future__ import annotations

from collections.abc import Sequence

from turnkeeper.actors.core.ownership_records import BoundRecord, ReleasedRecord
from turnkeeper.actors.core.runtime_records import ChangeRecord
from turnkeeper.actors.core.turn_records import UserRecord
from turnkeeper.actors.messages import Address, Instance

from .findings import Findings
from .people import Person, show

__all__ = ["Owners", "place_of"]


class Owners:
    """One owner for each conversation, and only humans and explicit acts give it another."""

    def __init__(self, findings: Findings) -> None:
        self.called: set[Address] = set()
        """Where a human has written, whether or not it was accepted."""
        self._findings = findings
        self._owners: dict[Address, tuple[str, int]] = {}
        """Place -> session and version."""
        self._asked_at: dict[str, int] = {}
        """Text -> how many commits there had been when somebody asked for it to be sent."""
        self._users: dict[Person, list[tuple[int, str]]] = {}
        self._agents: dict[Address, list[tuple[int, str]]] = {}
        """What has been so, from which commit on."""

    def of(self, place: Address) -> str | None:
        """The session that owns a place."""
        return self._owners.get(place, (None, 0))[0]

    # -- records -----------------------------------------------------------------------------------

    def bound(self, session_id: str, agent: str, record: BoundRecord, *, by_act: bool) -> None:
        """A session has got a place."""
        expect, place = self._findings.expect, place_of(record)
        owner, version = self._owners.get(place, (None, 0))
        expect(
            record.version == version + 1,
            f"2: version {record.version} of {show(place)} follows on version {version}",
        )
        expect(
            record.from_session == owner,
            f"2: {show(place)} was {owner}'s before {session_id}, not {record.from_session}'s",
        )
        if owner is None:
            expect(
                place in self.called,
                f"5: {show(place)} belongs to {session_id}, and no human has written there",
            )
        else:
            expect(by_act, f"5: {show(place)} went to {session_id} without an act")
        self._owners[place] = session_id, record.version
        self._agents.setdefault(place, []).append((self._findings.commits, agent))

    def released(self, session_id: str, record: ReleasedRecord) -> None:
        """A session gives a place away; its new owner's record is in the same commit."""
        place = place_of(record)
        known = (session_id, record.version - 1), (record.to_session, record.version)
        self._findings.expect(
            self._owners.get(place) in known,
            f"2: {session_id} gives version {record.version} of {show(place)} away, which is "
            f"{self._owners.get(place)}",
        )

    def changed(self, record: ChangeRecord) -> None:
        """The ledger tells of a change of who is who."""
        for platform, user_id, _, (user, *_) in record.identities:
            who = Person(platform, user_id)
            users = self._users.setdefault(who, [(0, str(who))])
            users.append((self._findings.commits, user or str(who)))

    # -- what was so when somebody asked -----------------------------------------------------------

    def asks(self, text: str) -> None:
        """Somebody asks for a text to be sent: what holds now, or later, counts for it."""
        self._asked_at.setdefault(text, self._findings.commits)

    def users_since(self, text: str, person: Person) -> Sequence[str]:
        """Who somebody has been since a text was asked for."""
        return self._since(text, self._users.get(person, [(0, str(person))]))

    def agents_since(self, text: str, place: Address) -> Sequence[str]:
        """Whose place it has been since a text was asked for."""
        return self._since(text, self._agents.get(place, []))

    def _since(self, text: str, values: list[tuple[int, str]]) -> Sequence[str]:
        asked = self._asked_at[text]
        before = [value for commit, value in values if commit <= asked][-1:]
        return before + [value for commit, value in values if commit > asked]


def place_of(record: BoundRecord | ReleasedRecord | UserRecord) -> Address:
    """The place of a record that always has one."""
    return Address(Instance(record.instance), record.conversation, record.thread)
