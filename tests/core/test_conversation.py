"""What a session decides, event by event."""

from __future__ import annotations

from typing import Any

import pytest

from turnkeeper.actors.core.conversation import MAX_ATTEMPTS, Conversation, retry_pause_s
from turnkeeper.actors.core.delivery_records import DeliveryRecord
from turnkeeper.actors.core.effects import (
    AnswerAccepted,
    AnswerMayRetry,
    Dispatch,
    Effect,
    EndTurn,
    IsolateTurn,
    PauseTurn,
    SettleDelivery,
    StartTurn,
    Step,
)
from turnkeeper.actors.core.ownership_records import (
    BoundRecord,
    HiddenRecord,
    LinkedRecord,
    OpenedRecord,
    ReleasedRecord,
    UnlinkedRecord,
)
from turnkeeper.actors.core.records import Record
from turnkeeper.actors.core.turn_records import (
    AssistantRecord,
    AttemptRecord,
    FailureRecord,
    InterruptedRecord,
    QuarantinedRecord,
    SilentRecord,
    ToolRecord,
    UserRecord,
)
from turnkeeper.actors.deliveries import DeliveryReported, OutcomeStatus
from turnkeeper.actors.messages import (
    Address,
    AgentReply,
    DeliveryId,
    InboundTurn,
    Instance,
    SessionId,
    ToolCall,
    TurnId,
)

NOW_US = 1_700_000_000_000_000


def address(conversation: str = "c1") -> Address:
    return Address(instance=Instance("tg"), conversation=conversation)


def turn(text: str = "hi", conversation: str = "c1") -> InboundTurn:
    return InboundTurn(
        address=address(conversation),
        platform="telegram",
        message_id=f"m-{text}",
        user_id="u1",
        text=text,
    )


class Session:
    """A conversation with its whole log, driven by hand."""

    def __init__(self) -> None:
        self.core = Conversation()
        self.log: list[Record] = []
        opened = OpenedRecord(at_us=NOW_US, session_id="s1", agent="main", by="first message")
        self.core.apply(opened)
        self.log.append(opened)

    def take(self, step: Step) -> list[Effect]:
        """Make `step` durable; return its effects."""
        if step.records:
            assert step.first_seq == len(self.log) + 1
        self.log += step.records
        assert self.core.next_seq == len(self.log) + 1
        return step.effects

    def accept(self, text: str = "hi", conversation: str = "c1") -> list[Effect]:
        return self.take(self.core.accept(turn(text, conversation), NOW_US))

    def finish(self, seq: int, text: str | None = "yes", *tools: ToolCall) -> list[Effect]:
        return self.take(
            self.core.finish(seq, self.turn_of(seq), AgentReply(text=text, tools=tools), NOW_US)
        )

    def fail(self, seq: int, *, retryable: bool = True, notice: str | None = None) -> list[Effect]:
        step = self.core.fail(
            seq, self.turn_of(seq), "boom", NOW_US, retryable=retryable, notice=notice
        )
        return self.take(step)

    def report(
        self, seq: int, status: OutcomeStatus, attempt: int = 1, reason: str | None = None
    ) -> list[Effect]:
        report = DeliveryReported(
            session_id=SessionId("s1"),
            delivery_id=DeliveryId(f"s1/{seq}"),
            attempt=attempt,
            status=status,
            reason=reason,
        )
        return self.take(self.core.report(seq, report, NOW_US))

    def turn_of(self, seq: int) -> InboundTurn:
        record = self.log[seq - 1]
        assert isinstance(record, UserRecord)
        return turn(record.text, record.conversation)

    def crash(self) -> list[Effect]:
        """The process dies and starts again."""
        head = self.core.head()
        since = head.open_since
        rest = list(enumerate(self.log, 1))[since - 1 :] if since else []
        self.core = Conversation.from_head(head, rest)
        oldest = self.core.oldest_open_turn
        return self.take(self.core.resume(self.turn_of(oldest) if oldest else None, NOW_US))


@pytest.fixture
def session() -> Session:
    return Session()


def kinds(effects: list[Effect]) -> list[type[Any]]:
    return [type(effect) for effect in effects]


# -- turns ---------------------------------------------------------------------------------------


def test_a_first_turn_is_recorded_acknowledged_and_started(session: Session) -> None:
    effects = session.accept("hi")
    assert isinstance(session.log[-1], UserRecord)
    answer, start = effects
    assert isinstance(answer, AnswerAccepted)
    assert answer.accepted.turn_id == TurnId("s1/2")
    assert not answer.accepted.duplicate
    assert start == StartTurn(2, turn("hi"), 1)


def test_a_turn_behind_another_waits_and_is_acknowledged_all_the_same(session: Session) -> None:
    session.accept("one")
    assert kinds(session.accept("two")) == [AnswerAccepted]
    assert session.core.open_turns == 2
    assert session.core.running == 2


def test_turns_run_one_at_a_time_in_the_order_of_acceptance(session: Session) -> None:
    for text in ("one", "two", "three"):
        session.accept(text)
    started: list[int] = []
    seq = 2
    while seq:
        effects = session.finish(seq)
        next_turns = [effect.seq for effect in effects if isinstance(effect, StartTurn)]
        assert len(next_turns) <= 1
        seq = next_turns[0] if next_turns else 0
        started += next_turns
    assert started == [3, 4]
    assert session.core.open_turns == 0


def test_a_message_heard_again_is_acknowledged_and_changes_nothing(session: Session) -> None:
    session.accept("hi")
    before = session.core.head()
    step = session.core.accept_again(SessionId("s1"), 2)
    (answer,) = step.effects
    assert isinstance(answer, AnswerAccepted)
    assert answer.accepted.duplicate
    assert answer.accepted.turn_id == "s1/2"
    assert not step.records
    assert session.core.head() == before


def test_a_message_heard_again_is_acknowledged_in_the_name_of_the_session_that_took_it(
    session: Session,
) -> None:
    (answer,) = session.core.accept_again(SessionId("s7"), 4).effects
    assert isinstance(answer, AnswerAccepted)
    assert answer.accepted.session_id == "s7"
    assert answer.accepted.turn_id == "s7/4"


def test_tool_records_and_the_reply_stand_together(session: Session) -> None:
    session.accept("one")
    session.accept("two")
    calls = (
        ToolCall(name="add", arguments="1, 1", result="2"),
        ToolCall(name="sub", arguments="1, 1", result="0"),
    )
    session.finish(2, "done", *calls)
    match session.log[-3:]:
        case [ToolRecord(name="add"), ToolRecord(name="sub"), AssistantRecord(text="done") as said]:
            assert said.turn_seq == 2
        case other:
            pytest.fail(f"the turn left {other}")


def test_a_reply_is_dispatched_to_where_its_turn_came_from(session: Session) -> None:
    session.accept("one", "c1")
    session.accept("two", "c2")
    dispatch = next(e for e in session.finish(2, "yes") if isinstance(e, Dispatch))
    assert dispatch.record is not None
    assert dispatch.record.conversation == "c1"
    assert dispatch.record.reply_to == "m-one"
    assert session.core.active_channel == address("c2")


@pytest.mark.parametrize("text", [None, ""])
def test_an_agent_may_end_a_turn_in_silence(session: Session, text: str | None) -> None:
    session.accept()
    effects = session.finish(2, text)
    assert isinstance(session.log[-1], SilentRecord)
    assert effects == [EndTurn(2, turn("hi"), "silent")]
    assert session.core.idle


def test_a_result_that_comes_twice_or_late_changes_nothing(session: Session) -> None:
    session.accept("one")
    session.accept("two")
    session.finish(2)
    before, length = session.core.head(), len(session.log)
    assert session.finish(2, "again") == []
    assert session.fail(2) == []
    assert session.take(session.core.interrupt(2, session.turn_of(2), NOW_US)) == []
    assert session.take(session.core.begin_again(2, NOW_US)) == []
    assert session.take(session.core.begin_isolated(2, NOW_US)) == []
    assert session.core.head() == before
    assert len(session.log) == length


# -- failures ------------------------------------------------------------------------------------


def test_a_failed_attempt_is_followed_by_a_pause_and_another_one(session: Session) -> None:
    session.accept()
    assert session.fail(2) == [PauseTurn(2, retry_pause_s(1))]
    assert isinstance(session.log[-1], FailureRecord)
    assert session.core.running == 0
    assert session.take(session.core.begin_again(2, NOW_US)) == [StartTurn(2, None, 2)]


def test_while_a_failed_turn_pauses_the_next_one_waits(session: Session) -> None:
    session.accept("one")
    session.fail(2)
    assert kinds(session.accept("two")) == [AnswerAccepted]
    assert session.take(session.core.begin_again(3, NOW_US)) == []


def test_a_turn_that_fails_three_times_is_quarantined_and_the_next_one_runs(
    session: Session,
) -> None:
    session.accept("one")
    session.accept("two")
    attempts: list[int] = []
    for _ in range(MAX_ATTEMPTS - 1):
        session.fail(2)
        (start,) = session.take(session.core.begin_again(2, NOW_US))
        assert isinstance(start, StartTurn)
        attempts.append(start.attempt)
    assert attempts == [2, 3]
    assert session.fail(2) == [
        EndTurn(2, turn("one"), "quarantined", error="boom"),
        StartTurn(3, None, 1),
    ]
    record = session.log[-1]
    assert isinstance(record, QuarantinedRecord)
    assert record.attempts == 3


def test_a_fault_that_no_attempt_can_mend_is_quarantined_at_once(session: Session) -> None:
    session.accept()
    assert session.fail(2, retryable=False) == [EndTurn(2, turn("hi"), "quarantined", error="boom")]
    assert session.core.idle


def test_a_human_is_told_of_a_turn_that_is_given_up(session: Session) -> None:
    session.accept()
    effects = session.fail(2, retryable=False, notice="Sorry.")
    said = session.log[-1]
    assert isinstance(said, AssistantRecord)
    assert (said.text, said.by, said.route) == ("Sorry.", "runtime", "reply")
    assert EndTurn(2, turn("hi"), "quarantined", len(session.log), "boom") in effects
    assert kinds(effects) == [Dispatch, EndTurn]


def test_an_error_text_is_kept_only_up_to_its_bound(session: Session) -> None:
    session.accept()
    session.take(session.core.fail(2, turn(), "x" * 1_000_000, NOW_US, retryable=True))
    record = session.log[-1]
    assert isinstance(record, FailureRecord)
    assert len(record.error) == 2_000


def test_pauses_between_attempts_grow() -> None:
    assert [retry_pause_s(attempt) for attempt in (1, 2, 3, 99)] == [0.5, 1.0, 2.0, 30.0]


# -- crashes -------------------------------------------------------------------------------------


def test_a_turn_that_was_under_way_runs_again_as_the_next_attempt(session: Session) -> None:
    session.accept()
    assert session.crash() == [StartTurn(2, None, 2)]
    assert session.log[-1] == AttemptRecord(at_us=NOW_US, turn_seq=2, attempt=2)


def test_the_last_attempt_after_crashes_waits_to_run_alone(session: Session) -> None:
    session.accept()
    session.crash()
    assert session.crash() == [IsolateTurn(2)]
    assert session.core.running == 0
    assert session.take(session.core.begin_isolated(2, NOW_US)) == [
        StartTurn(2, None, 3, isolated=True)
    ]


def test_a_turn_that_kills_the_process_three_times_is_quarantined(session: Session) -> None:
    session.accept("one")
    session.accept("two")
    session.crash()
    session.crash()
    session.take(session.core.begin_isolated(2, NOW_US))
    assert session.crash() == [
        EndTurn(2, turn("one"), "quarantined", error="the process died during each of 3 attempts"),
        StartTurn(3, None, 1),
    ]


def test_a_crash_while_a_last_attempt_waits_to_run_alone_costs_no_attempt(
    session: Session,
) -> None:
    session.accept()
    session.crash()
    for _ in range(5):
        assert session.crash() == [IsolateTurn(2)]


def test_an_interrupted_attempt_is_not_counted(session: Session) -> None:
    session.accept()
    for _ in range(5):
        session.take(session.core.interrupt(2, session.turn_of(2), NOW_US))
        assert isinstance(session.log[-1], InterruptedRecord)
        assert session.crash() == [StartTurn(2, None, 1)]


@pytest.mark.parametrize("failures", [1, 2])
def test_a_restart_during_the_pause_between_attempts_costs_no_attempt(
    session: Session, failures: int
) -> None:
    session.accept()
    session.fail(2)
    if failures == 2:
        session.take(session.core.begin_again(2, NOW_US))
        session.fail(2)
    effects = session.crash()
    if failures == 1:
        assert effects == [StartTurn(2, None, 2)]
    else:
        assert effects == [IsolateTurn(2)]
        assert session.take(session.core.begin_isolated(2, NOW_US)) == [
            StartTurn(2, None, 3, isolated=True)
        ]


# -- deliveries ----------------------------------------------------------------------------------


def test_the_first_delivery_to_a_place_leaves_at_once_and_the_next_one_waits(
    session: Session,
) -> None:
    session.accept("one")
    session.accept("two")
    assert Dispatch in kinds(session.finish(2))
    assert Dispatch not in kinds(session.finish(3))


def test_a_delivery_that_is_over_lets_the_next_one_of_its_place_go(session: Session) -> None:
    first, step = session.core.send("one", address(), NOW_US)
    session.take(step)
    second, step = session.core.send("two", address(), NOW_US)
    assert session.take(step) == []
    effects = session.report(first, "delivered")
    assert kinds(effects) == [SettleDelivery, Dispatch]
    assert effects[-1] == Dispatch(second, None)
    assert session.log[-1] == DeliveryRecord(
        at_us=NOW_US, delivery_seq=second, status="sending", attempt=1
    )


def test_a_stuck_place_holds_no_other(session: Session) -> None:
    _, step = session.core.send("one", address("c1"), NOW_US)
    session.take(step)
    other, step = session.core.send("two", address("c2"), NOW_US)
    assert session.take(step) == [Dispatch(other, session.log[-1])]  # type: ignore[arg-type]


def test_another_attempt_begins_only_when_the_last_one_is_known_to_have_failed(
    session: Session,
) -> None:
    seq, step = session.core.send("one", address(), NOW_US)
    session.take(step)
    assert session.take(session.core.may_retry(seq, 2, NOW_US)) == [AnswerMayRetry(False)]
    session.report(seq, "retrying", reason="refused")
    assert session.take(session.core.may_retry(seq, 2, NOW_US)) == [AnswerMayRetry(True)]
    assert session.take(session.core.may_retry(seq, 2, NOW_US)) == [AnswerMayRetry(False)]


def test_an_attempt_that_is_not_allowed_any_more_ends_the_delivery_and_lets_the_next_one_go(
    session: Session,
) -> None:
    seq, step = session.core.send("one", address(), NOW_US)
    session.take(step)
    after, step = session.core.send("two", address(), NOW_US)
    session.take(step)
    report = DeliveryReported(
        session_id=SessionId("s1"),
        delivery_id=DeliveryId(f"s1/{seq}"),
        attempt=2,
        status="failed",
        reason="access_revoked",
    )
    step = session.core.may_not_retry(seq, report, NOW_US)
    assert (step.records, session.take(step)) == ([], [AnswerMayRetry(False)])
    session.report(seq, "retrying", reason="refused")
    effects = session.take(session.core.may_not_retry(seq, report, NOW_US))
    assert effects == [
        SettleDelivery(seq, report),
        Dispatch(after, None),
        AnswerMayRetry(False),
    ]
    assert [
        (record.delivery_seq, record.status, record.attempt, record.reason)
        for record in session.log[-3:]
        if isinstance(record, DeliveryRecord)
    ] == [
        (seq, "sending", 2, None),
        (seq, "failed", 2, "access_revoked"),
        (after, "sending", 1, None),
    ]


def test_a_report_that_comes_twice_or_late_changes_nothing(session: Session) -> None:
    seq, step = session.core.send("one", address(), NOW_US)
    session.take(step)
    session.report(seq, "delivered")
    before = session.core.head()
    assert session.report(seq, "delivered") == []
    assert session.report(seq, "failed") == []
    assert session.report(99, "delivered") == []
    assert session.core.head() == before


def test_a_delivery_under_way_at_a_crash_is_ambiguous_and_a_waiting_one_is_not(
    session: Session,
) -> None:
    first, step = session.core.send("one", address(), NOW_US)
    session.take(step)
    second, step = session.core.send("two", address(), NOW_US)
    session.take(step)
    assert session.crash() == [Dispatch(first, None, 1, ambiguous=True)]
    assert session.report(first, "unknown")[-1] == Dispatch(second, None)


def test_a_delivery_that_paused_at_a_crash_goes_on_with_its_next_attempt(session: Session) -> None:
    seq, step = session.core.send("one", address(), NOW_US)
    session.take(step)
    session.report(seq, "retrying")
    assert session.crash() == [Dispatch(seq, None, 2)]
    assert session.crash() == [Dispatch(seq, None, 2, ambiguous=True)]


def test_an_operator_can_open_a_dead_delivery_again(session: Session) -> None:
    seq, step = session.core.send("one", address(), NOW_US)
    session.take(step)
    record = session.log[seq - 1]
    assert isinstance(record, AssistantRecord)
    session.report(seq, "failed", reason="rejected")
    assert session.core.idle
    effects = session.take(session.core.open_delivery_again(seq, record, NOW_US))
    assert effects == [Dispatch(seq, record)]
    assert session.core.head().open_deliveries == 1
    assert session.take(session.core.open_delivery_again(seq, record, NOW_US)) == []


def test_a_delivery_opened_again_waits_behind_those_of_its_place(session: Session) -> None:
    dead, step = session.core.send("one", address(), NOW_US)
    session.take(step)
    session.report(dead, "failed")
    busy, step = session.core.send("two", address(), NOW_US)
    session.take(step)
    record = session.log[dead - 1]
    assert isinstance(record, AssistantRecord)
    assert session.take(session.core.open_delivery_again(dead, record, NOW_US)) == []
    assert session.crash() == [Dispatch(busy, None, 1, ambiguous=True)]
    assert session.report(busy, "delivered")[-1] == Dispatch(dead, None)


def test_what_has_no_place_goes_to_the_feed(session: Session) -> None:
    seq, step = session.core.send("one", None, NOW_US)
    (dispatch,) = session.take(step)
    assert isinstance(dispatch, Dispatch)
    assert dispatch.record is not None
    assert dispatch.record.instance is None
    session.report(seq, "rendered")
    assert session.core.idle


# -- what belongs to whom ------------------------------------------------------------------------


def bound(conversation: str = "c1") -> BoundRecord:
    return BoundRecord(
        at_us=NOW_US,
        instance="tg",
        conversation=conversation,
        thread=None,
        version=1,
        by="first message, dm_scope per-user",
        platform="telegram",
        guild=None,
        direct=True,
    )


def released(conversation: str = "c1", *, merged: bool = False) -> ReleasedRecord:
    return ReleasedRecord(
        at_us=NOW_US,
        instance="tg",
        conversation=conversation,
        thread=None,
        version=2,
        by="link to ann",
        to_session="s2",
        merged=merged,
    )


def test_one_more_conversation_is_recorded_and_is_not_active_before_a_human_writes(
    session: Session,
) -> None:
    session.accept("hi", "c1")
    assert session.take(session.core.bind(bound("c2"))) == []
    assert session.log[-1] == bound("c2")
    assert session.core.active_channel == address("c1")
    session.accept("hello", "c2")
    assert session.core.active_channel == address("c2")


def test_a_conversation_that_goes_is_not_the_active_one_any_more(session: Session) -> None:
    session.accept("hi", "c1")
    session.core.apply(released("c2"))
    assert session.core.active_channel == address("c1")
    session.core.apply(released("c1"))
    assert session.core.active_channel is None


def test_a_conversation_that_goes_takes_no_turn_or_delivery_along(session: Session) -> None:
    session.accept("one")
    session.accept("two")
    session.core.apply(released(merged=True))
    session.log.append(released(merged=True))
    assert session.core.open_turns == 2
    said, end, start = session.finish(2, "yes")
    assert isinstance(said, Dispatch)
    assert isinstance(end, EndTurn)
    assert end.turn == turn("one")
    assert isinstance(start, StartTurn)


def test_a_session_goes_on_by_itself_once_it_owns_a_conversation_again(session: Session) -> None:
    session.core.apply(released("c1"))
    assert session.core.head().merged_into is None
    session.core.apply(released("c2", merged=True))
    assert session.core.head().merged_into == "s2"
    session.core.apply(bound("c2"))
    assert session.core.head().merged_into is None


def test_histories_that_joined_are_known_by_their_numbers_until_they_leave(
    session: Session,
) -> None:
    for stream in (2, 3, 2):
        session.core.apply(
            LinkedRecord(
                at_us=NOW_US, session_id=f"s{stream}", stream=stream, number=1, by="operator"
            )
        )
    assert session.core.head().joined == ((2, "s2"), (3, "s3"))
    for stream, left in ((2, ((3, "s3"),)), (2, ((3, "s3"),)), (3, None)):
        session.core.apply(
            UnlinkedRecord(
                at_us=NOW_US, session_id=f"s{stream}", stream=stream, number=2, by="operator"
            )
        )
        assert session.core.head().joined == left


def test_what_is_hidden_ends_where_it_was_hidden(session: Session) -> None:
    session.accept("hi")
    hidden = HiddenRecord(
        at_us=NOW_US, platform="telegram", user_id="u1", since_us=NOW_US - 5, number=3
    )
    assert session.core.apply(hidden) == 3
    assert session.core.head().hidden == (("telegram", "u1", NOW_US - 5, 3),)
