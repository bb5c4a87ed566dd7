"""What was heard, as records hold it, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..messages import Address, Attachment, InboundTurn, Instance, MessageChange, MissionTurn
from .turn_records import MissionRecord, UserRecord
from .view_records import ChangedRecord, CommandRecord

__all__ = [
    "change_behind",
    "flat_files",
    "heard",
    "place_of",
    "turn_of",
    "user_record",
]


def user_record(turn: InboundTurn, at_us: int) -> UserRecord:
    """The record of an inbound turn."""
    address = turn.address
    return UserRecord(
        at_us=at_us,
        text=turn.text,
        instance=address.instance,
        conversation=address.conversation,
        thread=address.thread,
        platform=turn.platform,
        message_id=turn.message_id,
        user_id=turn.user_id,
        user_name=turn.user_name,
        chat_name=turn.chat_name,
        guild=turn.guild,
        direct=turn.direct,
        reply_to=turn.reply_to,
        attachments=flat_files(turn.attachments),
    )


def flat_files(attachments: Sequence[Attachment]) -> tuple[Any, ...] | None:
    """Files as records hold them; None for none."""
    rows = ((a.kind, a.reference, a.mime, a.size_bytes, a.name) for a in attachments)
    return tuple(rows) or None


def turn_of(record: UserRecord | MissionRecord) -> InboundTurn | MissionTurn:
    """The turn that `record` was made from."""
    if isinstance(record, MissionRecord):
        return MissionTurn(
            mission=record.mission, run=record.run, text=record.text, due_us=record.due_us
        )
    return heard(record)


def heard(record: UserRecord) -> InboundTurn:
    """The inbound turn that `record` was made from."""
    return InboundTurn(
        address=place_of(record),
        platform=record.platform,
        message_id=record.message_id,
        user_id=record.user_id,
        text=record.text,
        user_name=record.user_name,
        chat_name=record.chat_name,
        guild=record.guild,
        direct=record.direct,
        reply_to=record.reply_to,
        attachments=tuple(
            Attachment(kind=kind, reference=reference, mime=mime, size_bytes=size, name=name)
            for kind, reference, mime, size, name in record.attachments or ()
        ),
    )


def place_of(record: UserRecord | CommandRecord) -> Address:
    """Where a human has said what `record` holds."""
    return Address(
        instance=Instance(record.instance),
        conversation=record.conversation,
        thread=record.thread,
    )


def change_behind(record: ChangedRecord, said: UserRecord) -> MessageChange:
    """The change of message `said` that `record` was made from."""
    return MessageChange(
        address=place_of(said),
        platform=said.platform,
        message_id=said.message_id,
        change_id=record.change_id,
        user_id=record.by,
        text=record.text,
    )
