"""Random lives of a session beside a simple model of it, with a crash wherever one may fall.

The model knows the promises only: one turn at a time in order, attempts counted once each and a
mission's run never repeated, one delivery under way for each place, in order. Acts give it
conversations, take them away and let it share histories with others, others speak on its behalf,
and its context begins anew, whatever else is open. Whatever the session writes, and whatever is
written for it, must bring back, by replay, the state that wrote it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,  # pyright: ignore[reportUnknownVariableType]  (untyped there)
)

from turnkeeper.actors.core.conversation import MAX_ATTEMPTS, Conversation
from turnkeeper.actors.core.delivery_records import NoteRecord, ReceiptRecord
from turnkeeper.actors.core.effects import (
    AnswerAccepted,
    AnswerChanged,
    AnswerCleared,
    AnswerMayRetry,
    AnswerMirrored,
    AnswerMission,
    Dispatch,
    Effect,
    EndCommand,
    EndTurn,
    IsolateTurn,
    PauseTurn,
    SettleDelivery,
    StartTurn,
    Step,
    TellNote,
)
from turnkeeper.actors.core.head import read_head
from turnkeeper.actors.core.heard import turn_of
from turnkeeper.actors.core.ownership_records import (
    ActiveRecord,
    BoundRecord,
    HiddenRecord,
    KeyedRecord,
    LinkedRecord,
    OpenedRecord,
    ReleasedRecord,
    UnlinkedRecord,
)
from turnkeeper.actors.core.records import Record, address_of
from turnkeeper.actors.core.reset import ResetPolicy
from turnkeeper.actors.core.session_commands import SessionVerb
from turnkeeper.actors.core.turn_records import AssistantRecord, MissionRecord, UserRecord
from turnkeeper.actors.core.turns import ended_by
from turnkeeper.actors.core.view_records import ChangedRecord, ClearRecord, CommandRecord
from turnkeeper.actors.core.weight import weight_of
from turnkeeper.actors.deliveries import DeliveryReported, OutcomeStatus
from turnkeeper.actors.messages import (
    Address,
    AgentReply,
    AnyTurn,
    Attachment,
    DeliveryId,
    InboundTurn,
    Instance,
    MessageChange,
    MissionTurn,
    SessionId,
    ToolCall,
)
from turnkeeper.storage.codec import decode, encode

T = TypeVar("T")

FINAL: tuple[OutcomeStatus, ...] = ("delivered", "failed", "unknown")
PLACES = [
    None,
    *(Address(instance=Instance(name), conversation=c) for name in ("tg", "ws") for c in "ab"),
]
places = st.sampled_from(PLACES)
human_places = st.sampled_from([place for place in PLACES if place is not None])
finals = st.sampled_from(FINAL)
Target: TypeAlias = tuple[str | None, str | None, str | None]
NOWHERE: Target = (None, None, None)
COMMANDS: tuple[SessionVerb, ...] = ("new", "compact")
RESET = ResetPolicy("We begin anew.", after_idle_us=1_000_000)
goals = st.sampled_from([NOWHERE, ("tg", None, None), ("tg", "a", None), ("ws", "b", None)])

FILE = Attachment(kind="image", reference="blob:x", size_bytes=5, name="plan.png")


def replayed(log: list[Record]) -> Conversation:
    core = Conversation()
    for record in log:
        core.apply(record)
    return core


def woken(log: list[Record]) -> Conversation:
    """What a new process makes of the head and of the records since the oldest open work."""
    head = replayed(log).head()
    since = head.open_since
    return Conversation.from_head(head, list(enumerate(log, 1))[since - 1 :] if since else [])


def durable_part(core: Conversation) -> str:
    """Everything of the state that a crash must not lose."""
    running, core.running = core.running, 0
    shown = repr(core)
    core.running = running
    return shown


class Life(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now_us = 1_700_000_000_000_000
        self.core = Conversation()
        self.log: list[Record] = []
        self.open: deque[int] = deque()
        self.ended: Counter[int] = Counter()
        self.begun = 0
        """Attempts at the oldest open turn that count."""
        self.phase = "none"
        """Of the oldest open turn: running, pausing or asking to run alone."""
        self.lanes: dict[Address | None, deque[int]] = {}
        self.under_way: set[int] = set()
        self.unanswered: set[int] = set()
        """Deliveries of which an earlier attempt may have arrived."""
        self.attempts: dict[int, int] = {}
        self.parts: dict[int, tuple[str, ...]] = {}
        """What has arrived of deliveries that are open."""
        self.duplicates: set[int] = set()
        """Deliveries that were opened again as such."""
        self.dead: list[int] = []
        self.target: Target = NOWHERE
        self.cleared = 0
        self.bound = 0
        self.not_over: deque[int] = deque()
        """Turns, as the records tell of them."""
        self.edited: dict[int, int] = {}
        """What changes of a turn's message that no agent had seen take at most."""
        self.cleared_turn = 0
        self.deleted: set[int] = set()
        """Messages that can be changed no more: their shell knows nothing of them then."""
        self.unseen = 0
        """What others have said since the last turn began takes at most so much."""
        self.joined: dict[int, str] = {}
        self.hidden: list[tuple[str, str, int, int]] = []
        self.merged_into: str | None = None
        opened = OpenedRecord(at_us=self.now_us, session_id="s1", agent="main", by="first message")
        self.core.apply(opened)
        self.log.append(opened)

    # -- the shell -----------------------------------------------------------------------------

    def perform(self, step: Step, *, expected: int | None = None) -> None:
        """Make the step durable, then watch that each effect is due."""
        if step.records:
            assert step.first_seq == len(self.log) + 1
        for record in step.records:
            self.log.append(record)
            self.count(record)
            if isinstance(record, AssistantRecord):
                seq = len(self.log)
                self.lanes.setdefault(address_of(record), deque()).append(seq)
                self.attempts[seq] = 0
        for effect in step.effects:
            self.watch(effect)
        if expected is not None:
            assert len(step.records) == expected

    def watch(self, effect: Effect) -> None:
        match effect:
            case StartTurn():
                self.on_start(effect)
            case EndTurn():
                self.on_end(effect)
            case PauseTurn():
                assert (effect.seq, self.phase) == (self.open[0], "running")
                self.phase = "pausing"
            case IsolateTurn():
                assert effect.seq == self.open[0]
                assert self.begun == MAX_ATTEMPTS - 1
                self.phase = "asking"
            case Dispatch():
                self.on_dispatch(effect)
            case SettleDelivery() | AnswerMayRetry() | AnswerAccepted() | AnswerMission():
                pass
            case AnswerMirrored() | TellNote():
                assert isinstance(self.log[effect.seq - 1], NoteRecord)
            case AnswerChanged():
                assert isinstance(self.log[effect.seq - 1], ChangedRecord)
            case AnswerCleared():
                assert effect.cleared.seq == len(self.log)
            case EndCommand():
                assert isinstance(self.log[effect.seq - 1], CommandRecord)
                assert self.place_of(effect.delivery_seq) == effect.address
            case _:
                pass  # about summaries, of which this life has none

    def count(self, record: Record) -> None:
        match record:
            case ClearRecord():
                waiting = list(self.not_over)[1:]
                self.bound = sum(weight_of(self.log[seq - 1]) for seq in waiting)
                self.bound += sum(self.edited.get(seq, 0) for seq in waiting)
                self.cleared = len(self.log)
                self.bound += self.unseen
                self.cleared_turn = (
                    self.not_over[0] if self.not_over else max(self.ended, default=0)
                )
            case _:
                self.bound += weight_of(record)
                self.begin_turns(record)

    def begin_turns(self, record: Record) -> None:
        """A turn begins as it is accepted, or as the one before it ends."""
        match record:
            case UserRecord() | MissionRecord():
                self.not_over.append(len(self.log))
                begins = len(self.not_over) == 1
            case NoteRecord() | ReceiptRecord():
                self.unseen += weight_of(record)
                begins = False
            case _ if self.not_over and ended_by(record) == self.not_over[0]:
                self.not_over.popleft()
                begins = bool(self.not_over)
            case _:
                begins = False
        if begins:
            self.unseen = 0

    def on_start(self, effect: StartTurn) -> None:
        assert self.open[0] == effect.seq, "turns start in the order of acceptance"
        assert self.phase != "running", "one at a time"
        self.begun += 1
        assert effect.attempt == self.begun
        assert self.begun <= MAX_ATTEMPTS
        self.phase = "running"

    def on_end(self, effect: EndTurn) -> None:
        assert self.open.popleft() == effect.seq
        self.ended[effect.seq] += 1
        assert self.ended[effect.seq] == 1
        self.begun, self.phase = 0, "none"
        if effect.delivery_seq:
            said = self.log[effect.delivery_seq - 1]
            assert isinstance(said, AssistantRecord)
            place = (said.instance, said.conversation, said.thread)
            turn = effect.turn
            assert place == (turn.address if isinstance(turn, InboundTurn) else self.target)

    def on_dispatch(self, effect: Dispatch) -> None:
        lane = next(lane for lane in self.lanes.values() if lane[0] == effect.seq)
        assert lane, "a delivery leaves only as the first of its lane"
        assert effect.ambiguous == (effect.seq in self.under_way | self.unanswered)
        assert effect.duplicate == (effect.seq in self.duplicates)
        assert effect.parts == self.parts.get(effect.seq, ())
        if effect.seq not in self.under_way:
            self.attempts[effect.seq] += 1
        assert effect.attempt == self.attempts[effect.seq]
        self.under_way.add(effect.seq)

    def turn_at(self, seq: int) -> AnyTurn:
        record = self.log[seq - 1]
        assert isinstance(record, UserRecord | MissionRecord)
        return turn_of(record)

    def is_run(self, seq: int) -> bool:
        return isinstance(self.log[seq - 1], MissionRecord)

    def place_of(self, seq: int) -> Address | None:
        record = self.log[seq - 1]
        assert isinstance(record, AssistantRecord)
        return address_of(record)

    def end_delivery(self, seq: int) -> None:
        place = self.place_of(seq)
        assert self.lanes[place].popleft() == seq
        if not self.lanes[place]:
            del self.lanes[place]
        self.under_way.discard(seq)
        self.unanswered.discard(seq)
        self.duplicates.discard(seq)

    def one_of(self, items: list[T], pick: int) -> T:
        return items[pick % len(items)]

    def saw(self, turn: int) -> tuple[Any, ...] | None:
        """What of the context the agent saw in a turn, if that was not all of it."""
        return None

    # -- what happens --------------------------------------------------------------------------

    @rule(text=st.text(max_size=5), place=human_places, was_away=st.booleans())
    def a_human_writes(self, text: str, place: Address, was_away: bool) -> None:
        self.now_us += RESET.after_idle_us if was_away else 1
        begins_anew = was_away and bool(self.ended) and not self.open and self.bound > 0
        seq = len(self.log) + (3 if begins_anew else 1)
        turn = self.heard(text, place)
        self.open.append(seq)
        self.target = place
        self.perform(self.core.accept(turn, self.now_us, RESET), expected=3 if begins_anew else 1)
        assert self.turn_at(seq) == turn

    @rule(command=st.sampled_from(COMMANDS), place=human_places)
    def a_human_asks_the_runtime(self, command: SessionVerb, place: Address) -> None:
        self.now_us += 1
        step = self.core.command(command, self.heard(f"/{command}", place), self.now_us)
        self.perform(step, expected=3 if command == "new" else 2)
        assert self.core.last_active_us == self.now_us

    def heard_of(self) -> list[int]:
        """What humans have said and not deleted."""
        humans = (seq for seq, r in enumerate(self.log, 1) if isinstance(r, UserRecord))
        return [seq for seq in humans if seq not in self.deleted]

    @precondition(lambda self: self.heard_of())
    @rule(
        pick=st.integers(0, 100),
        text=st.none() | st.text(max_size=5) | st.just("a\nlonger text than there was before"),
        summarised=st.booleans(),
    )
    def a_human_changes_a_message(self, pick: int, text: str | None, summarised: bool) -> None:
        self.now_us += 1
        seq = self.one_of(self.heard_of(), pick)
        before, waits = self.core.head(), seq in list(self.open)[1:]
        heard = self.log[seq - 1]
        assert isinstance(heard, UserRecord)
        change = MessageChange(
            address=Address(Instance(heard.instance), heard.conversation),
            platform="p",
            message_id=heard.message_id,
            change_id=f"e{len(self.log)}",
            user_id="u",
            text=text,
        )
        if text is None:
            self.deleted.add(seq)
        self.perform(self.core.change(seq, change, self.now_us, summarised=summarised), expected=1)
        record = self.log[-1]
        assert isinstance(record, ChangedRecord)
        is_old = seq <= self.cleared_turn and seq not in self.open
        assert record.shown == ("instead" if waits else "nowhere" if is_old else "later")
        if waits:
            self.edited[seq] = self.edited.get(seq, 0) + weight_of(record)
        after = self.core.head()
        assert (after.open_turns, after.last_active_us, after.last_turn_us, after.settled) == (
            before.open_turns,
            before.last_active_us,
            before.last_turn_us,
            before.settled,
        )

    def heard(self, text: str, place: Address) -> InboundTurn:
        message_id = f"m{len(self.log)}"
        return InboundTurn(
            address=place, platform="p", message_id=message_id, user_id="u", text=text
        )

    @rule(text=st.text(max_size=5), goal=st.none() | goals)
    def a_mission_runs(self, text: str, goal: Target | None) -> None:
        self.now_us += 1
        self.open.append(len(self.log) + (1 if goal is None else 2))
        turn = MissionTurn(mission="inbox", run=len(self.log), text=text, due_us=self.now_us)
        active = self.aim(goal) if goal is not None else None
        step = self.core.run_mission(turn, active, "schedule", self.now_us)
        self.perform(step, expected=1 if goal is None else 2)
        assert self.turn_at(len(self.log)) == turn

    def aim(self, goal: Target) -> ActiveRecord:
        self.target = goal
        instance, conversation, thread = goal
        return ActiveRecord(
            at_us=self.now_us,
            instance=instance,
            conversation=conversation,
            thread=thread,
            by="mission inbox",
        )

    def running(self) -> bool:
        return self.phase == "running"

    @precondition(running)
    @rule(text=st.none() | st.text(max_size=5), tools=st.integers(0, 3), files=st.integers(0, 2))
    def the_agent_returns(self, text: str | None, tools: int, files: int) -> None:
        calls = (ToolCall(name="t", arguments="a", result="r"),) * tools
        seq = self.open[0]
        reply = AgentReply(
            text=text, tools=calls, saw=self.saw(self.core.running), attachments=(FILE,) * files
        )
        self.perform(
            self.core.finish(seq, self.turn_at(seq), reply, self.now_us), expected=tools + 1
        )

    @precondition(running)
    @rule(retryable=st.booleans(), notice=st.none() | st.just("sorry"))
    def the_agent_fails(self, retryable: bool, notice: str | None) -> None:
        seq = self.open[0]
        retryable = retryable and not self.is_run(seq)
        step = self.core.fail(
            seq, self.turn_at(seq), "boom", self.now_us, retryable=retryable, notice=notice
        )
        self.perform(step)

    @precondition(running)
    @rule()
    def the_runtime_takes_the_turn_away(self) -> None:
        seq = self.open[0]
        run = self.is_run(seq)
        others = len(self.open) > 1
        expected = 2 if run and others else 1
        self.perform(self.core.interrupt(seq, self.turn_at(seq), self.now_us), expected=expected)
        if run:
            assert self.ended[seq] == 1
            self.begun = 0
        else:
            self.begun -= 1
        self.phase = "taken away" if self.open else "none"

    @precondition(lambda self: self.phase == "pausing")
    @rule()
    def the_pause_is_over(self) -> None:
        self.perform(self.core.begin_again(self.open[0], self.now_us))
        assert self.phase == "running"

    @precondition(lambda self: self.phase == "asking")
    @rule()
    def the_last_attempt_may_begin(self) -> None:
        self.perform(self.core.begin_isolated(self.open[0], self.now_us))
        assert self.phase == "running"

    @rule(seq=st.integers(1, 40), pick=st.integers(0, 4))
    def old_news_of_a_turn_change_nothing(self, seq: int, pick: int) -> None:
        if self.phase == "running" and self.open[0] == seq:
            return
        if self.open and self.open[0] == seq and pick >= 3:
            return
        turn = InboundTurn(
            address=Address(instance=Instance("tg"), conversation="a"),
            platform="p",
            message_id="m",
            user_id="u",
            text="t",
        )
        steps: list[Callable[[], Step]] = [
            lambda: self.core.finish(seq, turn, AgentReply(text="x"), self.now_us),
            lambda: self.core.fail(seq, turn, "x", self.now_us, retryable=True),
            lambda: self.core.interrupt(seq, turn, self.now_us),
            lambda: self.core.begin_again(seq, self.now_us),
            lambda: self.core.begin_isolated(seq, self.now_us),
        ]
        before = repr(self.core)
        step = steps[pick]()
        assert not step.records
        assert not step.effects
        assert repr(self.core) == before

    @rule(place=places)
    def a_message_goes_out_unasked(self, place: Address | None) -> None:
        seq, step = self.core.send("said", place, self.now_us)
        self.perform(step, expected=1)
        assert seq == len(self.log)

    def something_is_under_way(self) -> bool:
        return bool(self.under_way)

    def news(
        self,
        seq: int,
        status: OutcomeStatus,
        *,
        may_have_arrived: bool = False,
        parts: tuple[str, ...] = (),
    ) -> DeliveryReported:
        return DeliveryReported(
            session_id=SessionId("s1"),
            delivery_id=DeliveryId(f"s1/{seq}"),
            attempt=self.attempts[seq],
            status=status,
            may_have_arrived=may_have_arrived,
            parts=parts,
        )

    def report(
        self,
        seq: int,
        status: OutcomeStatus,
        *,
        may_have_arrived: bool = False,
        parts: tuple[str, ...] = (),
        noted: bool = False,
    ) -> Step:
        news = self.news(seq, status, may_have_arrived=may_have_arrived, parts=parts)
        note = (SessionId("s7"), 9) if noted else None
        return self.core.report(seq, news, self.now_us, noted=note)

    @precondition(something_is_under_way)
    @rule(pick=st.integers(0, 100), status=finals, noted=st.booleans())
    def a_delivery_ends(self, pick: int, status: OutcomeStatus, noted: bool) -> None:
        seq = self.one_of(sorted(self.under_way), pick)
        step = self.report(seq, status, noted=noted)
        self.end_delivery(seq)
        if status != "delivered":
            self.dead.append(seq)
        self.perform(step)
        following = self.lanes.get(self.place_of(seq))
        assert not following or following[0] in self.under_way

    @precondition(something_is_under_way)
    @rule(pick=st.integers(0, 100), lost=st.booleans(), arrived=st.integers(0, 2))
    def an_attempt_to_deliver_fails(self, pick: int, lost: bool, arrived: int) -> None:
        seq = self.one_of(sorted(self.under_way), pick)
        if lost:
            self.unanswered.add(seq)
        parts = self.parts.get(seq, ())
        parts += tuple(f"p{number}" for number in range(len(parts), len(parts) + arrived))
        self.parts[seq] = parts
        step = self.report(seq, "retrying", may_have_arrived=lost, parts=parts)
        self.perform(step, expected=1)
        self.under_way.discard(seq)

    @precondition(lambda self: any(lane[0] not in self.under_way for lane in self.lanes.values()))
    @rule(pick=st.integers(0, 100))
    def another_attempt_begins(self, pick: int) -> None:
        paused = sorted(lane[0] for lane in self.lanes.values() if lane[0] not in self.under_way)
        seq = self.one_of(paused, pick)
        step = self.core.may_retry(seq, self.attempts[seq] + 1, self.now_us)
        assert AnswerMayRetry(True) in step.effects
        self.attempts[seq] += 1
        self.under_way.add(seq)
        self.perform(step, expected=1)

    @rule(seq=st.integers(1, 40), status=finals)
    def old_news_of_a_delivery_change_nothing(self, seq: int, status: OutcomeStatus) -> None:
        if seq in self.under_way:
            return
        before = repr(self.core)
        self.attempts.setdefault(seq, 1)
        step = self.report(seq, status)
        assert not step.records
        assert not step.effects
        assert repr(self.core) == before

    @precondition(lambda self: self.dead)
    @rule(pick=st.integers(0, 100), duplicate=st.booleans())
    def the_operator_opens_a_dead_letter_again(self, pick: int, duplicate: bool) -> None:
        seq = self.one_of(self.dead, pick)
        self.dead.remove(seq)
        record = self.log[seq - 1]
        assert isinstance(record, AssistantRecord)
        self.lanes.setdefault(address_of(record), deque()).append(seq)
        self.attempts[seq] = 0
        if duplicate:
            self.duplicates.add(seq)
        step = self.core.open_delivery_again(
            seq, record, self.now_us, duplicate=duplicate, parts=self.parts.get(seq, ())
        )
        self.perform(step)
        again = self.core.open_delivery_again(seq, record, self.now_us)
        assert not again.records
        assert not again.effects

    @precondition(lambda self: any(lane[0] not in self.under_way for lane in self.lanes.values()))
    @rule(pick=st.integers(0, 100))
    def another_attempt_is_not_allowed(self, pick: int) -> None:
        paused = sorted(lane[0] for lane in self.lanes.values() if lane[0] not in self.under_way)
        seq = self.one_of(paused, pick)
        self.attempts[seq] += 1
        step = self.core.may_not_retry(seq, self.news(seq, "failed"), self.now_us)
        assert AnswerMayRetry(False) in step.effects
        self.end_delivery(seq)
        self.dead.append(seq)
        self.perform(step)
        following = self.lanes.get(self.place_of(seq))
        assert not following or following[0] in self.under_way

    # -- what acts write -----------------------------------------------------------------------

    def taken_over(self, *records: Record) -> None:
        """Records that were written for this session while it held still."""
        self.now_us += 1
        for record in records:
            assert self.core.apply(record) == len(self.log) + 1
            self.log.append(record)
            self.count(record)

    @rule(place=human_places, version=st.integers(1, 9), waiting=st.integers(0, 2))
    def a_conversation_comes(self, place: Address, version: int, waiting: int) -> None:
        self.merged_into = None
        bound = BoundRecord(
            at_us=self.now_us,
            instance=place.instance,
            conversation=place.conversation,
            thread=place.thread,
            version=version,
            by="link to ann",
            platform="p",
            guild=None,
            direct=True,
            user_id="u",
            scope="user",
        )
        if version == 1:
            notes = [self.note_in(place)] * waiting
            self.perform(self.core.bind(bound, notes), expected=1 + waiting)
        else:
            self.taken_over(bound)

    @rule(place=human_places, merged=st.booleans())
    def a_conversation_goes(self, place: Address, merged: bool) -> None:
        if self.target == place:
            self.target = NOWHERE
        if merged:
            self.merged_into = "s2"
        self.taken_over(
            ReleasedRecord(
                at_us=self.now_us,
                instance=place.instance,
                conversation=place.conversation,
                thread=place.thread,
                version=2,
                by="link to ann",
                to_session="s2",
                merged=merged,
            )
        )

    @rule(held=st.booleans())
    def a_key_comes_or_goes(self, held: bool) -> None:
        before = self.core.head()
        self.taken_over(
            KeyedRecord(at_us=self.now_us, key=("user", "main", "ann"), version=1, held=held)
        )
        assert self.core.head() == before._replace(next_seq=before.next_seq + 1)

    @rule(stream=st.integers(2, 4))
    def an_earlier_session_joins(self, stream: int) -> None:
        self.joined[stream] = f"s{stream}"
        self.taken_over(
            LinkedRecord(
                at_us=self.now_us, session_id=f"s{stream}", stream=stream, number=1, by="operator"
            )
        )

    @rule(stream=st.integers(2, 4), user_id=st.sampled_from("uv"), hides=st.booleans())
    def an_earlier_session_leaves(self, stream: int, user_id: str, hides: bool) -> None:
        self.joined.pop(stream, None)
        self.taken_over(
            UnlinkedRecord(
                at_us=self.now_us, session_id=f"s{stream}", stream=stream, number=2, by="operator"
            )
        )
        if hides:
            self.hidden.append(("p", user_id, self.now_us - 5, len(self.log) + 1))
            self.taken_over(
                HiddenRecord(
                    at_us=self.now_us,
                    platform="p",
                    user_id=user_id,
                    since_us=self.hidden[-1][2],
                    number=2,
                )
            )

    @rule(goal=goals, by_act=st.booleans())
    def the_active_channel_is_set(self, goal: Target, by_act: bool) -> None:
        if by_act:
            self.taken_over(self.aim(goal))
        else:
            self.perform(self.core.aim(self.aim(goal)), expected=1)

    # -- what is said on its behalf ------------------------------------------------------------

    def note_in(self, place: Address) -> NoteRecord:
        return NoteRecord(
            at_us=self.now_us,
            text="said elsewhere",
            source="session s9",
            session_id="s9",
            mission=None,
            delivery_id="s9/4",
            instance=place.instance,
            conversation=place.conversation,
            thread=place.thread,
        )

    @rule(place=human_places)
    def somebody_else_speaks(self, place: Address) -> None:
        open_before = self.core.open_turns
        self.perform(self.core.hear(self.note_in(place)), expected=1)
        assert self.core.open_turns == open_before

    @rule(seq=st.integers(1, 40), status=st.sampled_from(["delivered", "read", "failed"]))
    def the_platform_tells_more_later(self, seq: int, status: str) -> None:
        before = self.core.head()
        record = ReceiptRecord(at_us=self.now_us, delivery_seq=seq, status=status)
        self.perform(self.core.receipt(record), expected=1)
        told = weight_of(record)
        assert self.core.head() == before._replace(
            next_seq=before.next_seq + 1,
            context_bound=before.context_bound + told,
            context_messages=before.context_messages + bool(told),
            unseen_bound=before.unseen_bound + told,
            unseen_messages=before.unseen_messages + bool(told),
        )

    @rule()
    def the_context_begins_anew(self) -> None:
        self.perform(self.core.clear("operator", self.now_us), expected=1)

    # -- the end of a process ------------------------------------------------------------------

    @rule()
    def the_process_dies_and_starts_again(self) -> None:
        self.now_us += 1
        self.core = woken(self.log)
        turn = self.turn_at(self.open[0]) if self.open else None
        begun, self.phase = self.begun, "resumed" if self.open else "none"
        oldest = self.open[0] if self.open else 0
        run = bool(oldest) and self.is_run(oldest)
        self.perform(self.core.resume(turn, self.now_us))
        if (run and begun) or begun == MAX_ATTEMPTS:
            assert self.ended[oldest] == 1
        elif oldest:
            assert self.phase == ("asking" if begun == MAX_ATTEMPTS - 1 else "running")

    # -- what must hold ------------------------------------------------------------------------

    @invariant()
    def a_replay_of_the_whole_log_gives_the_same_state(self) -> None:
        again = replayed(self.log)
        assert again.head() == self.core.head()
        assert durable_part(again) == durable_part(self.core)

    @invariant()
    def a_head_and_the_records_since_the_oldest_open_work_give_the_same_state(self) -> None:
        again = woken(self.log)
        assert again.head() == self.core.head()
        assert durable_part(again) == durable_part(self.core)

    @invariant()
    def the_session_knows_what_is_open(self) -> None:
        head = self.core.head()
        assert head.open_turns == len(self.open)
        assert self.core.oldest_open_turn == (self.open[0] if self.open else 0)
        assert head.open_deliveries == sum(map(len, self.lanes.values()))
        assert self.core.idle == (not self.open and not self.lanes)
        assert self.core.running == (self.open[0] if self.phase == "running" else 0)

    @invariant()
    def the_session_knows_what_it_shares(self) -> None:
        head = self.core.head()
        assert self.core.target == self.target
        assert self.core.active_channel == head.active_channel
        assert (head.active_channel is None) == (self.target[1] is None)
        assert (head.cleared, head.context_bound) == (self.cleared, self.bound)
        assert (head.cleared_turn, head.deletions) == (self.cleared_turn, len(self.deleted))
        changes = (seq for seq, r in enumerate(self.log, 1) if isinstance(r, ChangedRecord))
        assert head.changed == max(changes, default=0)
        assert dict(head.joined or ()) == self.joined
        assert list(head.hidden or ()) == self.hidden
        assert head.merged_into == self.core.merged_into == self.merged_into
        assert read_head(decode(encode(list(head)))) == head

    def teardown(self) -> None:
        """A crash between any two records, were it possible, would lose nothing either."""
        for length in range(1, len(self.log) + 1):
            part = self.log[:length]
            assert woken(part).head() == replayed(part).head()


def test_whatever_happens_replay_gives_the_state_that_wrote_the_log() -> None:
    run_state_machine_as_test(
        Life, settings=settings(deadline=None, max_examples=100, stateful_step_count=40)
    )


@pytest.mark.slow
def test_however_long_it_goes_on_replay_gives_the_state_that_wrote_the_log() -> None:
    run_state_machine_as_test(
        Life, settings=settings(deadline=None, max_examples=200, stateful_step_count=150)
    )
