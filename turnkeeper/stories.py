"""What became of a delivery, and why a message reached its session. Reads only."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import cast

from .actors.core.records import (
    AssistantRecord,
    AttemptRecord,
    BoundRecord,
    DeliveryRecord,
    FailureRecord,
    InterruptedRecord,
    OpenedRecord,
    QuarantinedRecord,
    Record,
    ReopenedRecord,
    SilentRecord,
    UserRecord,
    address_of,
)
from .actors.journal import load_binding, load_head, load_record, load_records, load_session_number
from .actors.messages import Address, split_record_id
from .storage.base import Reads, Table
from .storage.keys import split_log_key
from .views import DeliveryInfo, Story, heads, pages, time_of

__all__ = ["DeliveryInfo", "Story", "deliveries", "delivery", "explain", "show_place"]


def show_place(place: Address | None) -> str:
    """`instance/conversation[/thread]`; `feed` for None."""
    if place is None:
        return "feed"
    thread = f"/{place.thread}" if place.thread is not None else ""
    return f"{place.instance}/{place.conversation}{thread}"


# -- deliveries ----------------------------------------------------------------------------------


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
        self.updated_us = asked.at_us

    def hear(self, record: DeliveryRecord | ReopenedRecord) -> None:
        self.updated_us = record.at_us
        if isinstance(record, ReopenedRecord):
            self.status, self.reason = "waiting", "reopened"
        else:
            self.status, self.reason = record.status, record.reason
            self.attempts = record.attempt
            self.platform_message_id = record.platform_message_id

    def info(self) -> DeliveryInfo:
        return DeliveryInfo(
            delivery_id=f"{self.session_id}/{self.seq}",
            session_id=self.session_id,
            to=address_of(self.asked),
            status=self.status,
            reason=self.reason,
            attempts=self.attempts,
            platform_message_id=self.platform_message_id,
            asked=time_of(self.asked.at_us),
            updated=time_of(self.updated_us),
            text=self.asked.text,
        )


def _about(record: Record) -> int:
    return record.delivery_seq if isinstance(record, DeliveryRecord | ReopenedRecord) else 0


def _tale(store: Reads, session_id: str, stream: int, seq: int) -> _Tale | None:
    asked = load_record(store, stream, seq)
    if not isinstance(asked, AssistantRecord):
        return None
    tale = _Tale(session_id, seq, asked)
    for _, record in load_records(store, stream, seq + 1):
        if isinstance(record, DeliveryRecord | ReopenedRecord) and record.delivery_seq == seq:
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
        elif (tale := tales.get(_about(record))) is not None:
            tale.hear(cast("DeliveryRecord | ReopenedRecord", record))
    over = {"delivered", "rendered"}
    return [tale for tale in tales.values() if tale.status not in over]


def _troubled(store: Reads) -> Iterator[tuple[int, int]]:
    for page in pages(store, Table.TROUBLE):
        for key, _ in page:
            yield split_log_key(key)


# -- explanations --------------------------------------------------------------------------------


def explain(store: Reads, record_id: str) -> Story | None:
    """The story of a session, a turn or a delivery; None if the id names none."""
    parts = split_record_id(record_id)
    session_id, seq = parts if parts is not None else (record_id, 1)
    stream = load_session_number(store, session_id)
    if stream is None:
        return None
    record = load_record(store, stream, seq)
    match record:
        case UserRecord():
            return Story(
                id=record_id,
                kind="turn",
                lines=tuple(_turn_lines(store, session_id, stream, seq, record)),
            )
        case AssistantRecord():
            return Story(
                id=record_id,
                kind="delivery",
                lines=tuple(_delivery_lines(store, stream, seq, record)),
            )
        case OpenedRecord():
            return Story(
                id=record_id, kind="session", lines=tuple(_session_lines(store, stream, session_id))
            )
        case _:
            return None


def _stamp(at_us: int) -> str:
    at: datetime = time_of(at_us)
    return at.isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00") + "Z"


def _session_lines(store: Reads, stream: int, session_id: str) -> Iterator[str]:
    for _, record in load_records(store, stream):
        match record:
            case OpenedRecord():
                yield (
                    f"{_stamp(record.at_us)}  session {session_id} opened for agent "
                    f"{record.agent!r} by: {record.by}"
                )
            case BoundRecord():
                place = show_place(address_of(record))
                made = f"binding {record.version}: {record.by}"
                yield f"{_stamp(record.at_us)}  owns {place} ({made})"
            case _:
                pass


def _turn_lines(
    store: Reads, session_id: str, stream: int, seq: int, record: UserRecord
) -> Iterator[str]:
    place = address_of(record)
    row = load_binding(store, place) if place is not None else None
    yield (
        f"{_stamp(record.at_us)}  {record.platform} user {record.user_id!r} wrote message "
        f"{record.message_id!r} in {show_place(place)}"
    )
    if row is not None:
        yield (
            f"{_stamp(row.at_us)}  that conversation belongs to {row.session_id} "
            f"(binding {row.version}, made by: {row.by})"
        )
    yield f"{_stamp(record.at_us)}  accepted as {session_id}/{seq}"
    for number, later in load_records(store, stream, seq + 1):
        if getattr(later, "turn_seq", None) != seq:
            continue
        yield f"{_stamp(later.at_us)}  {_turn_event(session_id, number, later)}"
        if isinstance(later, AssistantRecord | SilentRecord | QuarantinedRecord):
            return
    yield "the turn is open"


def _turn_event(session_id: str, seq: int, record: Record) -> str:
    match record:
        case AssistantRecord():
            return f"answered; the reply is delivery {session_id}/{seq}"
        case SilentRecord():
            return "the agent ended it in silence"
        case AttemptRecord():
            return f"attempt {record.attempt} began"
        case InterruptedRecord():
            return "interrupted by a stopping runtime; the attempt does not count"
        case FailureRecord():
            return f"attempt {record.attempt} failed: {record.error}"
        case QuarantinedRecord():
            return f"quarantined after {record.attempts} attempts: {record.error}"
        case _:
            return record.kind


def _delivery_lines(store: Reads, stream: int, seq: int, record: AssistantRecord) -> Iterator[str]:
    head = load_head(store, stream)
    session_id = head.session_id if head is not None else "?"
    why = f"turn {session_id}/{record.turn_seq}" if record.turn_seq else "no turn"
    yield f"{_stamp(record.at_us)}  asked for by {why}, to {show_place(address_of(record))}"
    for _, later in load_records(store, stream, seq + 1):
        if _about(later) != seq:
            continue
        if isinstance(later, ReopenedRecord):
            yield f"{_stamp(later.at_us)}  opened again by the operator"
        elif isinstance(later, DeliveryRecord):
            reason = f": {later.reason}" if later.reason else ""
            held = f" as {later.platform_message_id!r}" if later.platform_message_id else ""
            yield f"{_stamp(later.at_us)}  attempt {later.attempt}: {later.status}{held}{reason}"
