"""What a session knows of its context as it is summarised: live, by replay, and read from disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.actors import uncovered
from turnkeeper.actors.context_logs import logs_of
from turnkeeper.actors.core.compaction import Base, choose_cut
from turnkeeper.actors.core.conversation import Conversation
from turnkeeper.actors.core.effects import AnswerSummarised
from turnkeeper.actors.core.ownership_records import (
    HiddenRecord,
    LinkedRecord,
    OpenedRecord,
    UnlinkedRecord,
)
from turnkeeper.actors.core.records import Record
from turnkeeper.actors.core.state import State
from turnkeeper.actors.core.turn_records import SilentRecord
from turnkeeper.actors.core.view_records import SummaryRecord
from turnkeeper.actors.core.weight import weight_of
from turnkeeper.actors.counts import counter_mark
from turnkeeper.actors.journal import load_head, load_records
from turnkeeper.actors.material import Material, read_material
from turnkeeper.actors.uncovered import MOST_BYTES

from .logs import Logs, clear, linked, note, receipt, reply, summary, tool, user

MARK = counter_mark("nobody")


def material_of(logs: Logs, most_bytes: int = MOST_BYTES) -> Material:
    material = read_material(logs.store, 1, MARK, most_bytes)
    assert material is not None
    return material


# -- a summary that comes too late -----------------------------------------------------------------


def talked() -> tuple[Conversation, Base, SummaryRecord]:
    """A conversation with a joined log, and a summary that was made of it."""
    core = Conversation()
    for record in (
        OpenedRecord(at_us=0, session_id="s1", agent="main", by="x"),
        linked(1, 2),
        user(2),
        reply(3, 3),
        user(4),
        reply(5, 5),
    ):
        core.apply(record)
    made = summary(6, 3, covered_bound=10, covered_messages=2, others=((2, 0, 0, 0),))
    return core, core.base, made


def hidden(at_us: int) -> HiddenRecord:
    return HiddenRecord(at_us=at_us, platform="telegram", user_id="u2", since_us=0, number=1)


def unlinked(at_us: int) -> UnlinkedRecord:
    return UnlinkedRecord(at_us=at_us, session_id="s2", stream=2, number=1, by="x")


def joined(at_us: int) -> LinkedRecord:
    return linked(at_us, 3)


def summarised(at_us: int) -> SummaryRecord:
    return summary(at_us, 3, covered_bound=10, covered_messages=2)


@pytest.mark.parametrize(
    "between",
    [
        clear,
        hidden,
        unlinked,
        joined,
        summarised,
    ],
    ids=["cleared", "hidden", "left", "joined", "summarised before"],
)
def test_a_summary_of_a_context_that_is_another_now_is_not_taken(
    between: Callable[[int], Record],
) -> None:
    core, base, made = talked()
    core.apply(between(7))
    before = core.head()
    step = core.summarise(made, base, "older messages were summarised")
    assert (step.records, step.effects) == ([], [AnswerSummarised(0)])
    assert core.head() == before


def test_whatever_else_came_meanwhile_a_summary_is_taken() -> None:
    core, base, made = talked()
    for record in (user(7), note(8), reply(9, 7), receipt(10, 6), user(11)):
        core.apply(record)
    bound, messages = core.context_bound, core.context_messages
    step = core.summarise(made, base)
    assert step.records == [made]
    assert step.effects == [AnswerSummarised(step.first_seq)]
    assert (core.summary, core.phase) == (step.first_seq, "compacted")
    assert core.context_bound == bound - 10 + weight_of(made)
    assert core.context_messages == messages - 2 + 1


def test_the_human_is_told_of_a_summary_only_where_that_is_wanted_and_there_is_a_place() -> None:
    core, base, made = talked()
    step = core.summarise(made, base, "older messages were summarised")
    assert [record.kind for record in step.records] == ["summary", "assistant"]
    assert core.context_messages == 4 - 2 + 1, "no window shows that answer"
    nowhere = Conversation()
    nowhere.apply(OpenedRecord(at_us=0, session_id="s1", agent="main", by="x"))
    step = nowhere.summarise(made, nowhere.base, "older messages were summarised")
    assert step.records == [made]


@pytest.mark.parametrize("voids", [hidden, unlinked], ids=["hidden", "left"])
def test_what_a_void_summary_covered_counts_again(voids: Callable[[int], Record]) -> None:
    core, base, made = talked()
    bound, messages = core.context_bound, core.context_messages
    core.summarise(made, base)
    core.apply(voids(7))
    assert core.summary == 0
    assert (core.context_bound, core.context_messages) == (bound, messages)


def test_a_made_up_summary_never_makes_the_context_negative() -> None:
    core, base, made = talked()
    core.summarise(replace(made, covered_bound=10**9, covered_messages=10**6), base)
    assert (core.context_bound, core.context_messages) == (0, 0)
    core.apply(user(8, "more"))
    assert core.context_messages == 1


# -- random logs -----------------------------------------------------------------------------------


@dataclass
class Life:
    """A session whose log grows as a conversation lets it, and whose context is summarised."""

    logs: Logs = field(default_factory=Logs)
    now_us: int = 0
    open: list[int] = field(default_factory=list[int])
    told: dict[int, str] = field(default_factory=dict[int, str])
    """What is in no summary yet, as it was read last."""

    def __post_init__(self) -> None:
        self.logs.add(1)

    @property
    def state(self) -> State:
        return self.logs.states[1]

    def add(self, *records: Record) -> int:
        self.now_us += 1
        return self.logs.add(1, *(replace(record, at_us=self.now_us) for record in records))

    def do(self, what: str, size: int) -> None:
        text = "x" * size
        match what:
            case "say":
                self.open.append(self.add(user(0, text, message_id=f"m{self.now_us}")))
            case "answer" if self.open:
                turn = self.open.pop(0)
                self.add(tool(0, turn, result=text), reply(0, turn, text))
            case "silence" if self.open:
                self.add(SilentRecord(at_us=0, turn_seq=self.open.pop(0)))
            case "note":
                self.add(note(0, text))
            case "receipt":
                self.add(receipt(0, 2))
            case "send":
                self.add(reply(0, 0, text))
            case "clear":
                self.add(clear(0, self.state))
            case "summarise":
                self.summarise(size)
            case _:
                pass

    def summarise(self, keep: int) -> None:
        material = material_of(self.logs)
        found = choose_cut(
            material.pieces(), material.settled, keep_tokens=keep, input_tokens=10**9
        )
        if found is None:
            return
        log = material.logs[0]
        folded = log.summary
        weights = [material.weights[at] for at in found.covered]
        record = summary(
            0,
            max(found.through[0], log.through),
            max(found.asides[0], log.asides),
            text="s",
            covered_bound=sum(weights) + (weight_of(folded[1]) if folded else 0),
            covered_messages=len(weights) + (folded is not None),
            previous=folded[0] if folded else 0,
        )
        before = self.keys(material)
        self.add(record)
        after = material_of(self.logs)
        assert after.summary_seq == self.state.summary == self.state.next_seq - 1
        covered = [before[at] for at in found.covered]
        assert self.keys(after) == [key for key in before if key not in covered]

    @staticmethod
    def keys(material: Material) -> list[tuple[str, int]]:
        return [(entry.message.kind, entry.message.seq) for entry in material.entries]

    def check(self) -> None:
        """What the session counts is an upper bound of what there is, live and by replay."""
        state, material = self.state, material_of(self.logs)
        shown = sum(material.weights)
        messages = len(material.entries)
        if (summarised := material.logs[0].summary) is not None:
            shown += weight_of(summarised[1])
            messages += 1
        records = dict(load_records(self.logs.store, 1))
        waits = self.open[1:]
        assert state.waiting == (sum(weight_of(records[seq]) for seq in waits), len(waits))
        assert [material.entries[at].turn for at in sorted(material.waiting)] == waits
        assert state.context_bound >= shown >= 0
        assert state.context_messages >= messages >= 0
        replayed = State()
        for record in records.values():
            replayed.apply(record)
        head = state.head()
        assert replayed.head() == head
        since = head.open_since or head.next_seq
        woken = State.from_head(head, [(s, r) for s, r in records.items() if s >= since])
        assert woken.head() == head
        assert woken.waiting == replayed.waiting == state.waiting
        later = clear(self.now_us, state)
        for one in (replayed, woken):
            one.apply(later)
        assert woken.head() == replayed.head(), "what waits is known after a restart"


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *["say"] * 3,
                *["answer"] * 2,
                "silence",
                "note",
                "receipt",
                "send",
                "clear",
                "summarise",
            ]
        ),
        st.integers(0, 60),
    ),
    max_size=40,
)


@given(ACTIONS)
def test_however_a_context_is_cut_the_session_knows_how_large_it_is(
    actions: list[tuple[str, int]],
) -> None:
    life = Life()
    for what, size in actions:
        life.do(what, size)
        life.check()


@given(actions=ACTIONS, most=st.integers(1, 12))
def test_of_a_very_long_context_the_beginning_is_read_with_whole_turns(
    actions: list[tuple[str, int]], most: int
) -> None:
    life = Life()
    for what, size in actions:
        life.do(what, size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uncovered, "_MOST", most)
        part = material_of(life.logs)
    check_beginning(life, part)


@given(actions=ACTIONS, most=st.integers(1, 400))
def test_of_a_context_of_giants_the_beginning_is_read_with_whole_turns(
    actions: list[tuple[str, int]], most: int
) -> None:
    life = Life()
    for what, size in actions:
        life.do(what, size)
    part = material_of(life.logs, most)
    check_beginning(life, part)
    if not part.more:
        assert life.state.waiting == waiting_of(part)


def waiting_of(part: Material) -> tuple[int, int]:
    return sum(part.weights[at] for at in part.waiting), len(part.waiting)


def check_beginning(life: Life, part: Material) -> None:
    whole = material_of(life.logs)
    found, everything = life.keys(part), life.keys(whole)
    assert set(found) <= set(everything)
    assert part.more or found == everything
    (settled,) = part.settled
    over = [entry for entry in whole.entries if 0 < entry.turn <= settled]
    assert {(e.message.kind, e.message.seq) for e in over} <= set(found), "no turn is split"
    last = max(
        (at for at, entry in enumerate(part.entries) if 0 < entry.turn <= settled), default=0
    )
    assert found[:last] == everything[:last], "what is covered together stands in its order"
    if part.more and not life.state.cleared:
        assert settled or any(not entry.turn for entry in part.entries), "something can be covered"


def uncovered_of(logs: Logs) -> list[tuple[int, Record]]:
    head = load_head(logs.store, 1)
    assert head is not None
    (log,) = logs_of(logs.store, 1, head)
    return uncovered.uncovered_of(logs.store, log, 10_000).records


def flood(answered: int, waiting: int) -> Logs:
    """Questions of 1,000 bytes that came all at once, of which some have been answered."""
    logs = Logs()
    logs.add(1)
    first = logs.add(1, *(user(at, "x" * 1_000) for at in range(answered + waiting)))
    first -= answered + waiting - 1
    logs.add(1, *(reply(100 + at, first + at, "y" * 1_000) for at in range(answered)))
    return logs


@pytest.mark.parametrize("answered", [0, 1, 9, 10, 11, 30])
@pytest.mark.parametrize("waiting", [0, 1, 30])
def test_of_a_flood_of_giants_never_more_is_held_than_is_looked_at_together(
    answered: int, waiting: int
) -> None:
    logs = flood(answered, waiting)
    part = material_of(logs, 10_000)
    held = sum(len(entry.message.text) for entry in part.entries)
    assert held <= 10_000 + 10 * 1_000 + 2_000, "the questions that came first, and their answers"
    assert sum(part.weights) == logs.states[1].context_bound or part.more
    assert logs.states[1].waiting == waiting_of(part) or part.more
    assert part.more == (answered > 10)


def test_a_question_that_is_left_out_is_not_covered_though_its_end_cannot_be_read() -> None:
    logs = flood(13, 0)
    newest = logs.states[1].next_seq - 1
    for seq in range(newest - 2, newest + 1):
        logs.damage(1, seq)
    part = material_of(logs, 10_000)
    found = choose_cut(part.pieces(), part.settled, keep_tokens=0, input_tokens=10**9)
    assert found is not None
    covered = [part.entries[at].message for at in found.covered]
    assert len(covered) == 20, "ten questions, and their answers"
    assert all(message.text for message in covered)


def test_a_flood_of_giants_is_summarised_part_by_part() -> None:
    logs, parts = flood(100, 3), 0
    while (part := material_of(logs, 10_000)).more:
        parts += 1
        held = sum(len(getattr(r, "text", "")) for _, r in uncovered_of(logs))
        assert held <= 22_000, "what is covered already is not held once more"
        found = choose_cut(part.pieces(), part.settled, keep_tokens=0, input_tokens=10**9)
        assert found is not None
        folded = part.logs[0].summary
        logs.add(
            1,
            summary(
                200 + parts,
                found.through[0],
                found.asides[0],
                text="s",
                covered_bound=sum(part.weights[at] for at in found.covered),
                covered_messages=len(found.covered) + (folded is not None),
                previous=folded[0] if folded else 0,
            ),
        )
    assert parts == 9
    assert not [entry for entry in part.entries if entry.turn < 92]
    assert len(part.waiting) == 2
