"""What an agent sees of its session."""

from __future__ import annotations

from turnkeeper.actors.core.records import (
    AssistantRecord,
    DeliveryRecord,
    OpenedRecord,
    QuarantinedRecord,
    Record,
    ToolRecord,
    UserRecord,
)
from turnkeeper.actors.core.window import Stretch, build_window, text_chars


def user(text: str, conversation: str = "c1") -> UserRecord:
    return UserRecord(
        at_us=1,
        text=text,
        instance="tg",
        conversation=conversation,
        thread=None,
        platform="telegram",
        message_id=f"m-{text}",
        user_id="u1",
    )


def assistant(text: str, turn_seq: int = 0) -> AssistantRecord:
    return AssistantRecord(
        at_us=2, text=text, turn_seq=turn_seq, instance="tg", conversation="c1", thread=None
    )


def tool(name: str, turn_seq: int) -> ToolRecord:
    return ToolRecord(at_us=2, turn_seq=turn_seq, name=name, arguments="1", result="2")


def shown(log: dict[int, Record], turn_seq: int) -> list[str]:
    return [message.text for message in build_window([Stretch(None, log.items())], turn_seq)]


def test_a_reply_stands_behind_its_question_even_if_the_human_wrote_again_meanwhile() -> None:
    log: dict[int, Record] = {3: user("q1"), 4: user("q2"), 5: assistant("a1", 3)}
    assert shown(log, 4) == ["q1", "a1", "q2"]


def test_messages_that_wait_for_their_own_turn_are_not_seen_before_it() -> None:
    log: dict[int, Record] = {3: user("q1"), 4: user("q2"), 5: user("q3")}
    assert shown(log, 3) == ["q1"]
    assert shown(log, 4) == ["q1", "q2"]


def test_the_current_message_is_the_last_one() -> None:
    log: dict[int, Record] = {3: user("q1"), 4: assistant("unasked")}
    assert shown(log, 3) == ["unasked", "q1"]


def test_tool_calls_stand_between_the_question_and_the_reply() -> None:
    log: dict[int, Record] = {
        3: user("q1"),
        4: user("q2"),
        5: tool("t1", 3),
        6: tool("t2", 3),
        7: assistant("a1", 3),
    }
    assert shown(log, 4) == ["q1", "t1(1) -> 2", "t2(1) -> 2", "a1", "q2"]


def test_between_turns_everything_said_is_seen_and_nothing_else() -> None:
    log: dict[int, Record] = {
        1: OpenedRecord(at_us=0, session_id="s1", agent="main", by="first message"),
        3: user("q1"),
        4: QuarantinedRecord(at_us=1, turn_seq=3, attempts=3, error="boom"),
        5: assistant("sorry"),
        6: DeliveryRecord(at_us=1, delivery_seq=5, status="delivered"),
        7: user("q2"),
    }
    assert shown(log, 0) == ["q1", "sorry", "q2"]


def test_a_message_tells_who_said_it_and_where() -> None:
    log = Stretch(None, [(3, user("q", "c9")), (4, assistant("a", 3))])
    first, second = build_window([log], 0)
    assert (first.role, first.instance, first.conversation, first.seq) == ("user", "tg", "c9", 3)
    assert (first.platform, first.user_id, first.session_id) == ("telegram", "u1", None)
    assert (second.role, second.kind, second.at_us) == ("assistant", "assistant", 2)
    assert (second.platform, second.user_id) == (None, None)


def test_text_is_shown_as_it_was_written() -> None:
    text = "\x00\ud800\u202e\x1b[31m\U0001f600 é"
    assert shown({3: user(text)}, 3) == [text]
    assert text_chars(user(text)) == len(text)


def test_only_what_is_shown_takes_room() -> None:
    assert text_chars(assistant("four")) == 4
    assert text_chars(tool("add", 3)) == len("add") + 2
    assert text_chars(DeliveryRecord(at_us=1, delivery_seq=5, status="delivered")) == 0
