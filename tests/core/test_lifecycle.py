"""The phases of a session: the table, its drawing, and what logs and clocks make of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.actors.core.conversation import Conversation
from turnkeeper.actors.core.delivery_records import NoteRecord
from turnkeeper.actors.core.head import read_head
from turnkeeper.actors.core.lifecycle import (
    LIFECYCLE,
    PHASES,
    Happening,
    Phase,
    follow,
    phase_at,
)
from turnkeeper.actors.core.ownership_records import HiddenRecord, OpenedRecord
from turnkeeper.actors.core.records import Record
from turnkeeper.actors.core.turn_records import (
    AssistantRecord,
    FailureRecord,
    MissionRecord,
    QuarantinedRecord,
    SilentRecord,
    UserRecord,
)
from turnkeeper.actors.core.view_records import (
    ClearRecord,
    CommandRecord,
    ForgottenRecord,
    MemoryRecord,
    SummaryRecord,
)
from turnkeeper.storage.codec import decode, encode

HAPPENINGS: tuple[Happening, ...] = get_args(Happening)
MINUTE_US = 60_000_000
DRAWING = Path(__file__).parents[2] / "docs" / "lifecycle.md"

EXPECTED: list[tuple[Phase, Happening, Phase]] = [
    ("created", "turn", "active"),
    ("created", "summary", "created"),
    ("created", "clear", "created"),
    ("created", "quiet", "created"),
    ("active", "turn", "active"),
    ("active", "summary", "compacted"),
    ("active", "clear", "active"),
    ("active", "quiet", "idle"),
    ("idle", "turn", "active"),
    ("idle", "summary", "compacted"),
    ("idle", "clear", "idle"),
    ("idle", "quiet", "idle"),
    ("compacted", "turn", "active"),
    ("compacted", "summary", "compacted"),
    ("compacted", "clear", "active"),
    ("compacted", "quiet", "idle"),
]


def test_the_table_has_a_phase_for_every_happening() -> None:
    assert set(LIFECYCLE) == {(phase, what) for phase in PHASES for what in HAPPENINGS}
    assert set(LIFECYCLE.values()) == set(PHASES)


@pytest.mark.parametrize(("phase", "happening", "then"), EXPECTED)
def test_what_happens_leads_from_phase_to_phase(
    phase: Phase, happening: Happening, then: Phase
) -> None:
    assert follow(phase, happening) == then


def test_the_drawing_in_the_documentation_is_the_table() -> None:
    (drawn,) = re.findall(r"```mermaid\n(.*?)```", DRAWING.read_text("utf-8"), re.DOTALL)
    arrows = re.findall(r"^ *(\w+) --> (\w+): (\w+)$", drawn, re.MULTILINE)
    assert {(phase, happening): then for phase, then, happening in arrows} == dict(LIFECYCLE)
    assert len(arrows) == len(LIFECYCLE)
    assert re.findall(r"\[\*\] --> (\w+)", drawn) == ["created"]


def test_the_phases_are_explained_in_the_documentation() -> None:
    explained = re.findall(r"^\| `(\w+)` \|", DRAWING.read_text("utf-8"), re.MULTILINE)
    assert tuple(explained) == PHASES


@pytest.mark.parametrize("phase", PHASES)
def test_a_session_is_active_while_a_turn_is_open_however_long(phase: Phase) -> None:
    assert phase_at(phase, 1, 0, 10**15, MINUTE_US) == "active"


@pytest.mark.parametrize("phase", PHASES)
def test_a_session_becomes_quiet_at_the_end_of_its_time_and_not_before(phase: Phase) -> None:
    assert phase_at(phase, 0, 1_000, 1_000 + MINUTE_US - 1, MINUTE_US) == phase
    assert phase_at(phase, 0, 1_000, 1_000 + MINUTE_US, MINUTE_US) == follow(phase, "quiet")


def test_a_clock_that_goes_back_makes_nothing_idle() -> None:
    assert phase_at("active", 0, 10 * MINUTE_US, MINUTE_US, MINUTE_US) == "active"


# -- random logs ---------------------------------------------------------------------------------


def user(at_us: int) -> UserRecord:
    return UserRecord(
        at_us=at_us,
        text="hello",
        instance="tg",
        conversation="c1",
        thread=None,
        platform="telegram",
        message_id=f"m{at_us}",
        user_id="u1",
    )


def summary(at_us: int) -> SummaryRecord:
    return SummaryRecord(
        at_us=at_us,
        text="they greeted each other",
        through=0,
        asides=0,
        by="extract",
        tokens=5,
        covered_tokens=9,
        covered_bound=0,
        covered_messages=0,
    )


def note(at_us: int) -> NoteRecord:
    return NoteRecord(
        at_us=at_us,
        text="news",
        source="cron",
        session_id=None,
        mission=None,
        delivery_id=None,
        instance=None,
        conversation=None,
        thread=None,
        status="mirrored",
    )


def answer(at_us: int, turn: int) -> AssistantRecord:
    return AssistantRecord(
        at_us=at_us, text="hi", turn_seq=turn, instance="tg", conversation="c1", thread=None
    )


def mission(at_us: int) -> MissionRecord:
    return MissionRecord(at_us=at_us, text="look", mission="inbox", run=1, due_us=at_us)


def command(at_us: int) -> CommandRecord:
    return CommandRecord(
        at_us=at_us,
        command="new",
        instance="tg",
        conversation="c1",
        thread=None,
        platform="telegram",
        message_id=f"c{at_us}",
        user_id="u1",
    )


ACTS = (
    "user",
    "mission",
    "answer",
    "silence",
    "failure",
    "give up",
    "say",
    "summary",
    "note",
    "clear",
    "hide",
    "command",
    "remember",
    "forget",
)


class Model:
    """A log as it grows, and what the documentation says of it."""

    def __init__(self) -> None:
        self.log: list[Record] = [OpenedRecord(at_us=1, session_id="s1", agent="main", by="place")]
        self.open: list[int] = []
        self.phase: Phase = "created"
        self.last_us = 0

    def do(self, act: str, at_us: int) -> None:
        record = self._record(act, at_us)
        if record is None:
            return
        self.log.append(record)
        match record:
            case UserRecord() | MissionRecord():
                self.open.append(len(self.log))
                self.phase, self.last_us = "active", at_us
            case SilentRecord() | QuarantinedRecord():
                self.open.pop(0)
                self.last_us = at_us
            case AssistantRecord() if record.turn_seq:
                self.open.pop(0)
                self.last_us = at_us
            case SummaryRecord():
                self.phase = "created" if self.phase == "created" else "compacted"
                self.last_us = at_us
            case ClearRecord():
                self.phase = "active" if self.phase == "compacted" else self.phase
            case _:
                pass

    def _record(self, act: str, at_us: int) -> Record | None:
        turn = self.open[0] if self.open else 0
        if act in ("answer", "silence", "failure", "give up") and not turn:
            return None
        made: dict[str, Record] = {
            "user": user(at_us),
            "mission": mission(at_us),
            "answer": answer(at_us, turn),
            "silence": SilentRecord(at_us=at_us, turn_seq=turn),
            "failure": FailureRecord(at_us=at_us, turn_seq=turn, attempt=1, error="no"),
            "give up": QuarantinedRecord(at_us=at_us, turn_seq=turn, attempts=3, error="no"),
            "say": answer(at_us, 0),
            "summary": summary(at_us),
            "note": note(at_us),
            "clear": ClearRecord(at_us=at_us, by="operator"),
            "hide": HiddenRecord(
                at_us=at_us, platform="telegram", user_id="u9", since_us=0, number=1
            ),
            "command": command(at_us),
            "remember": MemoryRecord(at_us=at_us, key="k", value="v"),
            "forget": ForgottenRecord(at_us=at_us, by="operator"),
        }
        return made[act]


acts = st.lists(st.tuples(st.sampled_from(ACTS), st.integers(0, 5 * MINUTE_US)), max_size=40)


@given(acts, st.integers(0, 10 * MINUTE_US))
def test_replaying_a_log_gives_the_phase_that_the_session_had(
    happened: list[tuple[str, int]], waited_us: int
) -> None:
    model, live, now_us = Model(), Conversation(), 1
    for record in model.log:
        live.apply(record)
    for act, pause_us in happened:
        now_us += pause_us
        written = len(model.log)
        model.do(act, now_us)
        for record in model.log[written:]:
            live.apply(record)
        assert (live.phase, live.open_turns) == (model.phase, len(model.open))
    now_us += waited_us
    quiet = not model.open and now_us - model.last_us >= MINUTE_US
    expected = "active" if model.open else "idle" if quiet else model.phase
    if model.phase == "created" and not model.open:
        expected = "created"

    def shown(core: Conversation) -> Phase:
        head = read_head(decode(encode(list(core.head()))))
        return phase_at(head.phase, head.open_turns, head.last_turn_us, now_us, MINUTE_US)

    again = Conversation()
    for record in model.log:
        again.apply(record)
    woken = Conversation.from_head(again.head(), _open_part(again, model.log))
    assert shown(live) == shown(again) == shown(woken) == expected


def _open_part(core: Conversation, log: list[Record]) -> list[tuple[int, Record]]:
    since = core.head().open_since
    return list(enumerate(log, 1))[since - 1 :] if since else []
