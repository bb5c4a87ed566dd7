"""How places, session keys and records are put into words, wherever somebody reads about them."""

from __future__ import annotations

from datetime import UTC, datetime

from .actors.core.delivery_records import DeliveryRecord, NoteRecord, ReceiptRecord
from .actors.core.ownership_records import (
    ActiveRecord,
    BoundRecord,
    HiddenRecord,
    KeyedRecord,
    LinkedRecord,
    OpenedRecord,
    ReleasedRecord,
    UnlinkedRecord,
)
from .actors.core.records import Record
from .actors.core.routing import Key, default_user
from .actors.core.runtime_records import AccessRecord, ChangeRecord, FeedRecord, ScheduleRecord
from .actors.core.turn_records import (
    AssistantRecord,
    AttemptRecord,
    FailureRecord,
    MissionRecord,
    QuarantinedRecord,
    ToolRecord,
    UserRecord,
)
from .actors.core.view_records import (
    ChangedRecord,
    ClearRecord,
    CommandRecord,
    ErasedRecord,
    ForgottenRecord,
    MemoryRecord,
    SummaryRecord,
)
from .actors.messages import Address

__all__ = ["counted", "show_key", "show_place", "stamp", "text_of", "time_of"]


def time_of(at_us: int) -> datetime:
    """The moment `at_us` microseconds after the Unix epoch, UTC."""
    return datetime.fromtimestamp(at_us / 1e6, UTC)  # exact to the microsecond until 2106


def stamp(at_us: int) -> str:
    """A moment, `at_us` microseconds after the Unix epoch, as `2026-11-21 09:30:00.000Z`."""
    at = time_of(at_us)
    return at.isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00") + "Z"


def counted(count: int, noun: str) -> str:
    """`1 message`, `2,000 messages`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def show_place(place: Address | None) -> str:
    """`instance/conversation[/thread]`; `feed` for None."""
    if place is None:
        return "feed"
    thread = f"/{place.thread}" if place.thread is not None else ""
    return f"{place.instance}/{place.conversation}{thread}"


def show_key(key: Key) -> str:
    """Whom or what a session serves that holds `key`."""
    match tuple(key):
        case ("user", agent, user):
            return f"the user {user} of agent {agent!r}"
        case ("main", agent):
            return f"all direct conversations of agent {agent!r}"
        case ("guild", agent, instance, guild):
            return f"the guild {guild} on {instance}, of agent {agent!r}"
        case ("conversation", agent, instance, conversation):
            return f"all threads of {instance}/{conversation}, of agent {agent!r}"
        case other:
            return "/".join(other)


def text_of(record: Record) -> str:
    """What a record says, in one text; empty where its kind says it all."""
    match record:
        case (
            UserRecord()
            | AssistantRecord()
            | FeedRecord()
            | ChangeRecord()
            | MissionRecord()
            | NoteRecord()
            | SummaryRecord()
        ):
            return record.text
        case ToolRecord():
            return f"{record.name}({record.arguments}) -> {record.result}"
        case FailureRecord() | QuarantinedRecord():
            return record.error
        case OpenedRecord() | ActiveRecord() | ClearRecord() | ForgottenRecord():
            return f"by {record.by}"
        case DeliveryRecord() | ReceiptRecord():
            reason = f" ({record.reason})" if record.reason else ""
            return f"{record.status}{reason}"
        case AttemptRecord():
            return f"attempt {record.attempt}"
        case ScheduleRecord():
            return f"mission {record.name} {record.act} by {record.by}"
        case _:
            return _of_belonging(record)


def _of_belonging(record: Record) -> str:
    """Of what belongs to whom."""
    match record:
        case BoundRecord():
            before = f", from {record.from_session}" if record.from_session is not None else ""
            return f"by {record.by}{before}"
        case ReleasedRecord():
            merged = ", where this session goes on" if record.merged else ""
            return f"belongs to {record.to_session} from here on{merged} ({record.by})"
        case KeyedRecord():
            return f"serves {show_key(record.key)}{'' if record.held else ' no more'}"
        case LinkedRecord():
            said = f"what was said in {record.session_id}"
            return f"{said} is part of this context ({record.by})"
        case UnlinkedRecord():
            said = f"what was said in {record.session_id}"
            return f"{said} is not part of this context any more ({record.by})"
        case HiddenRecord():
            who = default_user(record.platform, record.user_id)
            since = f"from {stamp(record.since_us)} until now"
            return f"what {who} said here {since} is not shown any more (change {record.number})"
        case AccessRecord():
            return f"{record.user_id} was {record.standing} at {record.instance}"
        case _:
            return _of_keeping(record)


def _of_keeping(record: Record) -> str:
    """Of what the agent keeps, and of what humans and operators have asked the runtime for."""
    match record:
        case ChangedRecord(text=str(text)):
            return f"message {record.message_seq} now says: {text}"
        case ChangedRecord():
            return f"message {record.message_seq} was deleted"
        case MemoryRecord(value=str(value)):
            return f"{record.key} = {value}"
        case MemoryRecord():
            return f"{record.key} is kept no more"
        case CommandRecord():
            return f"/{record.command} by {default_user(record.platform, record.user_id)}"
        case ErasedRecord():
            return f"{record.session_id} was deleted, {record.records} records, by {record.by}"
        case _:
            return ""
