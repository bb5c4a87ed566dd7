"""What must hold at every commit of a fault run, whatever happens next.

An :class:`Auditor` reads each group that becomes durable, in order, keeps its own account of who
owns what, and writes down every promise that is broken. It knows the records and the platforms,
and nothing of how the runtime came to its decisions. The numbers are those of the promises.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from turnkeeper.actors.core.head import read_head
from turnkeeper.actors.core.records import (
    ActiveRecord,
    AssistantRecord,
    AttemptRecord,
    BoundRecord,
    ChangeRecord,
    DeliveryRecord,
    FailureRecord,
    FeedRecord,
    MissionRecord,
    NoteRecord,
    OpenedRecord,
    QuarantinedRecord,
    Record,
    ReleasedRecord,
    ReopenedRecord,
    SilentRecord,
    ToolRecord,
    UserRecord,
    address_of,
    unpack,
)
from turnkeeper.actors.core.routing import read_binding
from turnkeeper.actors.journal import FEED_STREAM, SCHEDULE_STREAM
from turnkeeper.actors.ledger import LEDGER_STREAM
from turnkeeper.actors.messages import Accepted, Address, Instance, Outcome
from turnkeeper.channels.base import Outbound
from turnkeeper.storage.base import Table
from turnkeeper.storage.batch import Group
from turnkeeper.storage.codec import decode
from turnkeeper.storage.keys import split_log_key

from .platforms import Arrival, Platforms
from .schedule import GRANTED, Person, human_of, show

__all__ = ["Auditor", "Delivery"]

_OWNED: Final = (BoundRecord, ReleasedRecord, UserRecord, ActiveRecord, OpenedRecord)
"""Records that may change where a session's messages go."""


@dataclass
class Delivery:
    """One delivery, as the log and the platform know it."""

    id: str
    session_id: str
    seq: int
    record: AssistantRecord
    place: Address | None
    status: str = "waiting"
    may_have_arrived: bool = False
    reopened: bool = False
    marked: bool = False
    """Whether an operator has asked for a repetition."""
    held: set[str] = field(default_factory=set[str])
    """The platform's ids of it that the log holds."""


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
    """Follows every commit that survives, and every message that arrives."""

    def __init__(self, platforms: Platforms, say: Callable[[str], None]) -> None:
        self.problems: list[str] = []
        self.logs: dict[int, list[Record]] = {}
        self.sessions: dict[str, _Session] = {}
        self.owners: dict[Address, tuple[str, int]] = {}
        self.heard: dict[tuple[str, str, str], tuple[str, int]] = {}
        """Instance, conversation and id of a message -> where it was accepted."""
        self.deliveries: dict[str, Delivery] = {}
        self.notes: dict[str, tuple[str, int]] = {}
        self.called: set[Address] = set()
        """Where a human has written, whether or not it was accepted."""
        self.accepted: list[tuple[Address, str]] = []
        """Every turn, in the order of acceptance: its place, and its id on the platform."""
        self.aimed: set[str] = set()
        """Sessions whose active channel somebody has asked to set."""
        self.commits = 0
        self._streams: dict[int, _Session] = {}
        self._asked_at: dict[str, int] = {}
        """Text -> how many commits there had been when somebody asked for it to be sent."""
        self._users: dict[Person, list[tuple[int, str]]] = {}
        self._agents_at: dict[Address, list[tuple[int, str]]] = {}
        """What has been so, from which commit on."""
        self._awaited: set[str] = set()
        """Deliveries that were heard where nobody is the owner yet."""
        self._rendered: dict[str, str] = {}
        self._runs: set[tuple[str, int]] = set()
        self._platforms = platforms
        self._say = say

    def fail(self, text: str) -> None:
        """Write down that a promise is broken."""
        self.problems.append(f"after commit {self.commits}: {text}")
        self._say(f"BROKEN: {text}")

    def expect(self, holds: bool, text: str) -> None:
        if not holds:
            self.fail(text)

    # -- commits -----------------------------------------------------------------------------------

    def commit(self, group: Group) -> None:
        """A group has become durable."""
        self.commits += 1
        news = [(*split_log_key(key), unpack(decode(data))) for key, data in group.log]
        if news:
            self._say("commit " + ", ".join(self._name(*entry) for entry in news))
        owners = dict(self.owners)
        told: list[tuple[Delivery, DeliveryRecord, str | None]] = []
        noted: set[str] = set()
        for stream, seq, record in news:
            log = self.logs.setdefault(stream, [])
            self.expect(
                seq == len(log) + 1,
                f"8: record {seq} of log {stream} follows on record {len(log)}",
            )
            log.append(record)
            if stream in (FEED_STREAM, LEDGER_STREAM, SCHEDULE_STREAM):
                self._see_elsewhere(record)
            elif isinstance(record, OpenedRecord):
                self._opened(stream, record)
            else:
                self._see(self._streams[stream], seq, record, told, noted)
        self._check_notes(told, noted, news)
        self._check_binding(news, owners)
        self._check_tables(group, news)

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
                for platform, user_id, _, after in record.identities:
                    who = Person(platform, user_id)
                    users = self._users.setdefault(who, [(0, str(who))])
                    users.append((self.commits, after[0] or str(who)))
            case FeedRecord():
                self.expect(
                    record.delivery_id not in self._rendered,
                    f"6: {record.delivery_id} is shown in the feed twice",
                )
                self._rendered[record.delivery_id] = record.text
            case _:
                pass

    def _opened(self, stream: int, record: OpenedRecord) -> None:
        self.expect(
            record.session_id not in self.sessions, f"2: two sessions called {record.session_id}"
        )
        session = _Session(stream, record.session_id, record.agent)
        self._streams[stream] = self.sessions[record.session_id] = session

    def _see(
        self,
        session: _Session,
        seq: int,
        record: Record,
        told: list[tuple[Delivery, DeliveryRecord, str | None]],
        noted: set[str],
    ) -> None:
        match record:
            case BoundRecord():
                self._bound(session, record)
            case ReleasedRecord():
                self._released(session, record)
            case UserRecord():
                self._user(session, seq, record)
            case MissionRecord():
                self._mission(session, seq, record)
            case ActiveRecord():
                self._active(session, record)
            case AttemptRecord() | FailureRecord() | ToolRecord():
                self._is_its_turn(session, record.turn_seq, record.kind)
            case SilentRecord() | QuarantinedRecord():
                self._end_turn(session, record.turn_seq, record.kind)
            case AssistantRecord():
                self._asked(session, seq, record)
            case DeliveryRecord():
                told.extend(self._reported(session, record))
            case ReopenedRecord():
                self._reopened(session, record)
            case NoteRecord() if record.delivery_id is not None:
                self._noted(session, seq, record.delivery_id)
                noted.add(record.delivery_id)
            case _:
                pass

    # -- ownership ---------------------------------------------------------------------------------

    def _bound(self, session: _Session, record: BoundRecord) -> None:
        place = _place(record)
        owner, version = self.owners.get(place, (None, 0))
        self.expect(
            record.version == version + 1,
            f"2: version {record.version} of {show(place)} follows on version {version}",
        )
        self.expect(
            record.from_session == owner,
            f"2: {show(place)} was {owner}'s, not {record.from_session}'s, before "
            f"{session.session_id}",
        )
        self.owners[place] = session.session_id, record.version
        self._agents_at.setdefault(place, []).append((self.commits, session.agent))

    def _released(self, session: _Session, record: ReleasedRecord) -> None:
        place = _place(record)
        owner, version = self.owners.get(place, (None, 0))
        known = (session.session_id, record.version - 1), (record.to_session, record.version)
        self.expect(
            (owner, version) in known,
            f"2: {session.session_id} gives {show(place)} away, version {record.version}, which "
            f"is {owner}'s in version {version}",
        )

    def _check_binding(
        self,
        news: list[tuple[int, int, Record]],
        before: dict[Address, tuple[str, int]],
    ) -> None:
        """Only a human's first message or an explicit act gives a conversation an owner."""
        acts = any(isinstance(record, ChangeRecord) for _, _, record in news)
        for place, (owner, version) in self.owners.items():
            if before.get(place) == (owner, version):
                continue
            if place in before:
                self.expect(acts, f"5: {show(place)} went to {owner} without an act")
            else:
                self.expect(
                    place in self.called,
                    f"5: {show(place)} belongs to {owner}, and no human has written there",
                )

    def _active(self, session: _Session, record: ActiveRecord) -> None:
        place = address_of(record)
        by_act = record.by not in ("program", "operator")
        self.expect(
            by_act or session.session_id in self.aimed,
            f"5: nobody has asked to aim {session.session_id} at {place}",
        )
        if place is not None:
            session.places.add(place)

    def _check_tables(self, group: Group, news: list[tuple[int, int, Record]]) -> None:
        """Bindings and active channels change with the records that say so, and only then."""
        bound = {_place(record) for _, _, record in news if isinstance(record, BoundRecord)}
        free = {stream for stream, _, record in news if isinstance(record, _OWNED)}
        for key, data in group.tables.items():
            if data is None:
                continue
            if key[0] == Table.BINDINGS:
                row = read_binding(decode(data))
                self.expect(
                    row.address in bound,
                    f"5: the binding of {show(row.address)} is written without its record",
                )
            elif key[0] == Table.HEADS:
                head = read_head(decode(data))
                session = self._streams[int.from_bytes(key[1:], "big")]
                target = head.instance, head.conversation, head.thread
                self.expect(
                    target == session.target or session.stream in free,
                    f"5: the active channel of {session.session_id} went from {session.target} "
                    f"to {target}, and neither a human nor an act has said so",
                )
                session.target = target

    # -- turns -------------------------------------------------------------------------------------

    def _user(self, session: _Session, seq: int, record: UserRecord) -> None:
        place = _place(record)
        message = record.instance, record.conversation, record.message_id
        earlier = self.heard.get(message)
        self.expect(
            earlier is None,
            f"1: {record.message_id} is accepted twice: as {earlier} and as "
            f"{session.session_id}/{seq}",
        )
        self.heard[message] = session.session_id, seq
        self.accepted.append((place, record.message_id))
        owner = self.owners.get(place, (None, 0))[0]
        self.expect(
            owner == session.session_id,
            f"2: {session.session_id} hears {record.message_id} at {owner}'s {show(place)}",
        )
        session.open_turns.append(seq)
        session.places.add(place)

    def _mission(self, session: _Session, seq: int, record: MissionRecord) -> None:
        run = record.mission, record.run
        self.expect(run not in self._runs, f"run {run[1]} of {run[0]} is recorded twice")
        self._runs.add(run)
        session.open_turns.append(seq)

    def _is_its_turn(self, session: _Session, turn_seq: int, what: str) -> None:
        first = session.open_turns[0] if session.open_turns else None
        self.expect(
            first == turn_seq,
            f"3: {what} of turn {session.session_id}/{turn_seq}, when it is {first}'s turn",
        )

    def _end_turn(self, session: _Session, turn_seq: int, what: str) -> None:
        self._is_its_turn(session, turn_seq, what)
        if turn_seq in session.open_turns:
            session.open_turns.remove(turn_seq)

    # -- deliveries --------------------------------------------------------------------------------

    def _asked(self, session: _Session, seq: int, record: AssistantRecord) -> None:
        place = address_of(record)
        delivery = Delivery(f"{session.session_id}/{seq}", session.session_id, seq, record, place)
        self.deliveries[delivery.id] = delivery
        if record.turn_seq:
            self._end_turn(session, record.turn_seq, "an answer")
            turn = self.logs[session.stream][record.turn_seq - 1]
            if isinstance(turn, UserRecord):
                self.expect(
                    place == _place(turn),
                    f"12: the answer to {turn.message_id} at {show(_place(turn))} goes to {place}",
                )
        if place is not None:
            self._check_right(session, delivery, place)

    def _check_right(self, session: _Session, delivery: Delivery, place: Address) -> None:
        """Whether what is said is meant for those who will read it there."""
        text = delivery.record.text
        what = f"12: {text!r} ({delivery.id}) goes to {show(place)}"
        if delivery.record.by == "runtime":
            self.expect(place in session.places, f"{what}, where nobody has written to it")
            return
        _, kind, aim = text.rsplit(" ", 2)
        if kind == "to":
            self.expect(aim == show(place), what)
        elif kind == "for":
            human = human_of(place)
            users = self._users.get(human, [(0, str(human))]) if human is not None else []
            self.expect(aim in self._since_asked(text, users), f"{what}, to {human}")
        else:
            self.expect(
                place in session.places, f"{what}, where nobody has written to {session.session_id}"
            )
        if delivery.record.route == "address" and place != GRANTED:
            agents = self._since_asked(text, self._agents_at.get(place, []))
            self.expect(
                session.agent in agents,
                f"{what}, where only {' and '.join(agents) or 'nobody'} may speak",
            )

    def asks(self, text: str) -> None:
        """Somebody asks for a text to be sent: what holds now, or later, counts for it."""
        self._asked_at.setdefault(text, self.commits)

    def _since_asked(self, text: str, values: list[tuple[int, str]]) -> list[str]:
        """What has been so since a text was asked for."""
        asked = self._asked_at[text]
        before = [value for commit, value in values if commit <= asked][-1:]
        return before + [value for commit, value in values if commit > asked]

    def _reported(
        self, session: _Session, record: DeliveryRecord
    ) -> list[tuple[Delivery, DeliveryRecord, str | None]]:
        """An outcome is durable; returned with the owner of the place if something was heard."""
        delivery = self.deliveries[f"{session.session_id}/{record.delivery_seq}"]
        what = f"6: {delivery.id} {delivery.record.text!r} is {record.status!r}"
        arrivals = self._platforms.by_delivery.get(delivery.id, [])
        self.expect(delivery.status not in _OVER, f"{what} after it was {delivery.status!r}")
        match record.status:
            case "delivered":
                held = any(one.message_id == record.platform_message_id for one in arrivals)
                self.expect(held, f"{what}, and the platform has no {record.platform_message_id}")
            case "failed":
                self.expect(
                    not arrivals or delivery.may_have_arrived or bool(record.parts),
                    f"{what}, and has arrived as {[one.message_id for one in arrivals]}",
                )
            case "rendered":
                text = self._rendered.get(delivery.id)
                self.expect(text == delivery.record.text, f"{what}, and the feed shows {text!r}")
                self.expect(delivery.place is None, f"{what}, and was to go to {delivery.place}")
            case _:
                pass
        delivery.status = record.status
        delivery.held |= {*record.parts, *filter(None, [record.platform_message_id])}
        delivery.may_have_arrived |= record.may_have_arrived or record.status == "unknown"
        if delivery.place is None or not _was_heard(record):
            self.expect(record.noted_in is None, f"7: {delivery.id} was not heard, and is noted")
            return []
        return [(delivery, record, self.owners.get(delivery.place, (None, 0))[0])]

    def _reopened(self, session: _Session, record: ReopenedRecord) -> None:
        delivery = self.deliveries[f"{session.session_id}/{record.delivery_seq}"]
        what = f"6: {delivery.id} is opened again"
        self.expect(address_of(record) == delivery.place, f"{what}, for another place")
        self.expect(delivery.status in ("failed", "unknown"), f"{what} when {delivery.status!r}")
        self.expect(
            record.duplicate or not delivery.may_have_arrived,
            f"{what} without a mark, and may have arrived",
        )
        delivery.status, delivery.reopened, delivery.marked = "waiting", True, record.duplicate

    # -- notes -------------------------------------------------------------------------------------

    def _noted(self, session: _Session, seq: int, delivery_id: str) -> None:
        note = self.notes.get(delivery_id)
        self.expect(
            note is None,
            f"7: two notes of {delivery_id}: {note} and {session.session_id}/{seq}",
        )
        self.notes[delivery_id] = session.session_id, seq

    def _check_notes(
        self,
        told: list[tuple[Delivery, DeliveryRecord, str | None]],
        noted: set[str],
        news: list[tuple[int, int, Record]],
    ) -> None:
        """An outcome and the note of it are durable in the same commit, or neither is."""
        heard: set[str] = set()
        for delivery, record, owner in told:
            heard.add(delivery.id)
            note = self.notes.get(delivery.id)
            where = f"7: {delivery.id} {delivery.record.text!r}, {record.status!r} at "
            where += f"{show(delivery.place)}, " if delivery.place is not None else ""
            if owner is None:
                self.expect(note is None, f"{where}nobody's place, is noted in {note}")
                self._awaited.add(delivery.id)
            elif note is not None:
                self.expect(
                    record.noted_in is None or record.noted_in == note[0],
                    f"{where}says that it is noted in {record.noted_in}, and is in {note}",
                )
            elif delivery.id not in self._awaited:
                self.expect(
                    owner == delivery.session_id, f"{where}which is {owner}'s, is noted nowhere"
                )
            if delivery.id in noted and owner is not None and note is not None:
                self.expect(note[0] == owner, f"{where}{owner}'s, is noted in {note[0]}")
                self.expect(
                    (record.noted_in, record.noted_seq) == note,
                    f"{where}leads to {record.noted_in}/{record.noted_seq}, not to {note}",
                )
        for _, _, waited in news:
            if isinstance(waited, NoteRecord) and waited.delivery_id in noted - heard:
                self._check_waited(waited, news)

    def _check_waited(self, note: NoteRecord, news: list[tuple[int, int, Record]]) -> None:
        """A note without its outcome is one that has waited for the owner of a place."""
        assert note.delivery_id is not None
        first = {
            _place(record)
            for _, _, record in news
            if isinstance(record, BoundRecord) and record.version == 1
        }
        self.expect(
            note.delivery_id in self._awaited and address_of(note) in first,
            f"7: a note of {note.delivery_id} without its outcome",
        )
        self._awaited.discard(note.delivery_id)

    # -- what goes out -----------------------------------------------------------------------------

    def sending(self, outbound: Outbound) -> None:
        """A channel was asked to send."""
        what = f"5: {outbound.delivery_id} {outbound.text!r} is sent to {show(outbound.address)}"
        delivery = self.deliveries.get(outbound.delivery_id)
        if delivery is None:
            self.fail(f"{what}, and no durable record asks for it")
            return
        self.expect(outbound.address == delivery.place, f"{what}, not to {delivery.place}")
        self.expect(outbound.text == delivery.record.text, f"{what} instead of what was said")
        self.expect(delivery.status not in _OVER, f"{what} when it is {delivery.status!r}")

    def arriving(self, arrival: Arrival) -> None:
        """A message has arrived on its platform."""
        outbound = arrival.outbound
        what = f"{outbound.delivery_id} {outbound.text!r} arrives at {show(arrival.place)}"
        earlier = self._platforms.by_delivery[outbound.delivery_id][:-1]
        delivery = self.deliveries.get(outbound.delivery_id)
        if delivery is None:
            return  # told when it was sent
        if earlier:
            self.expect(outbound.resend or delivery.marked, f"6: {what} a second time, unmarked")
            return
        if delivery.reopened:
            return
        for other in self._platforms.arrived[:-1]:
            later = self.deliveries.get(other.outbound.delivery_id)
            if (
                later is not None
                and other.place == arrival.place
                and later.session_id == delivery.session_id
                and not later.reopened
                and later.seq > delivery.seq
            ):
                self.fail(f"3: {what} after {later.id}")

    # -- what callers are told ---------------------------------------------------------------------

    def acknowledged(self, message: tuple[str, str, str], accepted: Accepted) -> None:
        """A channel was told that a turn is durable."""
        stored = self.heard.get(message)
        told = accepted.turn_id
        self.expect(
            stored is not None and f"{stored[0]}/{stored[1]}" == told,
            f"1: {message[2]} is acknowledged as {told}, and stored as {stored}",
        )

    def answered(self, outcome: Outcome) -> None:
        """Somebody was told what became of a message."""
        delivery = self.deliveries.get(outcome.delivery_id or "")
        what = f"6: {outcome.delivery_id} is said to be {outcome.status!r}"
        if delivery is None:
            self.expect(outcome.status == "failed", f"{what}, and no record asks for it")
            return
        if outcome.status == "delivered":
            held = [one.message_id for one in self._platforms.by_delivery.get(delivery.id, [])]
            self.expect(bool(held), f"{what}, and never arrived")
            self.expect(
                delivery.status == "delivered", f"{what}, and the log says {delivery.status!r}"
            )
        if outcome.provenance == "recorded":
            note = self.notes.get(delivery.id)
            self.expect(
                note is not None and note[0] == outcome.noted_in,
                f"7: {delivery.id} is said to be noted in {outcome.noted_in}, and is in {note}",
            )

    # -- at the end --------------------------------------------------------------------------------

    def unfinished(self) -> list[str]:
        """What is still open: nothing, once everything works again and some time has passed."""
        return [
            *(
                f"turn {session.session_id}/{seq}"
                for session in self.sessions.values()
                for seq in session.open_turns
            ),
            *(
                f"delivery {delivery.id} ({delivery.status})"
                for delivery in self.deliveries.values()
                if delivery.status not in _OVER
            ),
        ]


_OVER: Final = frozenset({"delivered", "rendered", "failed", "unknown"})


def _was_heard(record: DeliveryRecord) -> bool:
    return record.status in ("delivered", "unknown") or bool(record.parts)


def _place(record: BoundRecord | ReleasedRecord | UserRecord) -> Address:
    return Address(Instance(record.instance), record.conversation, record.thread)
