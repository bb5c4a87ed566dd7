"""What a human asks of their session itself: what counts as a command, and what it does."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.actors.core.compaction import Compacted
from turnkeeper.actors.core.conversation import Conversation
from turnkeeper.actors.core.delivery_records import ReceiptRecord
from turnkeeper.actors.core.effects import (
    AnswerAccepted,
    AskCompaction,
    Dispatch,
    Effect,
    EndCommand,
    StartTurn,
    Step,
)
from turnkeeper.actors.core.heard import user_record
from turnkeeper.actors.core.intake import body_digest
from turnkeeper.actors.core.ownership_records import OpenedRecord
from turnkeeper.actors.core.records import Record, pack, unpack
from turnkeeper.actors.core.session_commands import (
    ANSWERS,
    SessionVerb,
    command_record,
    compaction_answer,
    message_behind,
    plain,
    read_session_command,
)
from turnkeeper.actors.core.turn_records import AssistantRecord
from turnkeeper.actors.core.view_records import ClearRecord, CommandRecord
from turnkeeper.actors.core.weight import weight_of
from turnkeeper.actors.core.window import Stretch, build_window
from turnkeeper.actors.journal import seen_hash
from turnkeeper.actors.messages import (
    Accepted,
    Address,
    AgentReply,
    Attachment,
    InboundTurn,
    Instance,
)

NOW_US = 1_700_000_000_000_000


def turn(text: str = "/new", message_id: str = "m1") -> InboundTurn:
    return InboundTurn(
        address=Address(Instance("tg"), "c1", "t1"),
        platform="telegram",
        message_id=message_id,
        user_id="u1",
        text=text,
    )


compacted = partial(Compacted, session_id="s1")


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("/new", "new"),
        ("/reset", "new"),
        ("/compact", "compact"),
        ("/NEW", "new"),
        ("/Compact", "compact"),
        ("  /new \n", "new"),
        ("\u3000/reset\u00a0", "new"),
        ("/new@some_bot", "new"),
        ("/COMPACT@Some.Bot", "compact"),
        ("new", None),
        ("", None),
        ("/", None),
        ("//new", None),
        ("/ new", None),
        ("/new@", None),
        ("/new @some_bot", None),
        ("/new chapter", None),
        ("/new\nchapter", None),
        ("/newer", None),
        ("/link", None),
        ("/help", None),
        ("/ne\u200bw", None),
        ("/ne\uff57", None),
        ("/\u212aompact", None),
        ("/new" + " " * 1_000, None),
    ],
)
def test_the_word_alone_is_a_command_and_everything_else_is_the_agents(
    text: str, command: SessionVerb | None
) -> None:
    assert read_session_command(turn(text)) == command


def test_in_a_group_and_with_a_file_it_is_the_agents() -> None:
    assert read_session_command(replace(turn(), direct=False)) is None
    photo = Attachment(kind="image", reference="f1")
    assert read_session_command(replace(turn(), attachments=(photo,))) is None


@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=30))
def test_any_text_can_be_looked_at(text: str) -> None:
    for written in (text, f"/{text}", f"/new{text}", f"/new@{text}"):
        assert read_session_command(turn(written)) in ("new", "compact", None)


@pytest.mark.parametrize("text", ["/new", "/RESET@bot", " /compact "])
def test_what_recognises_a_command_follows_from_its_record(text: str) -> None:
    heard = turn(text)
    command = read_session_command(heard)
    assert command is not None
    record = unpack(pack(command_record(command, heard, NOW_US)))
    assert isinstance(record, CommandRecord)
    kept = message_behind(record)
    assert seen_hash(kept) == seen_hash(heard)
    assert body_digest(kept) == body_digest(plain(command, heard))


def test_what_recognises_a_message_is_the_message() -> None:
    assert message_behind(user_record(turn("hello"), NOW_US)) == turn("hello")


def test_no_window_tells_what_became_of_an_answer_of_the_runtime() -> None:
    heard, place = turn("hello", "m0"), turn().address
    said = AssistantRecord(
        at_us=NOW_US,
        text=ANSWERS["new"],
        turn_seq=0,
        instance=place.instance,
        conversation=place.conversation,
        thread=place.thread,
        by="runtime",
        route="command",
    )
    records: list[tuple[int, Record]] = [
        (5, ReceiptRecord(at_us=NOW_US, delivery_seq=4, status="read")),
        (6, ReceiptRecord(at_us=NOW_US, delivery_seq=4, status="failed")),
        (7, user_record(heard, NOW_US)),
    ]
    for quoted, shown in ((said, [7]), (replace(said, by="operator"), [5, 6, 7])):
        window = build_window([Stretch(None, records, quoted={4: quoted})], 7, "s1")
        assert [message.seq for message in window] == shown


# --- what it does -------------------------------------------------------------------------------


class Session:
    """A conversation with its whole log, driven by hand; all that it says arrives."""

    def __init__(self) -> None:
        self.core = Conversation()
        opened = OpenedRecord(at_us=NOW_US, session_id="s1", agent="main", by="first message")
        self.core.apply(opened)
        self.log: list[Record] = [opened]

    def take(self, step: Step) -> list[Effect]:
        assert step.first_seq == len(self.log) + 1
        self.log.extend(step.records)
        return step.effects

    def replayed(self) -> Conversation:
        again = Conversation()
        for record in self.log:
            again.apply(record)
        return again


def test_new_is_answered_at_once_and_begins_the_context_anew() -> None:
    session = Session()
    session.take(session.core.accept(turn("hello", "m0"), NOW_US))
    step = session.core.command("new", turn("/reset"), NOW_US + 5)
    effects = session.take(step)
    command, marker, said = step.records
    assert command == command_record("new", turn(), NOW_US + 5)
    assert marker == ClearRecord(at_us=NOW_US + 5, by="user")
    assert isinstance(said, AssistantRecord)
    assert (said.text, said.by, said.route, said.reply_to, said.turn_seq) == (
        ANSWERS["new"],
        "runtime",
        "command",
        "m1",
        0,
    )
    assert (said.instance, said.conversation, said.thread) == ("tg", "c1", "t1")
    assert [type(effect) for effect in effects] == [AnswerAccepted, Dispatch, EndCommand]
    assert effects[0] == AnswerAccepted(_accepted(effects))
    assert effects[2] == EndCommand(3, turn().address, 5)
    assert (session.core.cleared, session.core.context_messages) == (4, 0)
    assert session.core.open_turns == 1


def _accepted(effects: list[Effect]) -> Accepted:
    (answer,) = [e.accepted for e in effects if isinstance(e, AnswerAccepted)]
    assert (answer.session_id, answer.turn_id, answer.duplicate) == ("s1", "s1/3", False)
    return answer


def test_compact_is_answered_at_once_and_changes_nothing_by_itself() -> None:
    session = Session()
    session.take(session.core.accept(turn("hello", "m0"), NOW_US))
    before = session.core.context_bound, session.core.context_messages
    step = session.core.command("compact", turn("/compact"), NOW_US + 5)
    effects = session.take(step)
    assert [record.kind for record in step.records] == ["command", "assistant"]
    assert AskCompaction(turn().address, "m1") in effects
    assert (session.core.context_bound, session.core.context_messages) == before
    assert not session.core.cleared


@pytest.mark.parametrize(
    ("outcome", "answer"),
    [
        (
            compacted(
                status="compacted", tokens_before=152_300, tokens_after=33_400, messages=1_234
            ),
            "Done. I have summarised 1,234 messages: 152,300 tokens before, 33,400 after.",
        ),
        (
            compacted(status="compacted", tokens_before=900, tokens_after=400, messages=1),
            "Done. I have summarised 1 message: 900 tokens before, 400 after.",
        ),
        (
            compacted(status="nothing", tokens_before=90, tokens_after=90),
            "There is not enough to summarise yet. Nothing has changed.",
        ),
        (
            compacted(status="too_short", tokens_before=90, tokens_after=90),
            "There is not enough to summarise yet. Nothing has changed.",
        ),
        (
            compacted(status="changed"),
            "I have summarised nothing: meanwhile, our conversation has become another.",
        ),
        (
            compacted(status="failed", fault="OSError: /secret/path"),
            "I could not summarise our conversation now. Please try again later.",
        ),
    ],
)
def test_who_asked_is_told_what_came_of_it_and_nothing_of_how_it_went_wrong(
    outcome: Compacted, answer: str
) -> None:
    assert compaction_answer(outcome) == answer


def test_a_command_is_neither_a_turn_nor_shown_nor_counted() -> None:
    session = Session()
    for command in ("new", "compact"):
        step = session.core.command(command, turn(), NOW_US + 5)
        assert [weight_of(record) for record in step.records] == [0] * len(step.records)
        assert not any(isinstance(effect, StartTurn) for effect in session.take(step))
    core = session.core
    assert (core.open_turns, core.context_bound, core.phase) == (0, 0, "created")
    assert (core.last_active_us, core.last_turn_us, core.active_channel) == (NOW_US + 5, 0, None)


def test_replay_and_the_head_bring_back_what_a_command_has_made() -> None:
    session = Session()
    session.take(session.core.accept(turn("one", "m0"), NOW_US))
    session.take(session.core.finish(2, turn("one", "m0"), AgentReply(text="1"), NOW_US + 4))
    session.take(session.core.command("new", turn(), NOW_US + 5))
    session.take(session.core.accept(turn("two", "m2"), NOW_US + 7))
    session.take(session.core.finish(7, turn("two", "m2"), AgentReply(text=None), NOW_US + 8))
    head = session.core.head()
    assert session.replayed().head() == head
    since = head.open_since  # the deliveries are open, and the command stands among them
    assert since == 3
    woken = Conversation.from_head(head, enumerate(session.log[since - 1 :], since))
    assert woken.head() == head
    assert woken.last_active_us == NOW_US + 7


def test_a_command_does_not_wait_for_the_agent_and_the_next_turn_does() -> None:
    session = Session()
    session.take(session.core.accept(turn("one", "m0"), NOW_US))
    queued = session.take(session.core.accept(turn("two", "m2"), NOW_US + 1))
    effects = session.take(session.core.command("new", turn(), NOW_US + 5))
    assert not any(isinstance(effect, StartTurn) for effect in [*queued, *effects])
    ended = session.take(
        session.core.finish(2, turn("one", "m0"), AgentReply(text=None), NOW_US + 6)
    )
    assert [effect.seq for effect in ended if isinstance(effect, StartTurn)] == [3]
