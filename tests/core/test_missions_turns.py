"""What a session makes of a mission's run, of what others say for it, and of a cleared context."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from turnkeeper.actors.core.conversation import Conversation
from turnkeeper.actors.core.delivery_records import (
    DeliveryRecord,
    NoteRecord,
    ReceiptRecord,
    ReopenedRecord,
)
from turnkeeper.actors.core.effects import (
    AnswerAccepted,
    AnswerCleared,
    AnswerMirrored,
    AnswerMission,
    Dispatch,
    Effect,
    EndTurn,
    PauseTurn,
    SettleDelivery,
    StartTurn,
    Step,
    TellNote,
)
from turnkeeper.actors.core.heard import turn_of
from turnkeeper.actors.core.ownership_records import ActiveRecord, BoundRecord, OpenedRecord
from turnkeeper.actors.core.records import Record
from turnkeeper.actors.core.turn_records import (
    AssistantRecord,
    InterruptedRecord,
    MissionRecord,
    QuarantinedRecord,
    SilentRecord,
    UserRecord,
)
from turnkeeper.actors.core.view_records import ClearRecord
from turnkeeper.actors.core.weight import OVERHEAD, weight_of
from turnkeeper.actors.deliveries import DeliveryReported, OutcomeStatus
from turnkeeper.actors.messages import (
    Address,
    AgentReply,
    AnyTurn,
    Cleared,
    DeliveryId,
    InboundTurn,
    Instance,
    MissionTurn,
    SessionId,
    ToolCall,
    TurnId,
)

NOW_US = 1_700_000_000_000_000
PLACE = Address(instance=Instance("tg"), conversation="c1")
INTERRUPTED = "interrupted by the end of the process: a mission's run is never repeated"


def mission(run: int = 1) -> MissionTurn:
    return MissionTurn(mission="inbox", run=run, text=f"look {run}", due_us=NOW_US - 5)


def turn(text: str = "hi") -> InboundTurn:
    return InboundTurn(
        address=PLACE, platform="telegram", message_id=f"m-{text}", user_id="u1", text=text
    )


def aim(instance: str | None = "tg", conversation: str | None = "c1") -> ActiveRecord:
    return ActiveRecord(
        at_us=NOW_US, instance=instance, conversation=conversation, thread=None, by="mission inbox"
    )


def note(text: str = "said elsewhere") -> NoteRecord:
    return NoteRecord(
        at_us=NOW_US,
        text=text,
        source="session s9",
        session_id="s9",
        mission=None,
        delivery_id="s9/4",
        instance="tg",
        conversation="c1",
        thread=None,
    )


class Session:
    """A conversation with its whole log, driven by hand."""

    def __init__(self) -> None:
        self.core = Conversation()
        self.log: list[Record] = []
        opened = OpenedRecord(at_us=NOW_US, session_id="s1", agent="main", by="mission inbox")
        self.core.apply(opened)
        self.log.append(opened)

    def take(self, step: Step) -> list[Effect]:
        """Make `step` durable; return its effects. Replay must give the same state every time."""
        if step.records:
            assert step.first_seq == len(self.log) + 1
        self.log += step.records
        assert self.woken().head() == self.replayed().head() == self.core.head()
        return step.effects

    def replayed(self) -> Conversation:
        core = Conversation()
        for record in self.log:
            core.apply(record)
        return core

    def woken(self) -> Conversation:
        head = self.core.head()
        return Conversation.from_head(head, self.since(head.open_since))

    def since(self, seq: int) -> Iterable[tuple[int, Record]]:
        return list(enumerate(self.log, 1))[seq - 1 :] if seq else []

    def turn_at(self, seq: int) -> AnyTurn:
        record = self.log[seq - 1]
        assert isinstance(record, UserRecord | MissionRecord)
        return turn_of(record)

    def run(self, run: int = 1, active: ActiveRecord | None = None) -> list[Effect]:
        return self.take(self.core.run_mission(mission(run), active, "schedule", NOW_US))

    def accept(self, text: str = "hi") -> list[Effect]:
        return self.take(self.core.accept(turn(text), NOW_US))

    def finish(self, seq: int, text: str | None = "yes", *tools: ToolCall) -> list[Effect]:
        reply = AgentReply(text=text, tools=tools)
        return self.take(self.core.finish(seq, self.turn_at(seq), reply, NOW_US))

    def send(self, text: str = "said", to: Address | None = PLACE) -> int:
        seq, step = self.core.send(text, to, NOW_US)
        self.take(step)
        return seq

    def report(
        self,
        seq: int,
        status: OutcomeStatus,
        *,
        attempt: int = 1,
        parts: tuple[str, ...] = (),
        noted: tuple[SessionId, int] | None = None,
    ) -> list[Effect]:
        report = reported(seq, status, attempt=attempt, parts=parts)
        return self.take(self.core.report(seq, report, NOW_US, noted=noted))

    def said(self, seq: int) -> AssistantRecord:
        record = self.log[seq - 1]
        assert isinstance(record, AssistantRecord)
        return record

    def crash(self) -> list[Effect]:
        """The process dies and starts again."""
        self.core = self.woken()
        oldest = self.core.oldest_open_turn
        return self.take(self.core.resume(self.turn_at(oldest) if oldest else None, NOW_US))


def reported(
    seq: int, status: OutcomeStatus, *, attempt: int = 1, parts: tuple[str, ...] = ()
) -> DeliveryReported:
    return DeliveryReported(
        session_id=SessionId("s1"),
        delivery_id=DeliveryId(f"s1/{seq}"),
        attempt=attempt,
        status=status,
        parts=parts,
        parts_in_all=3 if parts else 1,
    )


@pytest.fixture
def session() -> Session:
    return Session()


def kinds(effects: list[Effect]) -> list[type[Any]]:
    return [type(effect) for effect in effects]


# -- runs ----------------------------------------------------------------------------------------


def test_a_run_is_recorded_told_to_the_scheduler_and_started(session: Session) -> None:
    assert kinds(effects := session.run()) == [AnswerMission, StartTurn]
    assert effects == [AnswerMission(TurnId("s1/2")), StartTurn(2, mission(), 1)]
    assert session.log[-1] == MissionRecord(
        at_us=NOW_US, text="look 1", mission="inbox", run=1, due_us=NOW_US - 5, by="schedule"
    )


def test_a_run_comes_back_from_its_record_as_it_was_asked_for(session: Session) -> None:
    session.run(7)
    assert session.turn_at(2) == mission(7)


def test_a_run_wakes_nobody_up_as_a_human(session: Session) -> None:
    before = session.core.head()
    session.take(session.core.run_mission(mission(), None, "schedule", NOW_US + 5))
    after = session.core.head()
    assert after.last_active_us == before.last_active_us
    assert after.active_channel is None
    assert after.context_bound == OVERHEAD + len("look 1")


def test_a_run_waits_behind_the_turn_of_a_human_and_the_other_way_round(session: Session) -> None:
    session.accept()
    assert kinds(session.run()) == [AnswerMission]
    assert kinds(session.accept("again")) == [AnswerAccepted]
    assert session.finish(2, None)[-1] == StartTurn(3, None, 1)
    assert session.finish(3, None) == [EndTurn(3, mission(), "silent"), StartTurn(4, None, 1)]


def test_the_target_of_a_run_is_set_before_it_in_the_same_batch(session: Session) -> None:
    assert session.run(active=aim())[0] == AnswerMission(TurnId("s1/3"))
    assert [record.kind for record in session.log] == ["opened", "active", "mission"]
    assert session.core.active_channel == PLACE


@pytest.mark.parametrize(
    ("active", "place"),
    [
        (aim(), ("tg", "c1", None)),
        (None, (None, None, None)),
        (aim(None, None), (None, None, None)),
        (aim("tg", None), ("tg", None, None)),
    ],
)
def test_the_answer_of_a_run_goes_to_the_target_or_the_feed_or_is_known_to_have_nobody(
    session: Session,
    active: ActiveRecord | None,
    place: tuple[str | None, str | None, str | None],
) -> None:
    session.run(active=active)
    seq = session.core.running
    dispatch, end = session.finish(seq, "three mails", ToolCall(name="t", arguments="", result=""))
    said = session.said(len(session.log))
    assert (said.instance, said.conversation, said.thread) == place
    assert (said.turn_seq, said.reply_to) == (seq, None)
    assert dispatch == Dispatch(len(session.log), said)
    assert end == EndTurn(seq, mission(), "answered", len(session.log))
    assert session.log[-2].kind == "tool"


def test_the_answer_of_a_run_goes_where_messages_go_when_it_ends(session: Session) -> None:
    session.run(active=aim("tg", None))
    session.take(session.core.aim(aim("ws", "c9")))
    session.finish(3, "done")
    assert session.said(len(session.log)).conversation == "c9"


@pytest.mark.parametrize("text", [None, ""])
def test_a_run_may_end_in_silence(session: Session, text: str | None) -> None:
    session.run()
    assert session.finish(2, text) == [EndTurn(2, mission(), "silent")]
    assert isinstance(session.log[-1], SilentRecord)
    assert session.core.idle


def test_a_run_that_failed_is_over_and_tells_nobody_but_the_scheduler(session: Session) -> None:
    session.run(active=aim())
    session.run(2)
    step = session.core.fail(3, mission(), "boom", NOW_US, retryable=False, notice="Sorry.")
    assert session.take(step) == [
        EndTurn(3, mission(), "quarantined", error="boom"),
        StartTurn(4, None, 1),
    ]
    assert session.log[-1] == QuarantinedRecord(at_us=NOW_US, turn_seq=3, attempts=1, error="boom")


def test_a_human_behind_a_run_is_tried_again_as_ever(session: Session) -> None:
    session.run()
    session.accept()
    session.finish(2, None)
    step = session.core.fail(3, turn(), "boom", NOW_US, retryable=True)
    assert kinds(session.take(step)) == [PauseTurn]


def test_a_run_that_a_stopping_runtime_takes_away_is_over(session: Session) -> None:
    session.run()
    session.run(2)
    effects = session.take(session.core.interrupt(2, mission(), NOW_US))
    assert effects == [EndTurn(2, mission(), "quarantined", error=INTERRUPTED)]
    assert session.log[-2:] == [
        QuarantinedRecord(at_us=NOW_US, turn_seq=2, attempts=1, error=INTERRUPTED),
        InterruptedRecord(at_us=NOW_US, turn_seq=3),
    ]
    assert session.core.running == 0, "the next one begins at the next start"
    assert session.crash() == [StartTurn(3, None, 1)]


def test_a_run_that_may_have_begun_before_a_crash_is_never_begun_again(session: Session) -> None:
    session.run()
    session.accept()
    assert session.crash() == [
        EndTurn(2, mission(), "quarantined", error=INTERRUPTED),
        StartTurn(3, None, 1),
    ]
    session.take(session.core.interrupt(3, turn(), NOW_US))
    assert isinstance(session.log[-1], InterruptedRecord)
    assert session.crash() == [StartTurn(3, None, 1)]


def test_a_run_that_waited_at_a_crash_runs(session: Session) -> None:
    session.accept()
    session.run()
    assert session.crash() == [StartTurn(2, None, 2)]
    assert session.finish(2, None)[-1] == StartTurn(3, None, 1)


# -- what others say -----------------------------------------------------------------------------


def test_a_note_is_recorded_and_starts_nothing(session: Session) -> None:
    before = session.core.head()
    assert session.take(session.core.hear(note("12345"))) == [AnswerMirrored(2)]
    assert session.log[-1] == note("12345")
    assert session.core.idle
    assert session.core.head() == before._replace(
        next_seq=before.next_seq + 1,
        context_bound=before.context_bound + weight_of(note("12345")),
        context_messages=before.context_messages + 1,
        unseen_bound=weight_of(note("12345")),
        unseen_messages=1,
    )


def test_notes_that_waited_for_an_owner_come_with_the_conversation(session: Session) -> None:
    bound = BoundRecord(
        at_us=NOW_US,
        instance="tg",
        conversation="c1",
        thread=None,
        version=1,
        by="first message",
        platform="telegram",
        guild=None,
        direct=True,
    )
    effects = session.take(session.core.bind(bound, [note("one"), note("two")]))
    assert session.log[-3:] == [bound, note("one"), note("two")]
    assert effects == [TellNote(3), TellNote(4)]
    assert session.core.active_channel is None


def test_an_explicit_act_sets_the_active_channel_and_nothing_else(session: Session) -> None:
    before = session.core.head()
    assert session.take(session.core.aim(aim())) == []
    assert session.core.active_channel == PLACE
    assert session.core.head()._replace(instance=None, conversation=None) == before._replace(
        next_seq=3
    )


def test_where_nobody_is_yet_there_is_an_aim_and_no_active_channel(session: Session) -> None:
    session.take(session.core.aim(aim("tg", None)))
    assert session.core.active_channel is None
    assert session.core.target == ("tg", None, None)
    assert session.woken().target == ("tg", None, None)


# -- a context that begins anew ------------------------------------------------------------------


def test_a_cleared_context_counts_only_what_is_said_from_then_on(session: Session) -> None:
    session.accept("12345")
    session.finish(2, "1234567")
    (answer,) = session.take(session.core.clear("operator", NOW_US))
    seq = len(session.log)
    assert answer == AnswerCleared(Cleared(session_id=SessionId("s1"), seq=seq))
    assert session.log[-1] == ClearRecord(at_us=NOW_US, by="operator")
    assert (session.core.cleared, session.core.context_bound) == (seq, 0)
    session.accept("abc")
    assert (session.core.cleared, session.core.context_bound) == (seq, OVERHEAD + 3)


def test_clearing_leaves_what_is_open_and_where_it_goes(session: Session) -> None:
    session.accept("one")
    session.accept("two")
    session.take(session.core.clear("operator", NOW_US))
    assert session.core.running == 2
    assert session.core.open_turns == 2
    assert session.core.active_channel == PLACE
    assert kinds(session.finish(2)) == [Dispatch, EndTurn, StartTurn]


# -- deliveries ----------------------------------------------------------------------------------


def test_what_the_platform_tells_later_is_recorded_and_changes_nothing(session: Session) -> None:
    seq = session.send()
    session.report(seq, "delivered")
    before = session.core.head()
    record = ReceiptRecord(at_us=NOW_US, delivery_seq=seq, status="failed", reason="blocked")
    assert session.take(session.core.receipt(record)) == []
    assert session.log[-1] == record
    assert session.core.head() == before._replace(
        next_seq=before.next_seq + 1,
        context_bound=before.context_bound + weight_of(record),
        context_messages=before.context_messages + 1,
        unseen_bound=weight_of(record),
        unseen_messages=1,
    )


def test_an_outcome_names_the_note_that_was_written_with_it(session: Session) -> None:
    seq = session.send()
    noted = (SessionId("s7"), 12)
    assert session.report(seq, "delivered", noted=noted) == [
        SettleDelivery(seq, reported(seq, "delivered"), SessionId("s7"))
    ]
    assert session.log[-1] == DeliveryRecord(
        at_us=NOW_US, delivery_seq=seq, status="delivered", noted_in="s7", noted_seq=12
    )


def test_a_message_in_parts_goes_on_behind_those_that_have_arrived(session: Session) -> None:
    seq = session.send()
    session.report(seq, "retrying", parts=("p1", "p2"))
    record = session.log[-1]
    assert isinstance(record, DeliveryRecord)
    assert record.parts == ("p1", "p2")
    assert session.crash() == [Dispatch(seq, None, 2, parts=("p1", "p2"))]
    session.report(seq, "delivered", attempt=2, parts=("p1", "p2", "p3"))
    assert session.core.idle


@pytest.mark.parametrize("duplicate", [False, True])
def test_a_delivery_opened_again_keeps_its_mark_and_its_parts(
    session: Session, duplicate: bool
) -> None:
    seq = session.send()
    session.report(seq, "failed", parts=("p1",))
    said = session.said(seq)
    step = session.core.open_delivery_again(seq, said, NOW_US, duplicate=duplicate, parts=("p1",))
    again = Dispatch(seq, said, duplicate=duplicate, parts=("p1",))
    assert session.take(step) == [again]
    assert session.log[-2] == ReopenedRecord(
        at_us=NOW_US,
        delivery_seq=seq,
        instance="tg",
        conversation="c1",
        thread=None,
        duplicate=duplicate,
        parts=("p1",),
    )
    assert session.crash() == [
        Dispatch(seq, None, 1, ambiguous=True, duplicate=duplicate, parts=("p1",))
    ]


def test_one_opened_again_behind_others_keeps_its_mark_until_its_turn_comes(
    session: Session,
) -> None:
    dead = session.send("one")
    session.report(dead, "unknown")
    busy = session.send("two")
    step = session.core.open_delivery_again(dead, session.said(dead), NOW_US, duplicate=True)
    assert session.take(step) == []
    assert session.report(busy, "delivered")[-1] == Dispatch(dead, None, duplicate=True)


def test_a_message_to_nobody_names_the_instance_that_it_was_meant_for(session: Session) -> None:
    session.take(session.core.aim(aim("tg", None)))
    seq, step = session.core.send("said", None, NOW_US, by="turn", during=7, route="active channel")
    (dispatch,) = session.take(step)
    said = session.said(seq)
    assert dispatch == Dispatch(seq, said)
    assert (said.instance, said.conversation) == ("tg", None)
    assert (said.by, said.during, said.route) == ("turn", 7, "active channel")


@pytest.mark.parametrize(("active", "route"), [(aim(), "active channel"), (None, "feed")])
def test_what_is_said_unasked_tells_how_its_place_was_found(
    session: Session, active: ActiveRecord | None, route: str
) -> None:
    if active is not None:
        session.take(session.core.aim(active))
    assert session.said(session.send(to=None)).route == route
