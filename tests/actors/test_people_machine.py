"""Random lives of a few humans on several channels, beside a model of dicts.

The model knows who is which user and who is paired with what, where every conversation was said to
belong, and from that alone what an agent may be shown. The runtime is the whole one, on a disk in
memory which crashes and restarts outlive; its loop runs in a thread, so that steps are functions.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, TypeVar, cast

import pytest
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,  # pyright: ignore[reportUnknownVariableType]  (untyped there)
)
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper import ActRefused, Channel, Runtime, Turn, open_runtime, views
from turnkeeper.actors.acts import Change, Moved
from turnkeeper.actors.core.routing import BindingRow, KeyRow, read_binding, read_key
from turnkeeper.actors.core.turn_records import AssistantRecord, UserRecord
from turnkeeper.actors.journal import load_records
from turnkeeper.actors.ledger import StoreWorld, changes_since, past_bindings
from turnkeeper.actors.messages import Accepted, Address, Instance
from turnkeeper.people import links, pairs
from turnkeeper.storage.base import Reads, Table
from turnkeeper.storage.codec import decode
from turnkeeper.storage.memory import MemoryDisk, MemoryReads, MemoryStore, open_memory
from turnkeeper.testing import LoopbackChannel
from turnkeeper.verify import Verification
from turnkeeper.views import heads

from .stage import START, crashed, wall_clock

T = TypeVar("T")

INSTANCES: Final = {"tg": "telegram", "tg2": "telegram", "tg_ops": "telegram", "dc": "discord"}
"""Instance -> platform; `tg_ops` has another agent."""
CONFIG: Final = {"session": {"turn_timeout_s": 1e6}, "channels": {"tg_ops": {"agent": "ops"}}}
STEP_S: Final = 61.0
"""Seconds between two steps: long enough for patience to be had again, five make a session idle."""


class Who(NamedTuple):
    platform: str
    user_id: str

    def __str__(self) -> str:
        return f"{self.platform}:{self.user_id}"


PEOPLE: Final = [Who("telegram", "1"), Who("telegram", "2"), Who("discord", "1")]
USERS: Final = ["alice", "telegram:1", "discord:1"]
SESSIONS: Final = ["family", "s1", "s2"]

people = st.sampled_from(PEOPLE)
at = st.sampled_from(
    [(who, name) for who in PEOPLE for name in INSTANCES if INSTANCES[name] == who.platform]
)


class Loop:
    """A trio loop in a thread, whose clock stands still between two steps."""

    def __init__(self) -> None:
        self.clock = MockClock()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self._ready.wait()

    def _run(self) -> None:
        trio.run(self._main, clock=self.clock)

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._stop = trio.Event()
        async with trio.open_nursery() as self.nursery:
            self._ready.set()
            await self._stop.wait()

    def run(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        return trio.from_thread.run(function, *args, trio_token=self._token)

    def close(self) -> None:
        self._token.run_sync_soon(self._stop.set)
        self._thread.join()


@dataclass(frozen=True)
class Said:
    """What a human said."""

    who: Who
    text: str
    place: Address
    order: int
    direct: bool


@dataclass(frozen=True)
class Done:
    """A change as the model knows it."""

    act: str
    users: dict[Who, str]
    pairs: dict[Who, str]
    """As they were before it, of those whom it touched."""
    touched: frozenset[Who]
    left: frozenset[tuple[str, str]]
    """Sessions that stopped to go on in another one: both."""
    order: int


class Model:
    """Dicts, and what follows from them."""

    def __init__(self) -> None:
        self.users: dict[Who, str] = {}
        self.pairs: dict[Who, str] = {}
        self.owner: dict[Address, str] = {}
        self.manual: set[Address] = set()
        self.versions: Counter[Address] = Counter()
        self.whose: dict[Address, Who] = {}
        """Of direct conversations."""
        self.said: dict[str, list[Said]] = {}
        self.merged: dict[str, str] = {}
        """A session that owns nothing -> the one it goes on in."""
        self.hidden: dict[str, list[tuple[Who, int, int]]] = {}
        """Session -> who, from when, until when."""
        self.done: dict[int, Done] = {}
        self.order = 0

    def user(self, who: Who) -> str:
        return self.users.get(who, str(who))

    def root(self, user: str) -> str:
        named = Who(*user.partition(":")[::2])
        return self.users.get(named, user)

    def paired(self, who: Who) -> str | None:
        named = Who(*self.user(who).partition(":")[::2])
        return self.pairs.get(who) or self.pairs.get(named)

    def followers(self, who: Who) -> list[Who]:
        return [one for one, user in self.users.items() if user == str(who)]

    def one_with(self, who: Who) -> list[Who]:
        return [one for one in PEOPLE if self.user(one) == self.user(who)]

    def goes_on_in(self, earlier: str, session: str) -> bool:
        seen = {earlier}
        while (following := self.merged.get(earlier)) not in {None, *seen}:
            if following == session:
                return True
            seen.add(following or "")
            earlier = following or ""
        return following == session

    def shown(self, session: str, current: str | None = None) -> list[Said]:
        """What the agent of a session may be shown, up to the text of its turn, which is last."""
        lines: list[Said] = []
        for one, said in self.said.items():
            if one != session and not self.goes_on_in(one, session):
                continue
            for line in said:
                hides = any(
                    line.who == who and since <= line.order < until
                    for who, since, until in self.hidden.get(one, [])
                )
                if not hides or line.text == current:
                    lines.append(line)
                if one == session and line.text == current:
                    break
        return sorted(lines, key=lambda line: (line.text == current, line.order))

    def wanted(self, place: Address) -> tuple[str, ...]:
        """What decides about the session of a direct conversation."""
        who = self.whose[place]
        paired = self.paired(who)
        agent = "ops" if place.instance == "tg_ops" else "main"
        return ("session", paired) if paired is not None else ("user", agent, self.user(who))


class Lives(RuleBasedStateMachine):
    """Channels, humans, an operator, and a power supply."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.loop = Loop()
        self.disk = MemoryDisk()
        self.faults: list[str] = []
        self.crowd: list[tuple[str, set[str]]] | None = None
        """Turns that ran beside an act, and all that each was shown."""
        self.held: trio.Event | None = None
        self.slow: set[str] = set()
        """Texts whose turn waits for `the_slow_agents_go_on`."""
        self.accepted: dict[str, str] = {}
        """Text -> turn id."""
        self.number = 0
        self.crashes = 0
        self.loop.run(self._open)

    # -- the runtime -----------------------------------------------------------------------------

    async def _open(self) -> None:
        self.held = trio.Event()
        self.scope = trio.CancelScope()
        self.closed = trio.Event()
        self.channels = {
            name: LoopbackChannel(name, platform=platform) for name, platform in INSTANCES.items()
        }
        await self.loop.nursery.start(self._live)
        await wait_all_tasks_blocked()

    async def _live(self, *, task_status: trio.TaskStatus[None]) -> None:
        self.over = trio.Event()
        seconds = trio.current_time()
        async with AsyncExitStack() as stack:
            stack.callback(self.closed.set)
            stack.enter_context(self.scope)
            self.store: MemoryStore = await stack.enter_async_context(open_memory(self.disk))
            self.runtime: Runtime = await stack.enter_async_context(
                open_runtime(
                    None,
                    agents={"main": self._agent, "ops": self._agent},
                    channels=cast("list[Channel]", list(self.channels.values())),
                    store=self.store,
                    config=CONFIG,
                    clock=wall_clock(self._start_of_life(seconds)),
                    seed=1,
                )
            )
            task_status.started()
            await self.over.wait()

    def _start_of_life(self, seconds: float) -> datetime:
        if not hasattr(self, "_began"):
            self._began = seconds
        return START + timedelta(seconds=seconds - self._began)

    async def _close(self) -> None:
        assert self.held is not None
        self.held.set()
        self.over.set()
        await self._wait_closed()

    async def _wait_closed(self) -> None:
        while not self.closed.is_set():
            await wait_all_tasks_blocked()
            self.loop.clock.jump(1)

    async def _crash(self) -> None:
        left = crashed(self.disk)
        self.scope.cancel()
        await self._wait_closed()
        self.disk = left

    async def _agent(self, turn: Turn) -> str:
        given = [message.text for message in turn.messages if message.role == "user"]
        answers = [message.text for message in turn.messages if message.kind == "assistant"]
        self.check_notes(turn)
        if self.crowd is None:
            self.check(turn.id, given, answers, self.model.shown(turn.session.id, turn.text))
        else:
            self.crowd.append((turn.id, {*given, *(text.removeprefix("re ") for text in answers)}))
        if turn.text in self.slow and turn.attempt == 1:
            assert self.held is not None
            await self.held.wait()
        return f"re {turn.text}"

    def check_notes(self, turn: Turn) -> None:
        """A note is of what was said in a conversation that the session has owned."""
        history = views.history(self.store, turn.session.id) or []
        owned = {record.conversation for record in history if record.kind == "bound"}
        for note in turn.messages:
            if note.kind == "note" and note.session_id is None:
                places = {(place.instance, place.conversation) for place in owned if place}
                if (note.instance, note.conversation) not in places:
                    self.faults.append(f"{turn.id} was shown a note for others: {note.text}")

    def check(self, turn: str, given: list[str], answers: list[str], expected: list[Said]) -> None:
        order = {said.text: said.order for said in expected}
        if Counter(given) != Counter(order.keys()):
            self.faults.append(f"{turn} was given {given}, not {list(order)}")
        elif sorted(given[:-1], key=order.__getitem__) != given[:-1]:
            self.faults.append(f"{turn} was given {given}, out of order")
        strange = {text for text in answers if text.removeprefix("re ") not in order}
        if strange:
            self.faults.append(f"{turn} was shown answers to others: {strange}")

    # -- steps -----------------------------------------------------------------------------------

    def step(self, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Do something, and let everything that follows from it happen."""

        async def whole() -> T:
            self.loop.clock.jump(STEP_S)
            self.model.order += 1
            await wait_all_tasks_blocked()
            try:
                return await function(*args)
            finally:
                await wait_all_tasks_blocked()

        return self.loop.run(whole)

    async def _hear(self, who: Who, instance: str, conversation: str, direct: bool) -> None:
        self.number += 1
        text = f"text {self.number}"
        model, place = self.model, Address(Instance(instance), conversation)
        said = Said(who, text, place, model.order, direct)
        session = model.owner.get(place) or self._session_of_a_first_message(who, place, direct)
        model.said.setdefault(session, []).append(said)
        accepted = await self.channels[instance].receive(
            text, conversation=conversation, user_id=who.user_id, direct=direct, message_id=text
        )
        assert (accepted.session_id, accepted.duplicate) == (session, False)
        self.accepted[text] = accepted.turn_id

    def _session_of_a_first_message(self, who: Who, place: Address, direct: bool) -> str:
        """Where the store says that it will go; whether that is right is for the invariants."""
        model, world = self.model, StoreWorld(self.store, 0)
        model.versions[place] = 1
        if direct:
            model.whose[place] = who
            wanted = model.wanted(place)
            holder = world.key(wanted) if wanted[0] == "user" else None
            session = wanted[1] if wanted[0] == "session" else holder and holder.session_id
            if session is not None and holder is not None and self._is_taken(session, wanted):
                session = None
        else:
            session = None
        if session is None:
            newest = self.store.scan(Table.HEADS, limit=1, reverse=True)
            session = f"s{int.from_bytes(newest[0][0], 'big') + 1 if newest else 1}"
        model.owner[place] = session
        model.merged.pop(session, None)
        return session

    def _is_taken(self, session: str, wanted: tuple[str, ...]) -> bool:
        model = self.model
        there = [p for p, s in model.owner.items() if s == session and p in model.whose]
        return any(
            model.wanted(p) != wanted and model.wanted(p) != ("session", session)
            for p in there
            if p not in model.manual
        )

    @rule(at=at)
    def somebody_writes_directly(self, at: tuple[Who, str]) -> None:
        self.step(self._hear, *at, f"dm {at[0].user_id}", True)

    @rule(at=at)
    def somebody_writes_in_a_group(self, at: tuple[Who, str]) -> None:
        self.step(self._hear, *at, "group", False)

    @precondition(lambda self: len(self.slow) < 3)
    @rule(at=at)
    def somebody_writes_and_the_agent_takes_its_time(self, at: tuple[Who, str]) -> None:
        self.slow.add(f"text {self.number + 1}")
        self.step(self._hear, *at, f"dm {at[0].user_id}", True)

    @rule()
    def everybody_writes_where_they_did_before(self) -> None:
        for place, who in list(self.model.whose.items()):
            self.step(self._hear, who, place.instance, place.conversation, True)

    @precondition(lambda self: self.slow)
    @rule()
    def the_slow_agents_go_on(self) -> None:
        self.slow.clear()
        self.step(self._go_on)

    async def _go_on(self) -> None:
        assert self.held is not None
        self.held.set()
        await wait_all_tasks_blocked()
        self.held = trio.Event()

    @precondition(lambda self: self.accepted)
    @rule(pick=st.integers(0, 100))
    def a_message_is_delivered_again(self, pick: int) -> None:
        texts = sorted(self.accepted)
        text = texts[pick % len(texts)]
        said = next(s for lines in self.model.said.values() for s in lines if s.text == text)

        async def again() -> Accepted:
            return await self.channels[said.place.instance].receive(
                text,
                conversation=said.place.conversation,
                user_id=said.who.user_id,
                direct=said.direct,
                message_id=text,
            )

        accepted = self.step(again)
        assert accepted.duplicate
        assert accepted.turn_id == self.accepted[text]

    # -- acts ------------------------------------------------------------------------------------

    def act(
        self,
        name: str,
        ask: Callable[[bool], Awaitable[Change]],
        touched: Callable[[], Iterable[Who]],
        decide: Callable[[], object],
        *,
        merges: bool,
        crowded: bool = False,
    ) -> None:
        """Carry an act out on the runtime and in the model; refused, it changes nothing."""
        before = self.contents()
        try:
            preview = self.step(ask, True)
        except ActRefused:
            assert self.contents() == before
            return
        assert preview.dry_run
        assert self.contents() == before, "a preview writes nothing"
        who = frozenset(touched())
        model = self.model
        users = {one: model.users[one] for one in who if one in model.users}
        paired = {one: model.pairs[one] for one in who if one in model.pairs}
        change = self.step(self._beside_everybody, ask) if crowded else self.step(ask, False)
        assert change.moved == preview.moved
        assert [j.earlier for j in change.joined] == [j.earlier for j in preview.joined]
        decide()
        left = self.moved(change, merges=lambda _: merges)
        self.look_at_the_crowd()
        assert change.number is not None
        model.done[change.number] = Done(name, users, paired, who, frozenset(left), model.order)

    async def _beside_everybody(self, ask: Callable[[bool], Awaitable[Change]]) -> Change:
        """Carry an act out while everybody writes, each twice."""
        self.crowd = []
        self.before = {one: {s.text for s in self.model.shown(one)} for one in self.sessions()}
        async with trio.open_nursery() as nursery:
            for place, who in self.model.whose.items():
                nursery.start_soon(self._write_twice, who, place)
            for _ in range(self.number % 7):
                await trio.lowlevel.checkpoint()
            return await ask(False)

    async def _write_twice(self, who: Who, place: Address) -> None:
        for _ in range(2):
            self.number += 1
            text = f"text {self.number}"
            accepted = await self.channels[place.instance].receive(
                text, conversation=place.conversation, user_id=who.user_id, message_id=text
            )
            self.accepted[text] = accepted.turn_id
            said = Said(who, text, place, self.model.order, True)
            log = self.model.said.setdefault(accepted.session_id, [])
            log.append(said)
            log.sort(key=lambda line: int(self.accepted[line.text].rpartition("/")[2]))

    def sessions(self) -> set[str]:
        return {*self.model.said, *self.model.owner.values()}

    def look_at_the_crowd(self) -> None:
        """Whoever ran beside the act was shown what they may be shown before it, or after it."""
        for turn, given in self.crowd or ():
            session = turn.partition("/")[0]
            now = {said.text for said in self.model.shown(session)}
            assert given <= now | self.before.get(session, set()), turn
        self.crowd = None

    def moved(
        self, change: Change, *, merges: Callable[[tuple[str, str]], bool]
    ) -> set[tuple[str, str]]:
        """Follow the moves of a change; which sessions stopped to go on in others."""
        model = self.model
        names = self.sessions()
        shares = {(one, other) for one in names for other in names if model.goes_on_in(one, other)}
        targets: dict[str, set[str]] = {}
        for move in change.moved:
            assert model.owner[move.address] == move.from_session
            model.owner[move.address] = move.to_session
            model.versions[move.address] += 1
            assert move.version == model.versions[move.address]
            if move.from_session != move.to_session:
                targets.setdefault(move.from_session, set()).add(move.to_session)
        for move in change.moved:
            model.merged.pop(move.to_session, None)
        owners = set(model.owner.values())
        for earlier, found in targets.items():
            if len(found) == 1 and earlier not in owners:
                (session,) = found
                if merges((earlier, session)):
                    model.merged[earlier] = session
        return {pair for pair in shares if not model.goes_on_in(*pair)}

    @rule(who=people, user=st.sampled_from(USERS), crowded=st.booleans())
    def the_operator_links(self, who: Who, user: str, crowded: bool) -> None:
        model = self.model

        def decide() -> None:
            target = model.root(user)
            for one in (who, *model.followers(who)):
                model.users[one] = target

        self.act(
            "link",
            lambda dry: self.runtime.link(*who, user, dry_run=dry),
            lambda: [who, *model.followers(who)],
            decide,
            merges=True,
            crowded=crowded,
        )

    @rule(who=people, crowded=st.booleans())
    def the_operator_unlinks(self, who: Who, crowded: bool) -> None:
        self.act(
            "unlink",
            lambda dry: self.runtime.unlink(*who, dry_run=dry),
            lambda: [who],
            lambda: self.model.users.pop(who),
            merges=False,
            crowded=crowded,
        )

    @rule(who=people, session=st.sampled_from(SESSIONS))
    def the_operator_pairs(self, who: Who, session: str) -> None:
        self.act(
            "pair",
            lambda dry: self.runtime.pair(*who, session, dry_run=dry),
            lambda: [who],
            lambda: self.model.pairs.update({who: session}),
            merges=True,
        )

    @rule(who=people)
    def the_operator_unpairs(self, who: Who) -> None:
        self.act(
            "unpair",
            lambda dry: self.runtime.unpair(*who, dry_run=dry),
            lambda: [who],
            lambda: self.model.pairs.pop(who),
            merges=False,
        )

    @precondition(lambda self: self.model.owner)
    @rule(pick=st.integers(0, 100), session=st.sampled_from([None, *SESSIONS]))
    def the_operator_moves_a_conversation(self, pick: int, session: str | None) -> None:
        model = self.model
        places = sorted(model.owner)
        place = places[pick % len(places)]

        def decide() -> None:
            if session is None:
                model.manual.discard(place)
            else:
                model.manual.add(place)

        self.act(
            "move",
            lambda dry: self.runtime.move_binding(
                place.instance, place.conversation, None, session, dry_run=dry
            ),
            list,
            decide,
            merges=True,
        )

    @rule(back=st.integers(1, 3))
    def the_operator_takes_a_change_back(self, back: int) -> None:
        model = self.model
        numbers = sorted(model.done)
        if len(numbers) < back:
            return
        number = numbers[-back]
        undone = model.done[number]
        manual = set(model.manual)
        before = self.contents()
        try:
            change = self.step(lambda: self.runtime.undo(number))
        except ActRefused:
            assert self.contents() == before
            return
        del model.done[number]
        for one in undone.touched:
            model.users.pop(one, None)
            model.pairs.pop(one, None)
        model.users.update(undone.users)
        model.pairs.update(undone.pairs)
        for row in self.bindings():
            if row.scope == "manual":
                model.manual.add(row.address)
            else:
                model.manual.discard(row.address)
        assert undone.act == "move" or model.manual == manual
        if undone.act in {"link", "pair"}:
            self.hide(change, undone)
        together = undone.act in {"unlink", "unpair"}
        self.moved(change, merges=lambda pair: together or pair in undone.left)

    def hide(self, change: Change, undone: Done) -> None:
        for move in change.moved:
            who = self.model.whose[move.address]
            if who in undone.touched:
                spans = self.model.hidden.setdefault(move.from_session, [])
                spans.append((who, undone.order, self.model.order))

    # -- codes -----------------------------------------------------------------------------------

    @rule(issuer=people, redeemer=people)
    def somebody_proves_that_two_accounts_are_theirs(self, issuer: Who, redeemer: Who) -> None:
        before = self.contents(Table.BINDINGS, Table.IDENTITIES)
        code = self.step(self._say, issuer, "/link")
        assert self.contents(Table.BINDINGS, Table.IDENTITIES) == before
        if "Your code is" not in code:
            return
        was = {one: self.model.users[one] for one in PEOPLE if one in self.model.users}
        numbers = len(self.loop.run(self.runtime.changes))
        told = self.step(self._say, redeemer, "/link " + code.split()[3].rstrip("."))
        changes = self.loop.run(self.runtime.changes)
        if not told.startswith("Done"):
            assert len(changes) == numbers
            assert self.contents(Table.BINDINGS, Table.IDENTITIES) == before
            assert issuer == redeemer or self.model.user(issuer) == self.model.user(redeemer)
            return
        model = self.model
        assert model.user(issuer) != model.user(redeemer)
        coming, staying = redeemer, issuer
        if len(model.one_with(redeemer)) > 1 and len(model.one_with(issuer)) == 1:
            coming, staying = issuer, redeemer
        touched, user = frozenset(model.one_with(coming)), model.user(staying)
        model.users.update(dict.fromkeys(touched, user))
        change = self.change_from_store()
        left = self.moved(change, merges=lambda _: True)
        was = {one: was[one] for one in touched if one in was}
        paired = {one: model.pairs[one] for one in touched if one in model.pairs}
        assert changes[-1].by == "code"
        number = changes[-1].number
        model.done[number] = Done("link", was, paired, touched, frozenset(left), model.order)

    async def _say(self, who: Who, text: str) -> str:
        """Say something to the runtime itself; what it answers to that."""
        self.number += 1
        name = next(name for name, platform in INSTANCES.items() if platform == who.platform)
        conversation, channel = f"dm {who.user_id}", self.channels[name]
        seen = len(channel.sent)
        accepted = await channel.receive(
            text,
            conversation=conversation,
            user_id=who.user_id,
            message_id=f"command {self.number}",
        )
        assert accepted.session_id == ""
        await wait_all_tasks_blocked()
        (answer,) = [s for s in channel.sent[seen:] if s.reply_to == f"command {self.number}"]
        assert answer.conversation == conversation
        return answer.text

    def change_from_store(self) -> Change:
        """The moves of the newest change, as the bindings show them."""
        number, record = list(changes_since(self.store, 1))[-1]
        moved = tuple(
            Moved(
                address=Address(Instance(instance), conversation, thread),
                from_session=before,
                to_session=after,
                version=version,
            )
            for instance, conversation, thread, before, after, version, _ in record.moves
        )
        return Change(number=number, act="link", text="", dry_run=False, moved=moved)

    # -- the power supply ------------------------------------------------------------------------

    @rule()
    def time_passes(self) -> None:
        async def pass_by() -> None:
            for _ in range(12):
                self.loop.clock.jump(STEP_S)
                await wait_all_tasks_blocked()

        self.step(pass_by)

    @precondition(lambda self: not self.slow)
    @rule()
    def the_runtime_is_restarted(self) -> None:
        self.step(self._close)
        self.step(self._open)

    @precondition(lambda self: self.crashes < 2)
    @rule()
    def the_power_fails(self) -> None:
        self.crashes += 1 if self.slow else 0
        self.slow.clear()
        self.step(self._crash)
        self.step(self._open)
        self.step(trio.lowlevel.checkpoint)

    # -- what must hold --------------------------------------------------------------------------

    def contents(self, *tables: Table) -> dict[bytes, bytes]:
        kept = tables or tuple(table for table in Table if table not in {Table.SEEN, Table.CODES})
        return {
            bytes([table]) + key: value
            for table in kept
            for key, value in self.store.scan(table, limit=100_000)
        }

    def bindings(self) -> list[BindingRow]:
        return [
            read_binding(decode(data)) for _, data in self.store.scan(Table.BINDINGS, limit=10_000)
        ]

    @invariant()
    def everything_holds(self) -> None:
        assert not self.faults, self.faults
        reads = MemoryReads(self.disk)
        self.the_bindings_are_those_of_the_model(reads)
        self.people_are_who_the_model_says()
        self.everybody_is_where_the_rules_have_them()
        self.no_key_serves_two_and_no_stranger_shares()
        self.every_accepted_turn_is_answered_once()
        self.the_indexes_agree(reads)
        problems = list(Verification(reads, self.loop.run(self._now_us)).problems())
        assert not problems, problems

    async def _now_us(self) -> int:
        seconds = trio.current_time() - self._began
        return int(START.timestamp() * 1e6 + seconds * 1e6)

    def the_bindings_are_those_of_the_model(self, reads: Reads) -> None:
        rows = {row.address: row for row in self.bindings()}
        assert {place: row.session_id for place, row in rows.items()} == self.model.owner
        for place, row in rows.items():
            assert row.version == self.model.versions[place]
            earlier = [past.version for past in past_bindings(reads, place)]
            assert earlier == list(range(1, row.version))

    def people_are_who_the_model_says(self) -> None:
        found = {Who(link.platform, link.user_id): link.user for link in links(self.store)}
        assert found == self.model.users
        paired = {Who(pair.platform, pair.user_id): pair.session_id for pair in pairs(self.store)}
        assert paired == self.model.pairs

    def everybody_is_where_the_rules_have_them(self) -> None:
        model = self.model
        for row in self.bindings():
            if not row.direct or row.scope == "manual":
                continue
            wanted = model.wanted(row.address)
            if wanted[0] == "session":
                assert row.session_id == wanted[1]
            else:
                holder = StoreWorld(self.store, 0).key(wanted)
                assert holder is not None
                assert holder.session_id == row.session_id

    def no_key_serves_two_and_no_stranger_shares(self) -> None:
        held: dict[tuple[str, ...], KeyRow] = {}
        for _, data in self.store.scan(Table.KEYS, limit=10_000):
            row = read_key(decode(data))
            assert row.key not in held
            held[row.key] = row
        model = self.model
        together: dict[str, set[str]] = {}
        for place, session in model.owner.items():
            who = model.whose.get(place)
            if who is not None and place not in model.manual and model.paired(who) != session:
                together.setdefault(session, set()).add(model.user(who))
        assert all(len(users) == 1 for users in together.values()), together

    def every_accepted_turn_is_answered_once(self) -> None:
        answers: Counter[str] = Counter()
        texts: Counter[str] = Counter()
        for stream, head in heads(self.store):
            for _, record in load_records(self.store, stream):
                if isinstance(record, UserRecord):
                    texts[record.text] += 1
                elif isinstance(record, AssistantRecord):
                    answers[f"{head.session_id}/{record.turn_seq}"] += 1
        assert texts == Counter(dict.fromkeys(self.accepted, 1))
        if not self.slow:
            assert answers == Counter(dict.fromkeys(self.accepted.values(), 1))
        assert set(answers.values()) <= {1}

    def the_indexes_agree(self, reads: Reads) -> None:
        world = StoreWorld(reads, 0)
        rows = self.bindings()
        indexed = len(reads.scan(Table.PLACES, limit=100_000))
        assert indexed == len(rows) + sum(1 for row in rows if row.user_id is not None)
        for row in rows:
            assert row in list(world.places_of_session(row.stream))
            if row.user_id is not None:
                assert row in list(world.places_of_identity(row.platform, row.user_id))
        for who in PEOPLE:
            known = world.identity(*who)
            if known is not None and known.user is not None:
                assert known in list(world.identities_of(known.user))
            if known is not None and known.session_id is not None:
                assert known in list(world.paired_to(known.session_id))
        kept = len(self.model.users) + len(self.model.pairs)
        assert len(reads.scan(Table.USERS, limit=100_000)) == kept

    def teardown(self) -> None:
        try:
            self.loop.run(self._close)
        finally:
            self.loop.close()


def test_whatever_happens_people_are_who_they_are_and_are_shown_what_is_theirs() -> None:
    run_state_machine_as_test(
        Lives, settings=settings(deadline=None, max_examples=25, stateful_step_count=25)
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_however_long_it_goes_on_people_are_shown_what_is_theirs() -> None:
    run_state_machine_as_test(
        Lives, settings=settings(deadline=None, max_examples=400, stateful_step_count=40)
    )
