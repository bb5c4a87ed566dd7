"""What an attempt at a turn was given can be shown again, however much was stored since.

The random lives of `test_conversation_replay` are lived once more, over a store. Whenever a turn
begins, its window is kept: until the turn ends the session must go on to read the same one, and at
the end of the life the log must give it back.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,  # pyright: ignore[reportUnknownVariableType]  (untyped there)
)

from turnkeeper.actors.core.effects import Effect, EndTurn, PauseTurn, StartTurn
from turnkeeper.actors.core.ownership_records import HiddenRecord, LinkedRecord, UnlinkedRecord
from turnkeeper.actors.core.records import Record, pack
from turnkeeper.actors.core.turn_records import (
    AssistantRecord,
    MissionRecord,
    QuarantinedRecord,
    SilentRecord,
    UserRecord,
)
from turnkeeper.actors.core.view_records import ChangedRecord, SummaryRecord
from turnkeeper.actors.core.weight import weight_of
from turnkeeper.actors.journal import name_key
from turnkeeper.actors.windows import Seen, WindowRules, read_seen, turn_before, window_at
from turnkeeper.storage.base import Table
from turnkeeper.storage.codec import encode
from turnkeeper.storage.keys import log_key, number_key

from .logs import (
    Logs,
    Window,
    attempt,
    clear,
    cost,
    linked,
    merged,
    note,
    places,
    receipt,
    reply,
    run,
    summary,
    tool,
    user,
)
from .test_conversation_replay import Life

RULES = (
    None,
    WindowRules(400, "Be kind."),
    WindowRules(1_200, max_messages=4),
)


def held_by(turn: int) -> int:
    """By which of the rules the agent's own window is held in a turn."""
    return 1 + turn % (len(RULES) - 1)


class Watched(Life):
    def __init__(self) -> None:
        self.logs = Logs()
        self.stored = 0
        self.given: dict[int, list[Window]] = {}
        """What each turn was given, by its number, at its last attempt."""
        self.seen: dict[int, list[Seen | None]] = {}
        """What of the context that was, by each of the rules."""
        self.watched = 0
        """The turn that runs and has to go on reading the same window, or 0."""
        super().__init__()
        for stream in (2, 3, 4):
            at_us = self.now_us - 100 * stream
            asked = user(at_us, f"q{stream}", user_id="u", platform="p")
            self.logs.add(stream, asked, reply(at_us + 1, 2), user(at_us + 2), reply(at_us + 3, 4))
            self.logs.add(stream, merged(at_us + 4))

    def windows(self, seq: int) -> list[Window]:
        """What the session reads now for the turn that runs, by each of the rules."""
        return [self.window(seq, rules) for rules in RULES]

    def window(self, seq: int, rules: WindowRules | None) -> Window:
        return self.read(seq, rules)[0]

    def read(self, seq: int, rules: WindowRules | None) -> tuple[Window, Seen | None]:
        self.store()
        current = self.log[seq - 1]
        assert isinstance(current, UserRecord | MissionRecord)
        return read_seen(self.logs.store, 1, rules, (seq, current))

    def give(self, seq: int) -> None:
        """Keep what a turn is given."""
        self.given[seq] = self.windows(seq)
        self.seen[seq] = [self.read(seq, rules)[1] for rules in RULES]

    def saw(self, turn: int) -> Seen | None:
        seen = self.seen.get(turn)
        return seen[held_by(turn)] if seen else None

    def store(self) -> None:
        """Write what is new of the log, and the head."""
        disk = self.logs.disk
        while self.stored < len(self.log):
            self.stored += 1
            disk.log.put(log_key(1, self.stored), encode(pack(self.log[self.stored - 1])))
        self.logs.put(Table.NAMES, name_key("s1"), encode(1))
        self.logs.put(Table.HEADS, number_key(1), encode(list(self.core.head())))

    def on_start(self, effect: StartTurn) -> None:
        super().on_start(effect)
        self.give(effect.seq)
        self.watched = effect.seq

    def watch(self, effect: Effect) -> None:
        if isinstance(effect, EndTurn | PauseTurn):
            self.watched = 0
        super().watch(effect)

    def count(self, record: Record) -> None:
        if isinstance(record, ChangedRecord) and record.was_summarised:
            self.watched = 0  # as above: the summary is void
        if not isinstance(record, SummaryRecord):  # they cover as much as they take, for the model
            super().count(record)

    def taken_over(self, *records: Record) -> None:
        if any(isinstance(r, HiddenRecord | LinkedRecord | UnlinkedRecord) for r in records):
            self.watched = 0  # what the turn may see has changed, and it does not last
        super().taken_over(*records)

    @rule(
        pick=st.integers(0, 100),
        aside=st.integers(0, 100),
        waited_for=st.booleans(),
        others=st.sampled_from([(0, 0), (2, 3), (4, 5)]),
    )
    def older_messages_are_summarised(
        self, pick: int, aside: int, waited_for: bool, others: tuple[int, int]
    ) -> None:
        before = self.log[self.core.summary - 1] if self.core.summary else None
        least = before.through if isinstance(before, SummaryRecord) else 0
        over = [seq for seq in sorted(self.ended) if seq > least]
        through = self.one_of([least, *over], pick)
        aside = max(through, min(aside, len(self.log)))
        if isinstance(before, SummaryRecord):
            aside = max(aside, before.asides)
        running = self.core.running if waited_for else 0
        told = summary(
            self.now_us,
            through,
            aside,
            previous=self.core.summary,
            others=tuple((stream, *others, 0) for stream in self.joined),
            for_turn=running,
            covered_messages=1,
        )
        self.taken_over(replace(told, covered_bound=weight_of(told)))
        if running and self.watched:
            self.give(running)
        elif running:
            self.given.pop(running, None)

    @precondition(lambda self: self.watched and self.core.running == self.watched)
    @invariant()
    def a_turn_goes_on_to_see_what_it_saw_when_it_began(self) -> None:
        which = len(self.log) % len(RULES)
        assert self.window(self.watched, RULES[which]) == self.given[self.watched][which]

    def teardown(self) -> None:
        store = self.logs.store
        self.store()
        ended = {
            record.turn_seq
            for record in self.log
            if isinstance(record, AssistantRecord | SilentRecord)
        }
        for seq, windows in self.given.items():
            for which, (rules, window) in enumerate(zip(RULES, windows, strict=True)):
                if seq not in ended:
                    assert window_at(store, 1, seq, rules) == window
                elif rules is not None and which == held_by(seq):
                    # What ends a turn tells what was shown in it, whatever the limits are by now.
                    tighter = rules._replace(max_tokens=300, max_messages=1)
                    assert window_at(store, 1, seq, tighter) == window
                if rules is not None:
                    assert cost(window) <= rules.max_tokens
        for seq in list(self.open)[1:]:
            with pytest.raises(LookupError, match="waits behind"):
                window_at(store, 1, seq, None)
        super().teardown()


def test_the_log_shows_again_what_every_attempt_was_given() -> None:
    run_state_machine_as_test(
        Watched, settings=settings(deadline=None, max_examples=25, stateful_step_count=40)
    )


@pytest.mark.slow
def test_however_long_it_goes_on_the_log_shows_what_every_attempt_was_given() -> None:
    run_state_machine_as_test(
        Watched, settings=settings(deadline=None, max_examples=200, stateful_step_count=100)
    )


# -- one by one --------------------------------------------------------------------------------


@pytest.fixture
def logs() -> Logs:
    return Logs()


def same(logs: Logs, turn: int) -> list[int | tuple[str, int]]:
    """What the session reads for the turn that runs, and the log shows again."""
    window = logs.window(turn)
    assert logs.window_at(turn) == window
    return places(window)


def test_nothing_is_seen_that_was_stored_after_the_attempt_began(logs: Logs) -> None:
    logs.add(1, user(1), reply(2, 2), user(3, "now"))
    assert same(logs, 4) == [2, 3, 4]
    for later in (
        note(4),
        receipt(5, 3),
        reply(6, 0, "unasked"),
        user(7, "waits"),
        summary(8, through=2, asides=3),
    ):
        logs.add(1, later)
        assert same(logs, 4) == [2, 3, 4]
    logs.add(1, clear(9, logs.states[1]))
    assert same(logs, 4) == [2, 3, 4]
    logs.add(1, reply(10, 4, "done"))
    assert places(logs.window_at(4)) == [2, 3, 4]


def test_a_second_attempt_sees_what_was_stored_before_it(logs: Logs) -> None:
    logs.add(1, user(1), reply(2, 2), user(3, "now"), note(4), attempt(5, 4), note(6))
    assert same(logs, 4) == [2, 3, 5, 4]
    logs.add(1, summary(7, through=2, asides=3), attempt(8, 4, 3))
    assert same(logs, 4) == [8, 5, 7, 4]
    logs.add(1, clear(9, logs.states[1]))
    assert same(logs, 4) == [8, 5, 7, 4]


def test_a_marker_before_a_second_attempt_counts_for_it(logs: Logs) -> None:
    logs.add(1, user(1), reply(2, 2), user(3, "now"), clear(4), attempt(5, 4))
    assert same(logs, 4) == [4]


def test_a_turn_sees_the_summary_that_it_waited_for(logs: Logs) -> None:
    logs.add(1, user(1), reply(2, 2), user(3, "now"), note(4))
    logs.add(1, summary(5, through=2, asides=3, for_turn=4), note(6))
    assert same(logs, 4) == [6, 4]
    logs.add(1, summary(7, through=2, asides=5, previous=6), note(8))
    assert same(logs, 4) == [6, 4], "the later summary is not for this turn"
    logs.add(1, clear(9, logs.states[1]))
    assert same(logs, 4) == [6, 4]
    logs.add(1, summary(10, through=0, for_turn=4))
    assert same(logs, 4) == [6, 4], "it is of what came after the marker"


def test_a_second_attempt_sees_the_newest_summary_and_not_the_one_that_was_waited_for(
    logs: Logs,
) -> None:
    logs.add(1, user(1), reply(2, 2), user(3, "now"), note(4))
    logs.add(1, summary(5, through=2, asides=3, for_turn=4))
    logs.add(1, summary(6, through=2, asides=5, previous=6), attempt(7, 4))
    assert same(logs, 4) == [7, 4]


def test_a_turn_that_waited_sees_how_the_one_before_it_ended(logs: Logs) -> None:
    logs.add(1, user(1, "q2"), user(2, "q3"), note(3), reply(4, 2, "a2"), note(5))
    assert same(logs, 3) == [2, 5, 4, 3]
    assert places(logs.window_at(2)) == [2]


def test_a_turn_that_waited_sees_what_was_said_of_the_one_that_was_given_up(logs: Logs) -> None:
    logs.add(1, user(1, "q2"), user(2, "q3"))
    logs.add(1, QuarantinedRecord(at_us=3, turn_seq=2, attempts=3, error="boom"))
    logs.add(1, reply(4, 0, "sorry", by="runtime", route="reply"), reply(5, 0, "later"))
    assert same(logs, 3) == [2, 5, 3]


def test_what_a_joined_session_heard_later_is_not_shown_for_an_earlier_turn(logs: Logs) -> None:
    logs.add(2, user(1), reply(2, 2), merged(3))
    logs.add(1, linked(3, 2), user(4))
    assert same(logs, 3) == [("s2", 2), ("s2", 3), 3]
    logs.add(2, receipt(5, 3), summary(6, through=2, asides=3), clear(7, logs.states[2]))
    logs.add(1, SilentRecord(at_us=8, turn_seq=3))
    assert places(logs.window_at(3)) == [("s2", 2), ("s2", 3), 3]


def test_only_turns_that_have_begun_have_been_given_anything(logs: Logs) -> None:
    logs.add(1, user(1), run(2), note(3))
    with pytest.raises(LookupError, match="turn 3 has not begun: it waits behind turn 2"):
        logs.window_at(3)
    for seq in (1, 4, 9):
        with pytest.raises(LookupError, match=f"record {seq} is no turn"):
            logs.window_at(seq)


def test_the_turn_of_a_time_is_the_newest_that_had_been_accepted(logs: Logs) -> None:
    logs.add(1, user(10), tool(11, 2), reply(12, 2), run(20), note(30))
    found = {at_us: turn_before(logs.store, 1, at_us) for at_us in (10, 19, 20, 99)}
    assert found == {10: 2, 19: 2, 20: 5, 99: 5}
    with pytest.raises(LookupError, match="before that time"):
        turn_before(logs.store, 1, 9)
