"""What must hold at every commit of a fault run, whatever happens next.

An :class:`Auditor` reads each group that becomes durable, in order, and keeps its own account. It
knows the records and the platforms, and nothing of how the runtime came to its decisions. What it
finds begins with the number of the promise that is broken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from turnkeeper.actors.core.delivery_records import (
    DeliveryRecord,
    NoteRecord,
    ReceiptRecord,
    ReopenedRecord,
)
from turnkeeper.actors.core.head import read_head
from turnkeeper.actors.core.ownership_records import (
    ActiveRecord,
    BoundRecord,
    OpenedRecord,
    ReleasedRecord,
)
from turnkeeper.actors.core.records import Record, address_of, unpack
from turnkeeper.actors.core.routing import read_binding
from turnkeeper.actors.core.runtime_records import ChangeRecord, FeedRecord
from turnkeeper.actors.core.turn_records import (
    AssistantRecord,
    AttemptRecord,
    FailureRecord,
    MissionRecord,
    QuarantinedRecord,
    SilentRecord,
    ToolRecord,
    UserRecord,
)
from turnkeeper.actors.deliveries import Outcome
from turnkeeper.actors.journal import FEED_STREAM, SCHEDULE_STREAM
from turnkeeper.actors.ledger import LEDGER_STREAM
from turnkeeper.actors.messages import Accepted, Address
from turnkeeper.storage.base import Table
from turnkeeper.storage.batch import Group
from turnkeeper.storage.codec import decode
from turnkeeper.storage.keys import split_log_key

from .deliveries import Deliveries
from .findings import Findings
from .notes import Notes
from .ownership import Owners, place_of
from .people import show
from .platforms import Platforms

__all__ = ["Auditor"]

_AIMING: Final = (BoundRecord, ReleasedRecord, UserRecord, ActiveRecord, OpenedRecord)
"""Records that may change where a session's messages go."""

_News = list[tuple[int, int, Record]]


@dataclass
class _Session:
    stream: int
    session_id: str
    agent: str
    open_turns: deque[int] = field(default_factory=deque[int])
    places: set[Address] = field(default_factory=set[Address])
    """Where a human wrote in it, and where it was aimed at."""
    target: object = None


class Auditor:
    """Follows every commit that survives."""

    def __init__(self, platforms: Platforms, say: Callable[[str], None]) -> None:
        self.findings = Findings(say)
        self.owners = Owners(self.findings)
        self.deliveries = Deliveries(self.findings, platforms, self.owners)
        self.notes = Notes(self.findings)
        self.sessions: dict[str, _Session] = {}
        self.accepted: list[tuple[Address, str]] = []
        """Every turn, in the order of acceptance: its place, and its id on the platform."""
        self.aimed: set[str] = set()
        """Sessions whose active channel somebody has asked to set."""
        self._heard: dict[tuple[str, str, str], tuple[str, int]] = {}
        """Instance, conversation and id of a message -> where it was accepted."""
        self._logs: dict[int, list[Record]] = {}
        self._streams: dict[int, _Session] = {}
        self._runs: set[tuple[str, int]] = set()

    # -- commits -----------------------------------------------------------------------------------

    def commit(self, group: Group) -> None:
        """A group has become durable."""
        self.findings.commits += 1
        news = [(*split_log_key(key), unpack(decode(data))) for key, data in group.log]
        if news:
            self.findings.say("commit " + ", ".join(self._name(*entry) for entry in news))
        by_act = any(isinstance(record, ChangeRecord) for _, _, record in news)
        for stream, seq, record in news:
            log = self._logs.setdefault(stream, [])
            self.findings.expect(
                seq == len(log) + 1,
                f"8: record {seq} of log {stream} follows on record {len(log)}",
            )
            log.append(record)
            if stream in (FEED_STREAM, LEDGER_STREAM, SCHEDULE_STREAM):
                self._see_elsewhere(record)
            elif isinstance(record, OpenedRecord):
                self._opened(stream, record)
            else:
                self._see(self._streams[stream], seq, record, by_act=by_act)
        bound = [record for _, _, record in news if isinstance(record, BoundRecord)]
        self.notes.end_of_commit({place_of(record) for record in bound if record.version == 1})
        self._check_tables(group, news, {place_of(record) for record in bound})

    def _name(self, stream: int, seq: int, record: Record) -> str:
        session = self._streams.get(stream)
        name = session.session_id if session is not None else f"#{stream % 2**63}"
        match record:
            case DeliveryRecord():
                return f"{name}/{seq} {record.status} of {name}/{record.delivery_seq}"
            case BoundRecord() | ReleasedRecord() | ActiveRecord():
                place = address_of(record)
                return f"{name}/{seq} {record.kind} {show(place) if place else 'nothing'}"
            case _:
                return f"{name}/{seq} {record.kind}"

    def _see_elsewhere(self, record: Record) -> None:
        match record:
            case ChangeRecord():
                self.owners.changed(record)
            case FeedRecord():
                self.deliveries.shown_in_feed(record)
            case _:
                pass

    def _opened(self, stream: int, record: OpenedRecord) -> None:
        session_id = record.session_id
        self.findings.expect(
            session_id not in self.sessions, f"2: two sessions are called {session_id}"
        )
        session = _Session(stream, session_id, record.agent)
        self._streams[stream] = self.sessions[session_id] = session

    def _see(self, session: _Session, seq: int, record: Record, *, by_act: bool) -> None:
        session_id = session.session_id
        match record:
            case BoundRecord():
                self.owners.bound(session_id, session.agent, record, by_act=by_act)
            case ReleasedRecord():
                self.owners.released(session_id, record)
            case ActiveRecord():
                self._active(session, record)
            case UserRecord():
                self._user(session, seq, record)
            case MissionRecord():
                self._mission(session, seq, record)
            case AttemptRecord() | FailureRecord() | ToolRecord():
                self._is_its_turn(session, record.turn_seq, record.kind)
            case SilentRecord() | QuarantinedRecord():
                self._end_turn(session, record.turn_seq, record.kind)
            case AssistantRecord():
                self._said(session, seq, record)
            case NoteRecord():
                self.notes.written(session_id, seq, record)
            case _:
                self._see_of_delivery(session_id, record)

    def _see_of_delivery(self, session_id: str, record: Record) -> None:
        match record:
            case DeliveryRecord():
                delivery = self.deliveries.reported(session_id, record)
                owner = self.owners.of(delivery.place) if delivery.place is not None else None
                self.notes.told(delivery, record, owner)
            case ReopenedRecord():
                self.deliveries.reopened(session_id, record)
            case ReceiptRecord():
                self.deliveries.told_later(session_id, record)
            case _:
                pass

    def _active(self, session: _Session, record: ActiveRecord) -> None:
        place = address_of(record)
        self.findings.expect(
            record.by not in ("program", "operator") or session.session_id in self.aimed,
            f"5: nobody has asked to aim {session.session_id} at {place}",
        )
        if place is not None:
            session.places.add(place)

    def _check_tables(self, group: Group, news: _News, bound: set[Address]) -> None:
        """Bindings and active channels change with the records that say so, and only then."""
        aiming = {stream for stream, _, record in news if isinstance(record, _AIMING)}
        for key, data in group.tables.items():
            if data is not None and key[0] == Table.BINDINGS:
                place = read_binding(decode(data)).address
                self.findings.expect(
                    place in bound, f"5: the binding of {show(place)} is written without its record"
                )
            elif data is not None and key[0] == Table.HEADS:
                head = read_head(decode(data))
                session = self._streams[int.from_bytes(key[1:], "big")]
                target = head.instance, head.conversation, head.thread
                self.findings.expect(
                    target == session.target or session.stream in aiming,
                    f"5: the active channel of {session.session_id} went from {session.target} "
                    f"to {target}, and neither a human nor an act has said so",
                )
                session.target = target

    # -- turns -------------------------------------------------------------------------------------

    def _user(self, session: _Session, seq: int, record: UserRecord) -> None:
        expect, place, message_id = self.findings.expect, place_of(record), record.message_id
        message = record.instance, record.conversation, message_id
        earlier = self._heard.get(message)
        accepted = session.session_id, seq
        expect(earlier is None, f"1: {message_id} is accepted as {earlier} and as {accepted}")
        self._heard[message] = accepted
        self.accepted.append((place, message_id))
        owner = self.owners.of(place)
        expect(
            owner == session.session_id,
            f"2: {session.session_id} hears {message_id} at {show(place)}, which is {owner}'s",
        )
        session.open_turns.append(seq)
        session.places.add(place)

    def _mission(self, session: _Session, seq: int, record: MissionRecord) -> None:
        run = record.mission, record.run
        self.findings.expect(run not in self._runs, f"run {run[1]} of {run[0]} is recorded twice")
        self._runs.add(run)
        session.open_turns.append(seq)

    def _said(self, session: _Session, seq: int, record: AssistantRecord) -> None:
        if record.turn_seq:
            self._end_turn(session, record.turn_seq, record.kind)
            turn = self._logs[session.stream][record.turn_seq - 1]
            self.findings.expect(
                not isinstance(turn, UserRecord) or address_of(record) == place_of(turn),
                f"12: the answer to turn {session.session_id}/{record.turn_seq} goes elsewhere",
            )
        self.deliveries.asked(session.session_id, session.agent, seq, record, session.places)

    def _is_its_turn(self, session: _Session, turn_seq: int, what: str) -> None:
        first = session.open_turns[0] if session.open_turns else None
        self.findings.expect(
            first == turn_seq,
            f"3: {what} of turn {session.session_id}/{turn_seq}, when it is {first}'s turn",
        )

    def _end_turn(self, session: _Session, turn_seq: int, what: str) -> None:
        self._is_its_turn(session, turn_seq, what)
        if turn_seq in session.open_turns:
            session.open_turns.remove(turn_seq)

    # -- what others are told ----------------------------------------------------------------------

    def acknowledged(self, message: tuple[str, str, str], accepted: Accepted) -> None:
        """A channel is told that a turn is durable."""
        stored = self._heard.get(message)
        told = accepted.turn_id
        self.findings.expect(
            stored is not None and f"{stored[0]}/{stored[1]}" == told,
            f"1: {message[2]} is acknowledged as {told}, and stored as {stored}",
        )

    def answered(self, outcome: Outcome) -> None:
        """Somebody is told what became of a message."""
        self.deliveries.answered(outcome)
        self.notes.answered(outcome)

    def unfinished(self) -> list[str]:
        """What is still open: nothing, once everything works again and some time has passed."""
        turns = [
            f"turn {session.session_id}/{seq}"
            for session in self.sessions.values()
            for seq in session.open_turns
        ]
        return turns + self.deliveries.unfinished()
