"""Random long conversations over the real actors, in virtual time, with a crash at any commit.

Humans write, agents hang and fail, notes land, contexts begin anew, the summariser does whatever it
likes, and the power goes. Every window that an agent is given is judged, and at the end the whole
log: nothing that was said is lost, and nothing is told twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper import Compacted, Message, Reply, RuntimeFailed, ToolCall, Turn, TurnRefused
from turnkeeper.actors.core.alterations import DELETED
from turnkeeper.actors.core.compaction import choose_cut, limits_of
from turnkeeper.actors.core.conversation import Conversation
from turnkeeper.actors.core.delivery_records import NoteRecord
from turnkeeper.actors.core.records import Record
from turnkeeper.actors.core.turn_records import (
    AssistantRecord,
    MissionRecord,
    QuarantinedRecord,
    SilentRecord,
    ToolRecord,
    UserRecord,
)
from turnkeeper.actors.core.turns import TOLD, Turns
from turnkeeper.actors.core.view_records import ChangedRecord, ClearRecord, SummaryRecord
from turnkeeper.actors.counts import counter_mark
from turnkeeper.actors.journal import load_head, load_records
from turnkeeper.actors.material import read_material
from turnkeeper.actors.windows import MAX_MESSAGES, WindowRules, read_window
from turnkeeper.storage.batch import Group
from turnkeeper.storage.errors import StorageError
from turnkeeper.storage.memory import MemoryDisk, MemoryReads
from turnkeeper.testing import LoopbackChannel
from turnkeeper.verify import Verification
from turnkeeper.views import bindings

from .contexts import Letters, Summing, on_small_stage, size_of, summaries
from .stage import START, Stage

LIMIT: Final = 1_000
MODES: Final = (
    "good",
    "hold",
    "hang",
    "fail",
    "cancelled",
    "empty",
    "long",
    "endless",
    "nothing",
    "bytes",
    "broken",
)


# -- what happens ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Say:
    """A human writes; the first letter says what the agent does with it."""

    times: int
    chars: int
    does: str


@dataclass(frozen=True)
class Mode:
    summariser: tuple[str, ...]


@dataclass(frozen=True)
class Free:
    """Let go what hangs: the agents, the summarisers."""

    agents: bool
    summarisers: bool


@dataclass(frozen=True)
class New:
    by_human: bool


@dataclass(frozen=True)
class Note:
    chars: int


@dataclass(frozen=True)
class Compact:
    by_human: bool


@dataclass(frozen=True)
class Pass:
    seconds: float


@dataclass(frozen=True)
class Cut:
    """The power goes at a later commit, which is stored or not."""

    commits: int
    stored: bool


@dataclass(frozen=True)
class Change:
    """A human changes one of their messages; without a text it is deleted."""

    pick: int
    text: str | None


Event: TypeAlias = Say | Mode | Free | New | Note | Compact | Pass | Cut | Change

SIZES = st.sampled_from([3, 40, 400, 900, 1_700, 6_000])
EVENTS = st.lists(
    st.one_of(
        st.builds(Say, st.sampled_from([1, 1, 2, 5, 30]), SIZES, st.sampled_from("eeeethfs")),
        st.builds(Say, st.just(100), st.sampled_from([3, 40]), st.sampled_from("eht")),
        st.builds(Mode, st.lists(st.sampled_from(MODES), min_size=1, max_size=3).map(tuple)),
        st.builds(Free, st.booleans(), st.booleans()),
        st.builds(New, st.booleans()),
        st.builds(Note, SIZES),
        st.builds(Compact, st.booleans()),
        st.builds(Pass, st.sampled_from([0.6, 10.0, 31.0, 130.0, 700.0])),
        st.builds(Cut, st.integers(0, 12), st.booleans()),
        st.builds(Change, st.integers(0, 200), st.sampled_from([None, None, "oh", "ah " * 400])),
    ),
    min_size=1,
    max_size=25,
)


class Fuse(MemoryDisk):
    """A disk that loses its power at a commit: what is written later, nobody will see."""

    def __init__(self) -> None:
        super().__init__()
        self.cut: Cut | None = None
        self.image: Fuse | None = None
        """What is left, once the power has gone."""

    def copy(self) -> Fuse:
        copy = Fuse()
        copy.log, copy.tables = self.log.copy(), self.tables.copy()
        return copy

    def write(self, group: Group) -> None:
        cut = self.cut if self.image is None and group.has_writes() else None
        if cut is not None and cut.commits == 0 and not cut.stored:
            self.image = self.copy()
        super().write(group)
        if cut is not None and cut.commits == 0 and cut.stored:
            self.image = self.copy()
        elif cut is not None:
            self.cut = Cut(cut.commits - 1, cut.stored)


@dataclass
class Life:
    """One process."""

    disk: Fuse
    channel: LoopbackChannel
    over: trio.Event = field(default_factory=trio.Event)
    closed: trio.Event = field(default_factory=trio.Event)
    go: trio.Event = field(default_factory=trio.Event)
    """Lets agents go on that hang."""
    stage: Stage | None = None
    asking: int = 0
    """Requests that were not answered yet."""

    @property
    def is_dead(self) -> bool:
        return self.disk.image is not None


class World:
    """A conversation, and all that becomes of it."""

    def __init__(self, clock: MockClock, nursery: trio.Nursery) -> None:
        self.clock = clock
        self.nursery = nursery
        self.began = trio.current_time()
        self.summing = Summing()
        self.handed: set[tuple[str, int, str]] = set()
        """Kind, number and beginning of all that a summariser was ever given."""
        self.accepted: list[tuple[str, str, str]] = []
        """Session, turn and text of what was accepted, in order."""
        self.notes: list[str] = []
        self.answers: list[Compacted] = []
        self.said = 0
        self.is_settling = False
        self.problems: list[str] = []
        self.life = Life(Fuse(), LoopbackChannel("tg"))

    # -- the process -------------------------------------------------------------------------------

    async def begin(self) -> None:
        life = self.life
        self.nursery.start_soon(self._live, life)
        await wait_all_tasks_blocked()
        assert life.stage is not None

    async def _live(self, life: Life) -> None:
        try:
            with trio.CancelScope() as scope:
                async with on_small_stage(
                    self.agent,
                    life.channel,
                    summariser=self.summarise,
                    disk=life.disk,
                    began=self.began,
                ) as stage:
                    life.stage = stage
                    await life.over.wait()
                    scope.cancel()
                    await trio.lowlevel.checkpoint()
        finally:
            life.closed.set()

    async def come_back(self) -> None:
        """Start again if the power has gone."""
        while (image := self.life.disk.image) is not None:
            self.life.over.set()
            await self.life.closed.wait()
            self.life = Life(image, LoopbackChannel("tg"))
            await self.begin()

    async def summarise(self, request: Any) -> str:
        for message in request.messages:
            self.handed.add((message.kind, message.seq, message.text[:20]))
        if sum(1 for _ in request.messages) == 0:
            self.problems.append("a summariser was given nothing")
        if size_of(request.messages) > LIMIT:
            self.problems.append(f"a summariser was given {size_of(request.messages)} tokens")
        summary: str = await self.summing(request)
        return summary

    async def agent(self, turn: Turn) -> Reply | str | None:
        life = self.life
        self.judge(turn)
        match turn.text[:1]:
            case "h" if not self.is_settling:
                await life.go.wait()
            case "f" if turn.attempt < 2 and not self.is_settling:
                raise RuntimeError("told to fail")
            case "s":
                return None
            case "t":
                call = ToolCall(name="look", arguments=turn.text[:90], result=turn.text[:300])
                return Reply(text=f"looked at {turn.text[:40]}", tools=(call, call))
            case _:
                pass
        return f"re: {turn.text[:200]}"

    # -- what happens ------------------------------------------------------------------------------

    async def do(self, event: Event) -> None:
        life = self.life
        match event:
            case Say():
                for _ in range(event.times):
                    self.said += 1
                    text = f"{event.does}{self.said} ".ljust(event.chars, "x")
                    self.nursery.start_soon(self._hear, life, text)
                    await wait_all_tasks_blocked()
                    await self.come_back()
                    life = self.life
            case Mode():
                self.summing.modes = list(event.summariser)
            case Free():
                self.free(agents=event.agents, summarisers=event.summarisers)
            case New(by_human=True):
                self.nursery.start_soon(self._hear, life, "/new")
            case Compact(by_human=True):
                self.nursery.start_soon(self._hear, life, "/compact")
            case New() | Note() | Compact() | Change():
                if self.accepted:
                    self.nursery.start_soon(self._ask, life, event)
            case Pass():
                self.clock.jump(event.seconds)
            case Cut():
                life.disk.cut = event
        await wait_all_tasks_blocked()

    def free(self, *, agents: bool, summarisers: bool) -> None:
        if agents:
            self.life.go.set()
            self.life.go = trio.Event()
        if summarisers:
            self.summing.go.set()
            self.summing.go = trio.Event()

    async def _hear(self, life: Life, text: str) -> None:
        try:
            life.asking += 1
            message_id = text.split(maxsplit=1)[0] if not text.startswith("/") else None
            accepted = await life.channel.receive(text, message_id=message_id)
            if not life.is_dead and not text.startswith("/"):
                self.accepted.append((accepted.session_id, accepted.turn_id, text))
        except TurnRefused:
            if not life.is_dead:
                self.problems.append(f"{text[:20]} was refused")
        finally:
            life.asking -= 1

    async def _change(self, life: Life, event: Change) -> None:
        for does in "ethfs":
            message_id = f"{does}{event.pick % self.said + 1}"
            if event.text is None:
                await life.channel.deletes(message_id)
            else:
                await life.channel.edits(message_id, event.text)

    async def _ask(self, life: Life, event: New | Note | Compact | Change) -> None:
        assert life.stage is not None
        runtime, session_id = life.stage.runtime, self.accepted[0][0]
        life.asking += 1
        try:
            match event:
                case New():
                    await runtime.clear(session_id)
                case Note():
                    text = f"n{len(self.notes)} ".ljust(event.chars, "y")
                    await runtime.mirror_to_session(session_id, text, source="mail")
                    if not life.is_dead:
                        self.notes.append(text)
                case Change():
                    await self._change(life, event)
                case Compact():
                    self.answers.append(await runtime.compact(session_id))
        except (StorageError, TurnRefused, RuntimeFailed) as error:
            if not life.is_dead:
                self.problems.append(f"{event} raised {error!r}")
        except Exception as error:  # noqa: BLE001  (whatever else is raised is a finding)
            if not life.is_dead and not life.over.is_set():
                self.problems.append(f"{event} raised {error!r}")
        finally:
            life.asking -= 1

    # -- judging -----------------------------------------------------------------------------------

    def judge(self, turn: Turn) -> None:
        window = turn.messages
        store = MemoryReads(self.life.disk)
        what = f"window of {turn.id}"
        if (size := size_of(window)) > LIMIT:
            self.problems.append(f"{what} has {size} tokens")
        last = window[-1]
        if last.role != "user" or not (last.text == turn.text or last.cut):
            self.problems.append(f"{what} ends with {last!r:.200}")
        seqs = [(m.kind, m.seq) for m in window]
        if len(set(seqs)) != len(seqs):
            self.problems.append(f"{what} shows something twice: {seqs}")
        self._judge_cover(window, store, what)

    def _judge_cover(self, window: Sequence[Message], store: MemoryReads, what: str) -> None:
        log = dict(load_records(store, 1))
        summaries = [m for m in window if m.kind == "summary"]
        if len(summaries) > 1 or (summaries and window[0] is not summaries[0]):
            self.problems.append(f"{what} has {len(summaries)} summaries, or not at the start")
        for shown in summaries:
            record = log[shown.seq]
            assert isinstance(record, SummaryRecord)
            for message in window[1:]:
                if covers(record, message.seq, log):
                    self.problems.append(f"{what} shows {message.seq}, which is summarised")

    # -- the end -----------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Let everything come to an end, and judge what is there."""
        self.life.disk.cut, self.is_settling = None, True
        self.summing.modes = ["good"]
        for _ in range(25):
            await self.come_back()
            self.free(agents=True, summarisers=True)
            await wait_all_tasks_blocked()
            self.clock.jump(40.0)
            await wait_all_tasks_blocked()
        if self.life.asking:
            self.problems.append(f"{self.life.asking} requests are never answered")
        before = len(self.accepted)
        await self.do(Say(1, 10, "e"))
        if len(self.accepted) != before + 1:
            self.problems.append("the conversation does not go on")
        await self.do(Pass(2.0))
        self.judge_log()
        self.life.over.set()
        await self.life.closed.wait()

    def judge_log(self) -> None:
        store = MemoryReads(self.life.disk)
        log = list(load_records(store, 1))
        if len({session for session, _, _ in self.accepted}) != 1:
            self.problems.append(f"the session changed: {self.accepted}")
        if [b.session_id for b in bindings(store)] != [self.accepted[0][0]]:
            self.problems.append("the binding changed")
        turns = {f"s1/{seq}": r.text for seq, r in log if isinstance(r, UserRecord)}
        rest = iter(turns.items())
        for _, turn_id, text in self.accepted:
            if (turn_id, text) not in rest:
                self.problems.append(f"{turn_id} {text[:20]!r} is not in the log, in order")
        ended = Counter(
            r.turn_seq
            for _, r in log
            if isinstance(r, AssistantRecord | SilentRecord | QuarantinedRecord) and r.turn_seq
        )
        if ended != Counter(seq for seq, r in log if isinstance(r, UserRecord)):
            self.problems.append(f"not every turn ended once: {ended}")
        kept = {r.text for _, r in log if isinstance(r, NoteRecord)}
        if missing := set(self.notes) - kept:
            self.problems.append(f"notes are lost: {missing}")
        self._judge_known(store, log)
        self._judge_deleted(store, log)
        self._judge_heads(store, log)
        now_us = int((START.timestamp() + trio.current_time() - self.began) * 1e6)
        self.problems.extend(f"verify: {p}" for p in Verification(store, now_us).problems())

    def _judge_known(self, store: MemoryReads, log: list[tuple[int, Record]]) -> None:
        """What the summaries cover was summarised, and everything else is shown, if it may be."""
        records = dict(log)
        handed = {(kind, seq) for kind, seq, _ in self.handed}
        for seq, record in log:
            if not isinstance(record, SummaryRecord):
                continue
            if record.fault is None and record.by != "World.summarise":
                self.problems.append(f"summary {seq} is by {record.by}, and nothing failed")
            cleared = max((s for s, r in log if isinstance(r, ClearRecord) and s < seq), default=0)
            turns = Turns(log[: seq - 1])
            for other, told in log[cleared : seq - 1]:
                if isinstance(told, TOLD) and covers(record, other, records) and is_told(told):
                    turn = turns.turn_of(other, told)
                    if turn and turns.is_cleared(turn):
                        continue
                    if (told.kind, other) not in handed:
                        self.problems.append(f"{other} is covered by {seq}, but not summarised")
        rules = WindowRules(LIMIT, None, counter_mark(Letters.name))
        shown = read_window(store, 1, rules)
        whole = read_window(store, 1, None)
        if len(shown) == len(whole) and not any(m.cut for m in shown):
            return
        material = read_material(store, 1, counter_mark(Letters.name))
        assert material is not None
        limits = limits_of(LIMIT, 0.85, None, None, system_tokens=0, max_messages=MAX_MESSAGES)
        found = choose_cut(
            material.pieces(),
            material.settled,
            keep_tokens=limits.keep_recent_tokens,
            input_tokens=limits.input_tokens - material.summary_tokens,
            worth_tokens=limits.summary_tokens,
            full=material.total > limits.max_tokens,
        )
        if found is not None and sum(material.tokens[at] for at in found.covered) > 60:
            self.problems.append(
                f"at rest, {len(whole) - len(shown)} messages are neither shown nor summarised, "
                f"and {found} would be possible"
            )

    def _judge_deleted(self, store: MemoryReads, log: list[tuple[int, Record]]) -> None:
        """What was deleted is not shown, and no summary that holds was made of it."""
        deleted = {
            r.message_seq: seq for seq, r in log if isinstance(r, ChangedRecord) and r.text is None
        }
        for message in read_window(store, 1, None):
            if message.seq in deleted and message.text != DELETED:
                self.problems.append(f"{message.seq} was deleted, and is shown: {message.text[:9]}")
        head, records = load_head(store, 1), dict(log)
        summary = records.get(head.summary) if head is not None else None
        if head is not None and isinstance(summary, SummaryRecord):
            told = [m for m, at in deleted.items() if at > head.summary and m <= summary.through]
            if told:
                self.problems.append(f"summary {head.summary} holds, and {told} were deleted")

    def _judge_heads(self, store: MemoryReads, log: list[tuple[int, Record]]) -> None:
        replayed = Conversation()
        for _, record in log:
            replayed.apply(record)
            if replayed.context_bound < 0 or replayed.context_messages < 0:
                self.problems.append(f"the context has {replayed.context_bound} tokens")
        if replayed.head() != load_head(store, 1):
            self.problems.append("replay gives another head")


def is_told(record: Record) -> bool:
    """Whether a window shows a record, whoever asks."""
    if isinstance(record, AssistantRecord):
        return record.by != "runtime"
    return isinstance(record, UserRecord | MissionRecord | ToolRecord | NoteRecord)


def covers(summary: SummaryRecord, seq: int, log: dict[int, Record]) -> bool:
    """Whether the numbers of a summary say that it covers a record."""
    match log[seq]:
        case UserRecord() | MissionRecord():
            return seq <= summary.through
        case ToolRecord() as record:
            return record.turn_seq <= summary.through
        case AssistantRecord(turn_seq=turn) if turn:
            return turn <= summary.through
        case _:
            return seq <= summary.asides


def lived(events: Sequence[Event]) -> World:
    """Live through events, and judge."""

    async def main() -> World:
        async with trio.open_nursery() as nursery:
            world = World(clock, nursery)
            await world.begin()
            await world.do(Say(1, 3, "e"))
            for event in events:
                await world.do(event)
                await world.come_back()
            await world.settle()
            nursery.cancel_scope.cancel()
        return world

    clock = MockClock()
    return trio.run(main, clock=clock)


STORIES: Final[dict[str, list[Event]]] = {
    "a marker leaves what no turn can have seen": [Note(6_000), New(by_human=False), Note(900)],
    "a marker leaves the turns that wait": [
        Say(30, 40, "h"),
        New(by_human=True),
        Free(agents=True, summarisers=False),
        Say(30, 900, "s"),
    ],
    "small turns stand before one that no window holds": [
        Say(2, 40, "e"),
        Say(1, 6_000, "e"),
        Say(3, 400, "e"),
    ],
    "a summariser hangs while the power goes": [
        Mode(("hang",)),
        Say(5, 900, "t"),
        Cut(3, stored=True),
        Pass(31.0),
        Say(5, 900, "e"),
    ],
    "turns wait for a summary that comes in time": [
        Mode(("hold", "good")),
        Say(5, 900, "e"),
        Pass(10.0),
        Free(agents=False, summarisers=True),
        Say(2, 900, "e"),
    ],
    "every summary is wrong": [
        Mode(("fail", "cancelled", "empty", "long", "endless", "nothing", "bytes", "broken")),
        Say(30, 400, "t"),
        Pass(700.0),
        Compact(by_human=False),
        Say(5, 400, "e"),
    ],
    "the power goes as the summary becomes durable": [
        Say(4, 900, "e"),
        Cut(1, stored=False),
        Compact(by_human=True),
        Say(5, 900, "e"),
    ],
}


@pytest.mark.parametrize("story", STORIES)
def test_nothing_is_lost_when(story: str) -> None:
    world = lived(STORIES[story])
    assert world.problems == []
    assert summaries(MemoryReads(world.life.disk))


@pytest.mark.slow
@pytest.mark.timeout(600)
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(EVENTS)
def test_whatever_happens_to_a_long_conversation_nothing_is_lost(events: list[Event]) -> None:
    assert lived(events).problems == []
