"""What is explained of deliveries, of notes, and of the runs of missions. Reads only."""

from __future__ import annotations

from collections.abc import Iterator

from .actors.core.attached import files_to_send
from .actors.core.delivery_records import DeliveryRecord, NoteRecord, ReceiptRecord, ReopenedRecord
from .actors.core.records import Record, address_of
from .actors.core.turn_records import AssistantRecord, MissionRecord, UserRecord
from .actors.journal import load_note_of, load_record, load_records, load_session_number
from .actors.messages import split_record_id
from .storage.base import Reads
from .words import show_place, stamp

__all__ = ["delivery_lines", "note_lines", "run_lines"]


def delivery_lines(
    store: Reads, session_id: str, stream: int, seq: int, record: AssistantRecord
) -> Iterator[str]:
    """Who asked for a delivery, where it went, what became of it, and where its note is."""
    asked = stamp(record.at_us)
    yield f"{asked}  asked for by {_who_asked(store, session_id, stream, record)}"
    yield f"{asked}  it goes to {_whereto(record)}"
    for file in files_to_send(record):
        yield f"{asked}  it brings {file.label}, kept as {file.reference}"
    for _, later in load_records(store, stream, seq + 1):
        if getattr(later, "delivery_seq", None) == seq and (line := _of_delivery(later)):
            yield f"{stamp(later.at_us)}  {line}"
    note = load_note_of(store, stream, seq)
    if note is not None:
        yield f"its note is {note[0]}/{note[2]}, in the log of whoever owns the conversation"


def _who_asked(store: Reads, session_id: str, stream: int, record: AssistantRecord) -> str:
    turn_seq = record.turn_seq or record.during
    turn = load_record(store, stream, turn_seq) if turn_seq else None
    match turn:
        case MissionRecord():
            run = f"run {turn.run} of mission {turn.mission}, {session_id}/{turn_seq}"
            return f"{run}, as its answer" if record.turn_seq else f"the agent in {run}"
        case UserRecord() if record.turn_seq:
            return f"turn {session_id}/{turn_seq}, as its answer"
        case UserRecord():
            return f"the agent in turn {session_id}/{turn_seq}"
        case _:
            return {
                "operator": "the operator",
                "program": "the program",
                "runtime": "the runtime itself",
            }.get(record.by or "", "no turn")


def _whereto(record: AssistantRecord) -> str:
    """Where a message goes, and how that was found out."""
    place = address_of(record)
    if place is None and record.instance is not None:
        return f"nobody: no human has written at {record.instance}"
    where = show_place(place)
    match record.route:
        case "address":
            return f"{where}, as asked"
        case "turn":
            return f"{where}, where the turn came from"
        case "active channel":
            return f"{where}, the active channel of the session"
        case None if record.reply_to is not None:
            return f"{where}, where the turn came from"
        case "command":
            return f"{where}, where a human had written; no agent knows of it"
        case str(route) if route.startswith("user "):
            return f"{where}, where {route} wrote last"
        case _:
            return where


def _of_delivery(record: Record) -> str | None:
    match record:
        case ReopenedRecord():
            marked = ", to be marked as a possible repetition" if record.duplicate else ""
            return f"opened again by the operator{marked}"
        case ReceiptRecord():
            reason = f": {record.reason}" if record.reason else ""
            return f"the platform told later: {record.status}{reason}"
        case DeliveryRecord():
            reason = f": {record.reason}" if record.reason else ""
            ids = record.parts or tuple(filter(None, [record.platform_message_id]))
            held = f" as {', '.join(map(repr, ids))}" if ids else ""
            return f"attempt {record.attempt}: {record.status}{held}{reason}"
        case _:
            return None


def run_lines(record: MissionRecord) -> Iterator[str]:
    """Why a mission ran."""
    why = f"due {stamp(record.due_us)}" if record.by == "schedule" else f"asked for by {record.by}"
    yield f"{stamp(record.at_us)}  run {record.run} of mission {record.mission} began, {why}"


def note_lines(store: Reads, record: NoteRecord) -> Iterator[str]:
    """What was said on a session's behalf, and the story of the delivery that it was."""
    where = address_of(record)
    place = f" in {show_place(where)}" if where is not None else ""
    yield f"{stamp(record.at_us)}  {record.source} said{place}: {record.status}"
    parts = split_record_id(record.delivery_id) if record.delivery_id is not None else None
    stream = load_session_number(store, parts[0]) if parts is not None else None
    if parts is None or stream is None:
        return
    said = load_record(store, stream, parts[1])
    if isinstance(said, AssistantRecord):
        yield f"it was delivery {record.delivery_id}:"
        yield from delivery_lines(store, parts[0], stream, parts[1], said)
