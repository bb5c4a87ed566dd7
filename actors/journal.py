"""How a session's decisions become batches, and how its log is read back.

The one place where the actors' records meet the store's bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final, NamedTuple, cast

from ..storage.base import Batch, Reads, Table
from ..storage.codec import decode, decode_all, encode, encode_known
from ..storage.errors import CorruptRecord, RecordFromFuture, StorageError
from ..storage.keys import hash16, log_key, number_key
from .core.conversation import Conversation
from .core.delivery_records import DeliveryRecord, ReceiptRecord, ReopenedRecord
from .core.effects import Step
from .core.head import Head, is_outdated, read_head
from .core.heard import turn_of
from .core.intake import seen_window
from .core.records import MalformedRecord, Record, pack, unpack
from .core.routing import BindingRow, read_binding
from .core.turn_records import AssistantRecord, MissionRecord, QuarantinedRecord, UserRecord
from .messages import Address, AnyTurn, InboundTurn, Instance, MessageChange, SessionId

__all__ = [
    "FEED_STREAM",
    "SCHEDULE_STREAM",
    "LastRow",
    "SeenRow",
    "SentRow",
    "batch_for",
    "binding_key",
    "change_hash",
    "deletion_hash",
    "find_session",
    "head_in",
    "heard_hash",
    "index_trouble",
    "last_key",
    "load_binding",
    "load_conversation",
    "load_head",
    "load_last",
    "load_note_of",
    "load_record",
    "load_records",
    "load_seen",
    "load_sent",
    "load_session_number",
    "log_pages",
    "mission_behind",
    "name_key",
    "read_last",
    "read_note_row",
    "read_sent",
    "seen_hash",
    "seen_key",
    "sent_key",
    "turn_at",
    "waiting_key",
]

FEED_STREAM: Final = 0
"""Number of the stream that holds the console feed; sessions begin at 1."""
SCHEDULE_STREAM: Final = 2**63 + 1
"""Number of the stream that holds what was decided about missions."""
_FIRST_PAGE: Final = 4
"""Records that are read at first, because one alone may have millions of bytes."""
_PAGE: Final = 256
"""Records that are read at a time at most."""
_PAGE_BYTES: Final = 1_048_576
"""Bytes that are read at a time, as far as the records before tell."""
_DECODED_BYTES: Final = 8_388_608
"""Bytes of records that are decoded together: what comes of them takes several times as much."""

_WINDOW: Final = struct.Struct(">I")

SeenRow = tuple[str, int, bytes]
"""Session id, sequence number of the user record, digest of the body."""


class LastRow(NamedTuple):
    """Where a human last wrote to an agent at an instance. A tuple, as it is stored."""

    instance: str
    conversation: str
    thread: str | None
    session_id: str
    at_us: int

    @property
    def address(self) -> Address:
        """The place."""
        return Address(Instance(self.instance), self.conversation, self.thread)


def name_key(session_id: str) -> bytes:
    """Key of a session in `Table.NAMES`."""
    return hash16(session_id)


def binding_key(place: Address) -> bytes:
    """Key of a place in `Table.BINDINGS`."""
    return hash16(place.instance, place.conversation, place.thread)


def seen_hash(turn: InboundTurn) -> bytes:
    """What a redelivery of `turn` has in common with it."""
    return heard_hash(turn.address, turn.message_id)


def heard_hash(place: Address, message_id: str) -> bytes:
    """By which the message of a human is found again."""
    return hash16(place.instance, place.conversation, message_id)


def change_hash(change: MessageChange) -> bytes:
    """What a change has in common with itself when it is told again; a deletion with any other."""
    if change.text is None:
        return deletion_hash(change)
    place = change.address
    return hash16(place.instance, place.conversation, change.message_id, change.change_id)


def deletion_hash(change: MessageChange) -> bytes:
    """By which the deletion of the message is found that `change` is about."""
    place = change.address
    return hash16(place.instance, place.conversation, change.message_id, None)


def seen_key(window: int, seen: bytes) -> bytes:
    """Key of a message in `Table.SEEN`: windows are neighbours, so that old ones go at once."""
    return _WINDOW.pack(window) + seen


class SentRow(NamedTuple):
    """The delivery that a message of a platform was. A tuple, as it is stored."""

    session_id: str
    stream: int
    seq: int
    heard: tuple[str, ...] = ()
    """What the platform has told of it later: `delivered`, `read` or `failed`."""


def last_key(agent: str, instance: str) -> bytes:
    """Key in `Table.LAST`."""
    return hash16(agent, instance)


def sent_key(place: Address, platform_message_id: str) -> bytes:
    """Key in `Table.SENT` of a message as the platform knows it."""
    return hash16(place.instance, place.conversation, platform_message_id)


def waiting_key(place: Address, stream: int, seq: int) -> bytes:
    """Key in `Table.WAITING_NOTES` of the note of a delivery."""
    return binding_key(place) + log_key(stream, seq)


def batch_for(stream: int, conversation: Conversation, step: Step) -> Batch:
    """The batch that makes `step` durable; `conversation` is the state after it."""
    batch = Batch()
    if step.records:
        batch.append(
            stream, step.first_seq, [encode_known(pack(record)) for record in step.records]
        )
        batch.put(Table.HEADS, number_key(stream), encode_known(list(conversation.head())))
        for record in step.records:
            if type(record) in _TROUBLE:
                index_trouble(batch, stream, record)
    return batch


_TROUBLE: Final = frozenset({DeliveryRecord, QuarantinedRecord, ReopenedRecord, ReceiptRecord})


def index_trouble(batch: Batch, stream: int, record: Record) -> None:
    """Let `batch` have an operator look at what `record` tells of, or not any more."""
    match record:
        case DeliveryRecord(status="failed" | "unknown"):
            key, status = log_key(stream, record.delivery_seq), record.status
            batch.put(Table.TROUBLE, key, encode((status, record.at_us, record.reason)))
        case QuarantinedRecord():
            key = log_key(stream, record.turn_seq)
            batch.put(Table.TROUBLE, key, encode(("quarantined", record.at_us, record.error)))
        case ReceiptRecord(status="failed"):
            key = log_key(stream, record.delivery_seq)
            batch.put(Table.TROUBLE, key, encode(("failed", record.at_us, record.reason)))
        case ReopenedRecord():
            batch.delete(Table.TROUBLE, log_key(stream, record.delivery_seq))
        case _:
            pass


def _parse(what: str, data: bytes) -> Record:
    try:
        return unpack(decode(data))
    except (CorruptRecord, MalformedRecord) as error:
        raise CorruptRecord(f"{what}: {error}") from error


def load_record(store: Reads, stream: int, seq: int) -> Record | None:
    """Record `seq` of `stream`, or None.

    Raises:
        CorruptRecord: the stored bytes are damaged; the text names the place.
    """
    found = store.read_log(stream, seq, seq + 1, limit=1)
    return _parse(f"record {stream}/{seq}", found[0][1]) if found else None


def log_pages(
    store: Reads, stream: int, start: int = 1, stop: int | None = None, *, reverse: bool = False
) -> Iterator[list[tuple[int, bytes]]]:
    """The records of `stream` with `start <= seq < stop` as they are stored, some at a time.

    These are few at first, then as many as there is memory for, whatever they hold.

    Args:
        store: where they are.
        stream: number of the session.
        start: the first one.
        stop: the first one that is not wanted any more.
        reverse: newest first.
    """
    limit = _FIRST_PAGE
    while page := store.read_log(stream, start, stop, limit=limit, reverse=reverse):
        yield page
        if len(page) < limit:
            return
        size = sum(len(data) for _, data in page)
        limit = max(min(2 * limit, _PAGE, _PAGE_BYTES * len(page) // max(size, 1)), 1)
        if reverse:
            stop = page[-1][0]
        else:
            start = page[-1][0] + 1


def load_records(
    store: Reads,
    stream: int,
    start: int = 1,
    stop: int | None = None,
    *,
    reverse: bool = False,
    damaged: Callable[[int, StorageError], None] | None = None,
    kinds: Collection[str] | None = None,
) -> Iterator[tuple[int, Record]]:
    """The records of `stream` with `start <= seq < stop`, read page by page.

    Args:
        store: where they are.
        stream: number of the session.
        start: the first one.
        stop: the first one that is not wanted any more.
        reverse: newest first.
        damaged: told of each that cannot be read, which is passed over; None to raise instead.
        kinds: the only ones that are wanted; None for all.

    Raises:
        CorruptRecord: as for :func:`load_record`.
    """
    for page in log_pages(store, stream, start, stop, reverse=reverse):
        for (seq, data), payload in zip(page, _payloads(page), strict=True):
            try:
                found = decode(data) if payload is None else payload
                if kinds is not None and _is_of_other_kind(found, kinds):
                    continue
                record = unpack(found)
            except (CorruptRecord, MalformedRecord) as error:
                fault = CorruptRecord(f"record {stream}/{seq}: {error}")
                if damaged is None:
                    raise fault from error
                damaged(seq, fault)
                continue
            yield seq, record


def _payloads(page: Sequence[tuple[int, bytes]]) -> Sequence[Any]:
    """The payloads of records; None for each that is to be decoded by itself.

    That is all of them where one cannot be read, and where together they might be more than there
    is memory for.
    """
    if sum(len(data) for _, data in page) > _DECODED_BYTES:
        return [None] * len(page)
    try:
        return decode_all([data for _, data in page])
    except (CorruptRecord, RecordFromFuture):
        return [None] * len(page)


def _is_of_other_kind(payload: Any, kinds: Collection[str]) -> bool:
    """Whether a payload is a record, as it seems, and of none of `kinds`."""
    if type(payload) is not list or not payload:
        return False
    kind = cast("list[object]", payload)[0]
    return type(kind) is str and kind not in kinds


def load_head(store: Reads, stream: int) -> Head | None:
    """The head of session number `stream`, or None."""
    data = store.get(Table.HEADS, number_key(stream))
    return head_in(store, stream, decode(data)) if data is not None else None


def head_in(store: Reads, stream: int, payload: object) -> Head:
    """The head that is stored as `payload`; made anew from the log if it is outdated.

    So it stays, and is read again each time, until the session's next commit.

    Raises:
        CorruptRecord: it is outdated, and a record of the log cannot be read.
        MalformedRecord: it is not a head.
    """
    if not is_outdated(payload):
        return read_head(payload)
    replayed = Conversation()
    for _, record in load_records(store, stream):
        replayed.apply(record)
    return replayed.head()


def load_conversation(store: Reads, stream: int) -> Conversation | None:
    """The state of session number `stream`, with its open work, or None."""
    head = load_head(store, stream)
    if head is None:
        return None
    since = head.open_since
    return Conversation.from_head(head, load_records(store, stream, since) if since else ())


def load_session_number(store: Reads, session_id: str) -> int | None:
    """The number of the session called `session_id`, or None."""
    data = store.get(Table.NAMES, name_key(session_id))
    if data is None:
        return None
    number = decode(data)
    if not isinstance(number, int):
        raise CorruptRecord(f"the name {session_id!r} leads to {number!r:.40}")
    return number


def find_session(store: Reads, session_id: str) -> tuple[int, Head] | None:
    """Number and head of the session called `session_id`; None if there is none."""
    stream = load_session_number(store, session_id)
    head = load_head(store, stream) if stream is not None else None
    return (stream, head) if stream is not None and head is not None else None


def mission_behind(store: Reads, stream: int, said: AssistantRecord) -> str | None:
    """The mission in whose run `said` was said, in session number `stream`; None if in none."""
    asked = said.turn_seq or said.during
    turn = load_record(store, stream, asked) if asked else None
    return turn.mission if isinstance(turn, MissionRecord) else None


def load_binding(store: Reads, place: Address) -> BindingRow | None:
    """The binding of `place`, or None."""
    data = store.get(Table.BINDINGS, binding_key(place))
    return read_binding(decode(data)) if data is not None else None


def load_last(store: Reads, agent: str, instance: str) -> LastRow | None:
    """Where a human last wrote to `agent` at `instance`, or None."""
    data = store.get(Table.LAST, last_key(agent, instance))
    return read_last(decode(data)) if data is not None else None


def read_last(payload: object) -> LastRow:
    """The last conversation whose tuple is `payload`.

    Raises:
        CorruptRecord: it is none.
    """
    match payload:
        case [str(where), str(conversation), None | str() as thread, str(session_id), int(at_us)]:
            return LastRow(where, conversation, thread, session_id, at_us)
        case _:
            raise CorruptRecord(f"the last conversation of an agent is kept as {payload!r:.80}")


def load_sent(store: Reads, place: Address, platform_message_id: str) -> SentRow | None:
    """The delivery that a message of the platform was.

    None for what is not kept: plain answers, where no channel asks for them.
    """
    data = store.get(Table.SENT, sent_key(place, platform_message_id))
    return read_sent(decode(data)) if data is not None else None


def read_sent(payload: object) -> SentRow:
    """The delivery whose tuple is `payload`.

    Raises:
        CorruptRecord: it is none.
    """
    match payload:
        case [str(session_id), int(stream), int(seq), list()]:
            heard = cast("list[object]", payload[3])
            return SentRow(session_id, stream, seq, tuple(map(str, heard)))
        case _:
            raise CorruptRecord(f"a sent message is kept as {payload!r:.80}")


def load_note_of(store: Reads, stream: int, seq: int) -> tuple[SessionId, int, int] | None:
    """Where the note of delivery `seq` of session number `stream` is, if there is one.

    Returns:
        The owner, its number, and the note's sequence number; None if none was written.
    """
    data = store.get(Table.NOTES, log_key(stream, seq))
    return read_note_row(decode(data)) if data is not None else None


def read_note_row(payload: object) -> tuple[SessionId, int, int]:
    """Where a note is, as it is stored.

    Raises:
        CorruptRecord: it is no such row.
    """
    match payload:
        case [str(owner), int(number), int(note_seq)]:
            return SessionId(owner), number, note_seq
        case _:
            raise CorruptRecord(f"the place of a note is kept as {payload!r:.80}")


def turn_at(store: Reads, stream: int, seq: int) -> AnyTurn:
    """The turn of record `seq` of `stream`.

    Raises:
        CorruptRecord: it is no turn, or cannot be read.
    """
    record = load_record(store, stream, seq)
    if not isinstance(record, UserRecord | MissionRecord):
        raise CorruptRecord(f"record {stream}/{seq} is no turn")
    return turn_of(record)


def load_seen(store: Reads, seen: bytes, now_us: int) -> SeenRow | None:
    """Where a message was accepted, if it was within the window."""
    window = seen_window(now_us)
    data = store.get(Table.SEEN, seen_key(window, seen))
    if data is None:
        data = store.get(Table.SEEN, seen_key(window - 1, seen))
        if data is None:
            return None
    match decode(data):
        case [str(session_id), int(seq), bytes(digest)]:
            return session_id, seq, digest
        case row:
            raise CorruptRecord(f"a seen message is kept as {row!r:.80}")
