"""What became of deliveries. Reads only. What is explained beside them is in :mod:`.explain`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from .actors.core.attached import told_of
from .actors.core.delivery_records import DeliveryRecord, ReceiptRecord, ReopenedRecord
from .actors.core.records import address_of
from .actors.core.turn_records import AssistantRecord
from .actors.journal import load_head, load_record, load_records, load_session_number
from .actors.messages import split_record_id
from .explain import explain, find_refusal, refused
from .storage.base import Reads, Table
from .storage.keys import split_log_key
from .views import DeliveryInfo, Story, heads, pages, time_of
from .words import show_place

__all__ = [
    "DeliveryInfo",
    "Story",
    "deliveries",
    "delivery",
    "explain",
    "find_refusal",
    "refused",
    "show_place",
]


class _Tale:
    """A delivery as the records tell it, one after the other."""

    def __init__(self, session_id: str, seq: int, asked: AssistantRecord) -> None:
        self.session_id = session_id
        self.seq = seq
        self.asked = asked
        self.status = "waiting"
        self.reason: str | None = None
        self.attempts = 0
        self.platform_message_id: str | None = None
        self.parts: tuple[str, ...] = ()
        self.note: str | None = None
        self.receipt: str | None = None
        self.updated_us = asked.at_us

    def hear(self, record: DeliveryRecord | ReopenedRecord | ReceiptRecord) -> None:
        self.updated_us = record.at_us
        match record:
            case ReopenedRecord():
                self.status, self.reason = "waiting", "reopened"
            case ReceiptRecord():
                self.receipt = record.status
                if record.status == "failed":
                    self.status, self.reason = "failed", record.reason
            case DeliveryRecord():
                self.status, self.reason = record.status, record.reason
                self.attempts = record.attempt
                self.platform_message_id = record.platform_message_id
                self.parts = tuple(record.parts) or self.parts
                if record.noted_in is not None:
                    self.note = f"{record.noted_in}/{record.noted_seq}"

    def info(self) -> DeliveryInfo:
        return DeliveryInfo(
            delivery_id=f"{self.session_id}/{self.seq}",
            session_id=self.session_id,
            to=address_of(self.asked),
            status=self.status,
            reason=self.reason,
            attempts=self.attempts,
            platform_message_id=self.platform_message_id or next(iter(self.parts), None),
            parts=self.parts,
            note=self.note,
            receipt=self.receipt,
            nobody_at=self.asked.instance if address_of(self.asked) is None else None,
            asked=time_of(self.asked.at_us),
            updated=time_of(self.updated_us),
            text=told_of(self.asked),
        )


_ABOUT: Final = (DeliveryRecord, ReopenedRecord, ReceiptRecord)
"""The kinds of record that tell more of a delivery."""


def _tale(store: Reads, session_id: str, stream: int, seq: int) -> _Tale | None:
    asked = load_record(store, stream, seq)
    if not isinstance(asked, AssistantRecord):
        return None
    tale = _Tale(session_id, seq, asked)
    for _, record in load_records(store, stream, seq + 1):
        if isinstance(record, _ABOUT) and record.delivery_seq == seq:
            tale.hear(record)
    return tale


def delivery(store: Reads, delivery_id: str) -> DeliveryInfo | None:
    """One delivery; None if the id names none."""
    parts = split_record_id(delivery_id)
    if parts is None:
        return None
    session_id, seq = parts
    stream = load_session_number(store, session_id)
    tale = _tale(store, session_id, stream, seq) if stream is not None else None
    return tale.info() if tale is not None else None


def deliveries(store: Reads) -> list[DeliveryInfo]:
    """Every delivery that is open, failed or unknown, the oldest first."""
    found: dict[tuple[int, int], DeliveryInfo] = {}
    for stream, seq in _troubled(store):
        head = load_head(store, stream)
        tale = _tale(store, head.session_id, stream, seq) if head is not None else None
        if tale is not None:
            found[stream, seq] = tale.info()
    for stream, head in heads(store):
        if head.open_deliveries:
            for tale in _open_tales(store, head.session_id, stream, head.oldest_delivery):
                found[stream, tale.seq] = tale.info()
    return sorted(found.values(), key=lambda info: info.asked)


def _open_tales(store: Reads, session_id: str, stream: int, since: int) -> list[_Tale]:
    tales: dict[int, _Tale] = {}
    for seq, record in load_records(store, stream, since):
        if isinstance(record, AssistantRecord):
            tales[seq] = _Tale(session_id, seq, record)
        elif isinstance(record, ReopenedRecord) and record.delivery_seq not in tales:
            tale = _tale(store, session_id, stream, record.delivery_seq)
            if tale is not None:
                tales[record.delivery_seq] = tale
        elif isinstance(record, _ABOUT) and record.delivery_seq in tales:
            tales[record.delivery_seq].hear(record)
    over = {"delivered", "rendered"}
    return [tale for tale in tales.values() if tale.status not in over]


def _troubled(store: Reads) -> Iterator[tuple[int, int]]:
    for page in pages(store, Table.TROUBLE):
        for key, _ in page:
            yield split_log_key(key)
