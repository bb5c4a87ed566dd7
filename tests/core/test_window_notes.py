"""What an agent is told between its turns: notes, receipts, and where the context begins anew."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TypeAlias

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from turnkeeper.actors.core.delivery_records import NoteRecord, ReceiptRecord
from turnkeeper.actors.core.records import Record
from turnkeeper.actors.core.turn_records import (
    AssistantRecord,
    MissionRecord,
    QuarantinedRecord,
    SilentRecord,
    ToolRecord,
    UserRecord,
)
from turnkeeper.actors.core.turns import in_context
from turnkeeper.actors.core.veil import Hidden
from turnkeeper.actors.core.view_records import ClearRecord
from turnkeeper.actors.core.weight import OVERHEAD, bytes_of, weight_of
from turnkeeper.actors.core.window import Message, Source, Stretch, build_window

Log: TypeAlias = list[tuple[int, Record]]

NOON_US = 1_795_262_400_000_000
"""2026-11-21 12:00 UTC."""


def user(at_us: int, text: str = "q", who: str = "u1") -> UserRecord:
    return UserRecord(
        at_us=at_us,
        text=text,
        instance="tg",
        conversation=f"c-{who}",
        thread=None,
        platform="telegram",
        message_id=f"m-{text}",
        user_id=who,
    )


def run(at_us: int, text: str = "prompt") -> MissionRecord:
    return MissionRecord(at_us=at_us, text=text, mission="inbox", run=1, due_us=at_us)


def reply(at_us: int, turn_seq: int, text: str = "a", by: str | None = None) -> AssistantRecord:
    return AssistantRecord(
        at_us=at_us,
        text=text,
        turn_seq=turn_seq,
        instance="tg",
        conversation="c-u1",
        thread=None,
        by=by,
    )


def tool(at_us: int, turn_seq: int) -> ToolRecord:
    return ToolRecord(at_us=at_us, turn_seq=turn_seq, name="t", arguments="1", result="2")


def note(
    at_us: int,
    text: str = "note",
    *,
    source: str = "mission inbox",
    status: str = "delivered",
    session_id: str | None = "s9",
    delivery_id: str | None = "s9/4",
    instance: str | None = "tg",
    conversation: str | None = "c-u1",
    thread: str | None = None,
    metadata: str | None = None,
) -> NoteRecord:
    return NoteRecord(
        at_us=at_us,
        text=text,
        source=source,
        session_id=session_id,
        mission=source.removeprefix("mission ") if source.startswith("mission ") else None,
        delivery_id=delivery_id,
        instance=instance,
        conversation=conversation,
        thread=thread,
        status=status,
        metadata=metadata,
    )


def mirror(text: str = "mirrored", source: str = "crm", metadata: str | None = None) -> NoteRecord:
    return note(
        NOON_US,
        text,
        source=source,
        status="mirrored",
        session_id=None,
        delivery_id=None,
        instance=None,
        conversation=None,
        metadata=metadata,
    )


def receipt(
    at_us: int, delivery_seq: int, status: str = "read", reason: str | None = None
) -> ReceiptRecord:
    return ReceiptRecord(at_us=at_us, delivery_seq=delivery_seq, status=status, reason=reason)


def silent(at_us: int, turn_seq: int) -> SilentRecord:
    return SilentRecord(at_us=at_us, turn_seq=turn_seq)


def given_up(at_us: int, turn_seq: int) -> QuarantinedRecord:
    return QuarantinedRecord(at_us=at_us, turn_seq=turn_seq, attempts=3, error="boom")


def clear(at_us: int) -> ClearRecord:
    return ClearRecord(at_us=at_us, by="operator")


def log(*records: Record, start: int = 2) -> Log:
    return list(enumerate(records, start))


def numbers(own: Log, turn_seq: int = 0, hidden: Sequence[Hidden] = ()) -> list[int]:
    return [message.seq for message in build_window([Stretch(None, own, hidden)], turn_seq)]


def one(record: Record, *before: Record) -> Message:
    """How `record` is shown as the last one of a log of session `s1`."""
    return build_window([Stretch(None, log(*before, record))], 0, "s1")[-1]


# -- how they read -------------------------------------------------------------------------------


def test_the_prompt_of_a_mission_is_a_message_of_nobody() -> None:
    shown = one(run(NOON_US, "look through the inbox"))
    assert (shown.role, shown.kind, shown.text) == ("user", "mission", "look through the inbox")
    assert (shown.speaker, shown.user_id, shown.platform, shown.instance) == (None,) * 4
    assert shown.attributed == shown.text


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ("delivered", "What follows was said in"),
        ("partial", "What follows was said in part, its beginning only, in"),
        ("unknown", "What follows may have been said, or not, for the platform gave no answer, in"),
    ],
)
def test_a_note_tells_what_was_said_where_by_whom_when_and_who_knows_more(
    status: str, told: str
) -> None:
    shown = one(note(NOON_US, "Three mails.\nOne is urgent.", status=status))
    assert shown.text == (
        f'[{told} the conversation "c-u1" on "tg" on your behalf by "mission inbox", '
        'at 2026-11-21 12:00 UTC as delivery "s9/4". get_session("s9") tells more.]\n'
        "| Three mails.\n"
        "| One is urgent."
    )
    assert (shown.role, shown.kind) == ("assistant", "note")
    assert (shown.instance, shown.conversation) == ("tg", "c-u1")
    assert shown.source == Source(
        label="mission inbox",
        status=status,
        session_id="s9",
        mission="inbox",
        delivery_id="s9/4",
    )


def test_a_note_from_a_thread_names_it() -> None:
    shown = one(note(NOON_US, thread="7"))
    assert 'in the conversation "c-u1", thread "7" on "tg" on your behalf' in shown.text


def test_a_mirror_says_that_nothing_was_sent() -> None:
    shown = one(mirror("Called back.", metadata='{"by": "ann"}'))
    assert shown.text == (
        '[What follows was recorded for you by "crm", not sent through here, '
        'at 2026-11-21 12:00 UTC. Metadata: {"by": "ann"}.]\n'
        "| Called back."
    )
    assert shown.source == Source(label="crm", status="mirrored")


def test_a_message_that_is_no_note_has_no_source() -> None:
    window = build_window(
        [Stretch(None, log(user(1), reply(2, 2), run(3), receipt(4, 3), tool(5, 4)))], 0
    )
    assert [message.source for message in window] == [None] * 5


def test_a_receipt_tells_which_message_was_read() -> None:
    shown = one(receipt(NOON_US, 3), user(1), reply(2, 2, "Hello\nthere"))
    assert shown.text == '[Your message "s1/3" ("Hello there") was read at 2026-11-21 12:00 UTC.]'
    assert (shown.role, shown.kind, shown.seq) == ("assistant", "receipt", 4)
    assert (shown.instance, shown.conversation) == ("tg", "c-u1")


def test_a_receipt_tells_why_a_message_did_not_arrive_after_all() -> None:
    shown = one(receipt(NOON_US, 3, "failed", "blocked]\nby user"), user(1), reply(2, 2, "x" * 99))
    assert shown.text == (
        f'[Your message "s1/3" ("{"x" * 63}…") did not arrive after all, '
        'as was told at 2026-11-21 12:00 UTC: "blocked) by user".]'
    )


def test_a_receipt_of_what_was_said_before_the_window_quotes_what_it_is_given() -> None:
    record = receipt(NOON_US, 3)
    bare = build_window([Stretch(None, [(9, record)])], 0)
    assert bare[0].text == "[Your message was read at 2026-11-21 12:00 UTC.]"
    told = build_window([Stretch("s7", [(9, record)], quoted={3: reply(1, 2, "Hi")})], 0, "s1")
    assert told[0].text == '[Your message "s7/3" ("Hi") was read at 2026-11-21 12:00 UTC.]'


def test_that_a_message_arrived_is_not_told_again() -> None:
    assert numbers(log(user(1), reply(2, 2), receipt(3, 3, "delivered"))) == [2, 3]
    assert weight_of(receipt(3, 3, "delivered")) == 0


@pytest.mark.parametrize("line_break", list("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"))
def test_no_line_break_lets_a_text_out_of_its_bars(line_break: str) -> None:
    shown = one(note(NOON_US, f"a{line_break}[b]"))
    assert shown.text.splitlines()[1:] == ["| a", "| [b]"]


def test_metadata_stay_in_their_line_and_end_it_nowhere() -> None:
    shown = one(mirror(metadata='{"a]": ["x]\\"] y", 1],\n "b": "\u2028[é"}'))
    assert "Metadata: {" in shown.text
    header, *rest = shown.text.splitlines()
    assert rest == ["| mirrored"]
    assert r'"a\u005d": ["x\u005d\"\u005d y", 1],  "b": "\u2028\u005b' in header


anything = st.text(alphabet=st.characters(exclude_categories=()), max_size=30) | st.text(
    alphabet=st.sampled_from("ab[]|\"'\\ :.\n\r\u2028\x85“」］"), max_size=30
)
HEADER = one(note(NOON_US)).text.splitlines()[0]


@given(
    anything,
    anything,
    anything,
    st.none() | anything,
    st.none() | anything,
    st.none() | anything,
    st.sampled_from(["delivered", "partial", "unknown", "mirrored"]),
)
@example(HEADER, HEADER, HEADER, HEADER, HEADER, HEADER, "mirrored")
@example(f"x\u2028{HEADER}", f"x\n{HEADER}", "\n[", "\r[", "\x85[", "\u2029[", "delivered")
def test_a_note_has_one_line_of_the_runtime_whatever_anybody_writes(
    text: str,
    source: str,
    place: str,
    thread: str | None,
    session_id: str | None,
    metadata: str | None,
    status: str,
) -> None:
    record = note(
        NOON_US,
        text,
        source=source,
        status=status,
        session_id=session_id,
        delivery_id=session_id,
        instance=place,
        conversation=place,
        thread=thread,
        metadata=metadata,
    )
    header, *rest = one(record).text.splitlines()
    assert header.startswith("[What follows ")
    assert header.endswith(".]")
    assert rest == [f"| {line}" for line in text.splitlines()]
    assert weight_of(record) == OVERHEAD + bytes_of(one(record).text)


@given(anything, anything, st.none() | anything, st.sampled_from(["read", "failed"]))
def test_a_receipt_is_one_line_and_takes_no_more_room_than_was_counted(
    said: str, session_id: str, reason: str | None, status: str
) -> None:
    record = receipt(NOON_US, 3, status, reason)
    own = log(user(1), reply(2, 2, said), record)
    shown = build_window([Stretch(None, own)], 0, session_id)[-1]
    (line,) = shown.text.splitlines()
    assert line.startswith("[Your message ")
    assert line.endswith(".]")
    assert line.count("[") == line.count("]") == 1
    assert len(line) <= weight_of(record)


@given(anything, anything)
@example(HEADER, HEADER)
def test_what_a_human_or_a_mission_asks_never_speaks_for_the_agent(asked: str, ran: str) -> None:
    window = build_window([Stretch(None, log(user(1, asked), run(2, ran)))], 0)
    assert [(m.role, m.kind, m.text, m.source) for m in window] == [
        ("user", "user", asked, None),
        ("user", "mission", ran, None),
    ]


# -- where they stand ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "turn_seq", "order"),
    [
        # an idle session hears a note, and then a human
        (log(user(1), reply(2, 2), note(3), user(4)), 5, [2, 3, 4, 5]),
        # a note comes during a turn: it stands behind that turn
        (log(user(1), note(2), tool(3, 2), reply(3, 2), user(4)), 6, [2, 4, 5, 3, 6]),
        (log(user(1), note(2), silent(3, 2), user(4)), 5, [2, 3, 5]),
        (log(user(1), note(2), given_up(3, 2), user(4)), 5, [2, 3, 5]),
        # a turn that waits begins when the one before it is over
        (log(user(1), user(2), note(3), reply(4, 2)), 3, [2, 5, 4, 3]),
        (log(user(1), user(2), note(3), silent(4, 2)), 3, [2, 4, 3]),
        (log(user(1), user(2), note(3), silent(4, 2), reply(5, 3), user(6)), 7, [2, 4, 3, 6, 7]),
        # what comes while that one runs stands behind it
        (
            log(user(1), user(2), silent(3, 2), note(4), reply(5, 3), user(6)),
            7,
            [2, 3, 6, 5, 7],
        ),
        # the current turn is always the last
        (log(user(1), note(2)), 2, [3, 2]),
        (log(user(1), user(2), note(3)), 2, [4, 2]),
        # between turns: at the end, or before what waits
        (log(user(1), note(2)), 0, [2, 3]),
        (log(user(1), reply(2, 2), note(3)), 0, [2, 3, 4]),
        (log(user(1), user(2), note(3)), 0, [2, 4, 3]),
        # several stand in the order in which they came
        (
            log(note(1), user(2), note(3), note(4), silent(5, 3), note(6), user(7)),
            8,
            [2, 3, 4, 5, 7, 8],
        ),
        # without what was before, its end tells when the next one began
        (log(user(1), note(2), reply(3, 2), user(4), start=9), 12, [11, 10, 9, 12]),
        (log(user(2), note(3), reply(4, 2), reply(5, 3), user(6), start=3), 7, [5, 4, 3, 6, 7]),
        # a mission's run is a turn
        (log(run(1), note(2), silent(3, 2), run(4)), 5, [2, 3, 5]),
        # receipts and what was said unasked likewise
        (
            log(user(1), reply(2, 2), user(3), receipt(4, 3), reply(5, 0), reply(6, 4), user(7)),
            8,
            [2, 3, 4, 7, 5, 6, 8],
        ),
        (
            log(user(1), user(2), reply(3, 0), silent(4, 2), reply(5, 3), user(6)),
            7,
            [2, 4, 3, 6, 7],
        ),
        # the excuse for a turn that was given up belongs to it
        (
            log(user(1), user(2), given_up(3, 2), reply(3, 0, "sorry", "runtime"), reply(4, 3)),
            0,
            [2, 5, 3, 6],
        ),
    ],
)
def test_what_belongs_to_no_turn_stands_before_the_first_one_that_could_know_of_it(
    own: Log, turn_seq: int, order: list[int]
) -> None:
    assert numbers(own, turn_seq) == order


def test_a_note_of_an_earlier_session_stands_where_its_time_puts_it() -> None:
    earlier = log(user(10), reply(11, 2), note(25), user(40))
    own = log(user(20), reply(21, 2), note(30), user(50))
    window = build_window([Stretch("s7", earlier), Stretch(None, own)], 5)
    assert [(m.session_id, m.seq) for m in window] == [
        ("s7", 2),
        ("s7", 3),
        (None, 2),
        (None, 3),
        ("s7", 4),
        (None, 4),
        ("s7", 5),
        (None, 5),
    ]


def test_a_note_never_stands_behind_the_turn_that_saw_it_whatever_the_clocks_say() -> None:
    own = log(user(10), user(11), note(90), silent(12, 2), reply(13, 3))
    earlier = log(user(50))
    window = build_window([Stretch("s7", earlier), Stretch(None, own)], 0)
    assert [(m.session_id, m.seq) for m in window] == [
        (None, 2),
        (None, 4),
        (None, 3),
        (None, 6),
        ("s7", 2),
    ]


def test_what_was_said_to_a_hidden_identity_and_became_of_it_is_hidden_too() -> None:
    own = log(
        user(10, "secret", "u2"),
        reply(11, 2),
        receipt(12, 3),
        note(13, conversation="c-u2"),
        note(14, conversation="c-u1"),
        mirror(),
        receipt(15, 99),
        user(16),
        reply(17, 9),
        receipt(18, 10),
    )
    assert numbers(own, 0, [Hidden("telegram", "u2", 0, 20)]) == [6, 7, 9, 10, 11]
    assert numbers(own, 0, [Hidden("telegram", "u2", 0, 3)]) == [5, 6, 7, 8, 9, 10, 11]


# -- a context that begins anew ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "turn_seq", "order"),
    [
        (log(user(1), reply(2, 2), clear(3)), 0, []),
        (log(user(1), reply(2, 2), clear(3), user(4)), 5, [5]),
        (log(user(1), reply(2, 2), clear(3), user(4), reply(5, 5), clear(6), user(7)), 8, [8]),
        # what nobody has seen stays
        (log(user(1), note(2), reply(3, 2), note(4), clear(5), user(6)), 7, [3, 5, 7]),
        (log(note(1), user(2), reply(3, 3), receipt(4, 4), clear(5), user(6)), 7, [5, 7]),
        (log(note(1), clear(2), note(3), clear(4), user(5)), 6, [2, 4, 6]),
        (log(note(1), clear(2), user(3), reply(4, 4), clear(5), user(6)), 7, [7]),
        # what the agent itself said unasked does not
        (log(user(1), silent(2, 2), reply(3, 0), note(4), clear(5), user(6)), 7, [5, 7]),
        # the turn under way is seen by its own agent, and by nobody later
        (log(user(1), clear(2)), 2, [2]),
        (log(user(1), note(2), clear(3)), 2, [3, 2]),
        (log(user(1), clear(2), tool(3, 2), reply(3, 2), user(4)), 6, [6]),
        # one that waited begins after the marker, and what it has not seen is there for it
        (log(user(1), note(2), user(3), clear(4), reply(5, 2)), 4, [3, 4]),
        (log(user(1), user(2), clear(3), reply(4, 2), reply(5, 3), user(6)), 7, [3, 6, 7]),
        (log(user(1), user(2), clear(3)), 0, [3]),
        # one that waited, began before the marker and saw the note
        (log(user(1), user(2), note(3), silent(4, 2), clear(5), reply(6, 3), user(7)), 8, [8]),
        (log(user(1), given_up(2, 2), reply(2, 0, "sorry", "runtime"), clear(3)), 0, []),
    ],
)
def test_a_cleared_context_shows_what_began_later_and_what_nobody_has_seen(
    own: Log, turn_seq: int, order: list[int]
) -> None:
    assert numbers(own, turn_seq) == order


def test_what_an_earlier_session_said_before_the_marker_is_cleared_too() -> None:
    earlier = log(user(10), note(11), reply(30, 2), user(25), note(26), reply(31, 5))
    stretches = [Stretch("s7", earlier, since_us=20), Stretch(None, log(clear(20), user(40)))]
    assert [m.seq for m in build_window(stretches, 3)] == [5, 7, 6, 3]
    cut = [Stretch("s7", earlier[2:], since_us=20)]
    assert [m.seq for m in build_window(cut, 0)] == [5, 7, 6]


# -- whatever happens ----------------------------------------------------------------------------


class Life:
    """A log as a session writes it."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.waiting: list[int] = []
        self.begun: list[tuple[int, int]] = []
        """Of each turn that began: its number, and how long the log was."""

    @property
    def log(self) -> Log:
        return log(*self.records)

    def at_us(self) -> int:
        return NOON_US + len(self.records)

    def ask(self, record: Record) -> None:
        self.records.append(record)
        self.waiting.append(len(self.records) + 1)
        if len(self.waiting) == 1:
            self.begun.append((self.waiting[0], len(self.records)))

    def end(self, how: str) -> None:
        """The turn under way ends, and the next one begins."""
        turn, at_us = self.waiting.pop(0), self.at_us()
        match how:
            case "answer":
                self.records += [tool(at_us, turn), tool(at_us, turn), reply(at_us, turn)]
            case "silence":
                self.records.append(silent(at_us, turn))
            case "give up":
                self.records.append(given_up(at_us, turn))
            case _:
                self.records += [given_up(at_us, turn), reply(at_us, 0, "sorry", "runtime")]
        if self.waiting:
            self.begun.append((self.waiting[0], len(self.records)))

    def hear(self, what: str, status: str) -> None:
        """Something comes that belongs to no turn."""
        at_us = self.at_us()
        said = [seq for seq, record in self.log if isinstance(record, AssistantRecord)]
        match what:
            case "receipt" if said:
                self.records.append(receipt(at_us, said[-1], status))
            case "unasked":
                self.records.append(reply(at_us, 0))
            case "clear":
                self.records.append(clear(at_us))
            case _:
                self.records.append(note(at_us))


ENDS = ["answer", "silence", "give up", "excuse"]
NEWS = ["note", "unasked", "receipt"]


@st.composite
def lives(draw: st.DrawFn, *, clears: bool = True) -> Life:
    life = Life()
    kinds = ["ask", "ask", "run", *ENDS, *ENDS, *NEWS, *(["clear"] if clears else [])]
    for kind in draw(st.lists(st.sampled_from(kinds), max_size=25)):
        if kind == "run":
            life.ask(run(life.at_us()))
        elif kind == "ask" or (kind in ENDS and not life.waiting):
            life.ask(user(life.at_us()))
        elif kind in ENDS:
            life.end(kind)
        else:
            life.hear(kind, draw(st.sampled_from(["read", "failed", "delivered"])))
    return life


def turn_of(own: Log, seq: int) -> int:
    """The turn that record `seq` belongs to, or 0: in other words than those that are tested."""
    records = dict(own)
    record = records[seq]
    match record:
        case UserRecord() | MissionRecord():
            return seq
        case AssistantRecord(by="runtime"):
            before = records[seq - 1]
            assert isinstance(before, QuarantinedRecord)
            return before.turn_seq
        case AssistantRecord() | ToolRecord():
            return record.turn_seq
        case _:
            return 0


def is_shown(record: Record) -> bool:
    if isinstance(record, ReceiptRecord):
        return record.status != "delivered"
    return isinstance(
        record, UserRecord | MissionRecord | AssistantRecord | ToolRecord | NoteRecord
    )


@given(lives())
def test_no_turn_is_split_and_turns_stay_in_their_order(
    life: Life,
) -> None:
    own = life.log
    turns = [turn_of(own, seq) for seq in numbers(own)]
    runs = [turn for turn, _ in groupby(turns) if turn]
    assert runs == sorted(set(runs))


@given(lives(clears=False), st.integers(0, 20))
def test_everything_in_the_range_is_shown_exactly_once(life: Life, start: int) -> None:
    own = life.log[start:]
    assert sorted(numbers(own)) == [seq for seq, record in own if is_shown(record)]


@given(lives(clears=False))
def test_what_was_in_a_window_stays_the_beginning_of_every_later_one(
    life: Life,
) -> None:
    own, begun = life.log, life.begun
    before: tuple[Message, ...] = ()
    for turn, length in begun:
        window = build_window([Stretch(None, own[:length])], turn)
        assert window[: len(before)] == before
        before = window


@given(lives())
def test_what_was_in_a_window_stays_unless_the_context_is_cleared(
    life: Life,
) -> None:
    own, begun = life.log, life.begun
    before: tuple[Message, ...] = ()
    cleared = 0
    for turn, length in begun:
        window = build_window([Stretch(None, own[:length])], turn)
        markers = sum(isinstance(record, ClearRecord) for _, record in own[:length])
        if markers == cleared:
            assert window[: len(before)] == before
        before, cleared = window, markers


@given(lives())
def test_every_note_reaches_an_agent_whatever_is_cleared(
    life: Life,
) -> None:
    own, begun = life.log, life.begun
    seen = {
        message.seq
        for turn, length in begun
        for message in build_window([Stretch(None, own[:length])], turn)
    }
    newest = begun[-1][1] if begun else 0
    assert seen >= {seq for seq, record in own[:newest] if isinstance(record, NoteRecord)}


@given(lives())
def test_after_a_marker_no_turn_is_shown_that_had_begun_before_it(
    life: Life,
) -> None:
    own, begun = life.log, life.begun
    newest = max((seq for seq, record in own if isinstance(record, ClearRecord)), default=0)
    earlier = {turn for turn, length in begun if length + 1 < newest}
    assert earlier.isdisjoint(turn_of(own, seq) for seq in numbers(own))


@given(lives())
def test_read_backwards_until_the_context_begins_the_window_is_the_same(
    life: Life,
) -> None:
    own, begun = life.log, life.begun
    newest_first = list(in_context(reversed(own)))
    assert numbers(newest_first[::-1]) == numbers(own)
    for turn, length in begun:
        records = [entry for entry in in_context(reversed(own[:length])) if entry[0] != turn]
        current = (turn, dict(own)[turn])
        assert numbers([*records[::-1], current], turn) == numbers(own[:length], turn)


def test_a_cleared_log_is_not_read_farther_than_to_the_last_turn_that_had_begun() -> None:
    history: list[Record] = []
    for turn in range(2, 2_000, 2):
        history += [user(turn), reply(turn, turn)]
    own = log(*history, note(NOON_US), clear(NOON_US), note(NOON_US))
    newest_first = iter(own[::-1])
    assert len(list(in_context(newest_first))) == 4
    assert len(list(newest_first)) == len(history) - 2


def test_a_log_that_is_cleared_during_a_turn_is_not_read_farther_than_to_that_turn() -> None:
    own = log(user(1), reply(2, 2), user(3), note(4), user(5), clear(6), reply(7, 4), reply(8, 6))
    newest_first = iter(own[::-1])
    assert [seq for seq, _ in in_context(newest_first)] == [9, 8, 7, 6, 5]
    assert [seq for seq, _ in newest_first] == [3, 2]


def test_a_log_is_not_read_farther_than_to_the_time_from_which_it_is_wanted() -> None:
    newest_first = iter(log(user(10), note(19), user(20), note(21))[::-1])
    assert [seq for seq, _ in in_context(newest_first, 20)] == [5, 4]
    assert [seq for seq, _ in newest_first] == [2]
