"""What is explained of the commands of humans that a session's log holds. Reads only."""

from __future__ import annotations

from collections.abc import Iterator

from .actors.core.records import address_of
from .actors.core.turn_records import AssistantRecord
from .actors.core.view_records import ClearRecord, CommandRecord
from .actors.journal import load_records
from .storage.base import Reads
from .words import show_place, stamp

__all__ = ["command_lines"]


def command_lines(
    store: Reads, session_id: str, stream: int, seq: int, record: CommandRecord
) -> Iterator[str]:
    """Who asked for what, and what was done about it."""
    came = stamp(record.at_us)
    wrote = f"wrote message {record.message_id!r} in {show_place(address_of(record))}"
    yield f"{came}  {record.platform} user {record.user_id!r} {wrote}"
    yield f"{came}  it was the command /{record.command}: no agent heard it"
    for number, later in load_records(store, stream, seq + 1):
        match later:
            case ClearRecord(by="user"):
                yield f"{came}  the context begins anew after record {session_id}/{number}"
            case AssistantRecord(by="runtime", route="command"):
                yield f"{came}  answered; the reply is delivery {session_id}/{number}"
                return
            case _:
                return
