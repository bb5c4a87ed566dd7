"""Whether the owner of a conversation knows what others have said there: in the same commit."""

from __future__ import annotations

from turnkeeper.actors.core.delivery_records import DeliveryRecord, NoteRecord
from turnkeeper.actors.core.records import address_of
from turnkeeper.actors.deliveries import Outcome
from turnkeeper.actors.messages import Address

from .deliveries import Delivery, was_heard
from .findings import Findings

__all__ = ["Notes"]


class Notes:
    """An outcome that tells of an arrival and the note of it are durable together."""

    def __init__(self, findings: Findings) -> None:
        self.kept: dict[str, tuple[str, int]] = {}
        """Delivery -> session and sequence number of its note."""
        self._findings = findings
        self._awaited: set[str] = set()
        """Deliveries that were heard where nobody was the owner yet."""
        self._told: list[tuple[Delivery, DeliveryRecord, str | None]] = []
        self._written: list[NoteRecord] = []
        """Outcomes and notes of the commit that is being read."""

    def told(self, delivery: Delivery, record: DeliveryRecord, owner: str | None) -> None:
        """What became of an attempt at a place of `owner` is durable."""
        if was_heard(record) and delivery.place is not None:
            self._told.append((delivery, record, owner))
        else:
            self._findings.expect(
                record.noted_in is None, f"7: {delivery} is noted, and was not heard"
            )

    def written(self, session_id: str, seq: int, record: NoteRecord) -> None:
        """A session has a note."""
        if record.delivery_id is None:
            return
        earlier = self.kept.get(record.delivery_id)
        self._findings.expect(
            earlier is None,
            f"7: {record.delivery_id} is noted in {earlier} and in {(session_id, seq)}",
        )
        self.kept[record.delivery_id] = session_id, seq
        self._written.append(record)

    def end_of_commit(self, first_owned: set[Address]) -> None:
        """A commit has been read; in it, places of `first_owned` have got their first owner."""
        written = {note.delivery_id for note in self._written}
        for delivery, record, owner in self._told:
            self._check(delivery, record, owner, is_new=delivery.id in written)
        told = {delivery.id for delivery, _, _ in self._told}
        for note in self._written:
            if note.delivery_id not in told:
                self._findings.expect(
                    note.delivery_id in self._awaited and address_of(note) in first_owned,
                    f"7: a note of {note.delivery_id} without its outcome",
                )
                self._awaited.discard(note.delivery_id or "")
        self._told, self._written = [], []

    def _check(
        self, delivery: Delivery, record: DeliveryRecord, owner: str | None, *, is_new: bool
    ) -> None:
        expect, note = self._findings.expect, self.kept.get(delivery.id)
        what = f"7: {delivery}, {record.status!r} in a conversation of {owner},"
        if owner is None:
            self._awaited.add(delivery.id)
        elif note is None:
            known = owner == delivery.session_id or delivery.id in self._awaited
            expect(known, f"{what} is noted nowhere")
        elif is_new:
            expect(note[0] == owner, f"{what} is noted in {note[0]}")
            expect(
                (record.noted_in, record.noted_seq) == note,
                f"{what} leads to {record.noted_in}/{record.noted_seq}, and its note is {note}",
            )
        else:
            expect(
                record.noted_in in (None, note[0]),
                f"{what} leads to {record.noted_in}, and its note is {note}",
            )

    def answered(self, outcome: Outcome) -> None:
        """Somebody is told what became of a message."""
        if outcome.provenance == "recorded":
            note = self.kept.get(outcome.delivery_id or "")
            self._findings.expect(
                note is not None and note[0] == outcome.noted_in,
                f"7: {outcome.delivery_id} is said to be noted in {outcome.noted_in}, not {note}",
            )
