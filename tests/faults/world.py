"""A whole runtime through a schedule of events, its crashes included, in virtual time.

A :class:`World` holds what outlives a process: the disk, the platforms, the humans with what they
have written, and the auditor. A :class:`Life` is one process between two of them. The order in
which trio runs its tasks is drawn from the seed as well, so that a seed is one run and no other.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import blake2b
from importlib import import_module
from typing import Any, Final, cast

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper import (
    ActRefused,
    Channel,
    Reply,
    Runtime,
    Turn,
    TurnRefused,
    UnknownSession,
    open_runtime,
)
from turnkeeper.actors.errors import MessageIdReused
from turnkeeper.actors.kernel import ActorDeadError
from turnkeeper.actors.messages import Address, InboundTurn, Instance, Outcome, ToolCall
from turnkeeper.storage.batch import Group
from turnkeeper.storage.memory import MemoryDisk, MemoryReads, MemoryStore, open_memory
from turnkeeper.verify import Verification

from ..actors.stage import START
from .invariants import Auditor
from .platforms import Arrival, Platforms, Wire, describe
from .schedule import (
    CONFIG,
    PLATFORMS,
    Aim,
    Clear,
    CutPower,
    Event,
    Fail,
    Hear,
    HoldDisk,
    HoldWire,
    Link,
    Mirror,
    Move,
    Pair,
    Pass,
    Person,
    Redeliver,
    Retry,
    Say,
    Stop,
    Undo,
    Unlink,
    Unpair,
    make_schedule,
    show,
)

__all__ = ["Run", "World", "run_schedule", "run_seed"]

_EXPECTED: Final = (ActRefused, TurnRefused, UnknownSession, ActorDeadError)
"""What a request may be answered with in a run."""
_QUIET_S: Final = 240.0
"""Longer than all retries of a delivery and of a turn take together."""
_MOST_PATIENCE_S: Final = 1.0
"""How long an acknowledgement may take on a disk that works, in virtual time."""


class AuditedDisk(MemoryDisk):
    """A disk that shows every group to somebody, and may lose its power at one of them."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def image(self) -> AuditedDisk:
        """What a crash at this moment would leave."""
        image = AuditedDisk(self._world)
        image.log, image.tables = self.log.copy(), self.tables.copy()
        return image

    def write(self, group: Group) -> None:
        """Apply a group, whole."""
        if self is not self._world.disk:  # of a process that is dead already
            super().write(group)
            return
        cut = self._world.cut_of_next_commit() if group.has_writes() else None
        if cut is not None and not cut.stored:
            self._world.cut_power("before a commit")
        super().write(group)
        if self is not self._world.disk:
            return
        if group.has_writes():
            self._world.committed(group)
        if cut is not None:
            self._world.cut_power("right after a commit")


@dataclass
class Life:
    """One process."""

    number: int
    wires: dict[str, Wire]
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    ready: trio.Event = field(default_factory=trio.Event)
    over: trio.Event = field(default_factory=trio.Event)
    closed: trio.Event = field(default_factory=trio.Event)
    wake_agents: trio.Event = field(default_factory=trio.Event)
    """Ends the turns of agents that hang."""
    is_cut: bool = False
    is_stopped: bool = False
    store: MemoryStore | None = None
    runtime: Runtime | None = None
    pending: dict[str, trio.CancelScope] = field(default_factory=dict[str, trio.CancelScope])
    """Requests that were not answered yet."""
    running: set[str] = field(default_factory=set[str])
    """Sessions whose agent runs."""
    begun: dict[str, int] = field(default_factory=dict[str, int])
    """Session -> the newest turn that was given to its agent."""
    handed_over: dict[str, Address] = field(default_factory=dict[str, Address])
    """Id of a message -> its place; in the order in which they were given to the runtime."""
    accepted_before: int = 0


@dataclass
class Message:
    """What a human has written."""

    event: Hear
    quotes: str | None
    acknowledged: str | None = None
    was_new: bool = False
    """Whether one acknowledgement has said that it is no duplicate."""


@dataclass(frozen=True)
class Run:
    """What became of a run."""

    seed: int
    problems: list[str]
    trace: list[str]
    digest: str
    counts: Counter[str]


class World:
    """Everything that outlives a process."""

    def __init__(self, seed: int, schedule: Sequence[Event], cut: CutPower | None = None) -> None:
        self.seed = seed
        self.schedule = schedule
        self.trace: list[str] = []
        self.counts: Counter[str] = Counter()
        self.platforms = Platforms(seed)
        self.auditor = Auditor(self.platforms, self.say)
        self.disk = AuditedDisk(self)
        self.images: list[AuditedDisk] = []
        self.messages: dict[str, Message] = {}
        self.runs: Counter[tuple[str, int]] = Counter()
        self._digest = blake2b(digest_size=16)
        self._began = trio.current_time()
        self._number = 0
        self._fuse = cut
        self._life = self._new_life()

    # -- telling -----------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """One line of the trace."""
        line = f"{trio.current_time() - self._began:9.3f}  {text}"
        self.trace.append(line)
        self._digest.update(line.encode())

    def fail(self, text: str) -> None:
        self.auditor.fail(text)

    def committed(self, group: Group) -> None:
        self.counts["commits"] += 1
        for key, data in group.log:
            self._digest.update(key + data)
        self.auditor.commit(group)

    # -- lives -------------------------------------------------------------------------------------

    async def run(self) -> Run:
        """Live through the schedule, let everything come to an end, and judge."""
        async with trio.open_nursery() as self.nursery:
            await self._begin()
            for event in self.schedule:
                await trio.sleep(event.after_s)
                await self._come_back()
                self.say(f"* {_shown(event)}")
                self.counts[type(event).__name__] += 1
                await self._do(event)
                if self.auditor.problems:
                    break
            else:
                await self._settle()
            self._life.over.set()
            self._life.wake_agents.set()
            if self._life.store is not None:
                self._life.store.release()
            self.nursery.cancel_scope.cancel()
        self.counts["lives"] = self._life.number
        self.counts["arrivals"] = len(self.platforms.arrived)
        self.counts["notes"] = len(self.auditor.notes)
        return Run(
            self.seed, self.auditor.problems, self.trace, self._digest.hexdigest(), self.counts
        )

    def _new_life(self) -> Life:
        number = self._number = self._number + 1
        wires = {
            name: Wire(
                name,
                self.platforms,
                number,
                before_sending=self.auditor.sending,
                on_arrival=self._arrived,
                on_hand_over=self._handed_over,
            )
            for name in PLATFORMS
        }
        return Life(number, wires, accepted_before=len(self.auditor.accepted))

    async def _begin(self) -> None:
        life = self._life
        self.say(f"-- life {life.number} begins")
        self.nursery.start_soon(self._live, life)
        await life.ready.wait()
        self._write_again()

    def _write_again(self) -> None:
        """The platforms deliver again what was not acknowledged."""
        for message in self.messages.values():
            if message.acknowledged is None:
                self._request(f"{message.event.message_id} again", self._write, message)

    async def _live(self, life: Life) -> None:
        try:
            with life.scope:
                async with (
                    open_memory(self.disk) as life.store,
                    open_runtime(
                        None,
                        agents={"main": self._agent, "ops": self._agent},
                        channels=cast("list[Channel]", list(life.wires.values())),
                        store=life.store,
                        config=CONFIG,
                        clock=lambda: START + timedelta(seconds=trio.current_time() - self._began),
                        seed=self.seed,
                    ) as life.runtime,
                ):
                    life.ready.set()
                    await life.over.wait()
        finally:
            life.ready.set()
            life.closed.set()

    def cut_of_next_commit(self) -> CutPower | None:
        """Whether the power goes with the commit that comes now."""
        fuse = self._fuse
        if fuse is None:
            return None
        if fuse.commits > 0:
            self._fuse = CutPower(0.0, fuse.commits - 1, fuse.stored)
            return None
        self._fuse = None
        return fuse

    def cut_power(self, when: str) -> None:
        """The process is gone; what is on the disk stays."""
        life = self._life
        self.say(f"-- the power goes {when}")
        self.counts["cuts"] += 1
        self.disk = self.disk.image()
        self.images.append(self.disk.image())
        life.is_cut = True
        for wire in life.wires.values():
            wire.is_cut = True
        for scope in life.pending.values():
            scope.cancel()
        life.scope.cancel()
        if life.store is not None:
            life.store.release()

    async def _come_back(self) -> None:
        """Start again, if the process has died."""
        while self._life.is_cut or self._life.is_stopped:
            if self._life.is_cut:
                await self._life.closed.wait()
                self._check_life("after a crash")
            self._life = self._new_life()
            await self._begin()

    async def _stop(self) -> bool:
        """Stop the runtime in order; False if the power went meanwhile."""
        life = self._life
        life.over.set()
        await life.closed.wait()
        await wait_all_tasks_blocked()
        if life.is_cut:
            return False
        for what in life.pending:
            number = what.split()[0]
            if number not in self.messages or number in life.handed_over:
                self.fail(f"{what} was never answered, and the runtime has stopped")
        for scope in list(life.pending.values()):
            scope.cancel()
        life.is_stopped = True
        self._check_life("after a stop")
        return True

    def _check_life(self, when: str) -> None:
        now_us = int((START.timestamp() + trio.current_time() - self._began) * 1e6)
        self._check_order()
        for problem in Verification(MemoryReads(self.disk), now_us).problems():
            self.fail(f"verify, {when}: {problem}")

    async def _settle(self) -> None:
        """Let everything work again and come to an end; then nothing may be open."""
        self.say("* everything works again")
        self.platforms.heal()
        while True:
            await self._come_back()
            life = self._life
            life.wake_agents.set()
            if life.store is not None:
                life.store.release()
            await trio.sleep(_QUIET_S)
            self._write_again()
            await trio.sleep(_QUIET_S)
            if not life.is_cut:
                self._check_finished()
                if await self._stop():
                    break
        for image in self.images:
            self._check_kept(image)

    def _check_finished(self) -> None:
        for what in self._life.pending:
            self.fail(f"{what} has not been answered for {_QUIET_S:g} s")
        for message_id, message in self.messages.items():
            if message.acknowledged is None:
                self.fail(f"1: {message_id} was never accepted")
        for what in self.auditor.unfinished():
            self.fail(f"{what} never ends")

    def _check_kept(self, image: AuditedDisk) -> None:
        for key, data in image.log.range(b"", b"\xff" * 17, reverse=False):
            if self.disk.log.get(key) != data:
                self.fail(f"8: record {key.hex()} of a crashed disk is not what it was")

    def _check_order(self) -> None:
        """The turns of a place were accepted in the order in which they came."""
        life = self._life
        accepted: dict[Address, list[str]] = {}
        for place, message_id in self.auditor.accepted[life.accepted_before :]:
            accepted.setdefault(place, []).append(message_id)
        for place, stored in accepted.items():
            came = [one for one in life.handed_over if one in stored]
            if came != stored:
                self.fail(f"3: {show(place)} heard {came}, and stored {stored}")

    # -- requests ----------------------------------------------------------------------------------

    def _request(self, what: str, ask: Callable[..., Awaitable[object]], *args: Any) -> None:
        self.nursery.start_soon(self._ask, what, ask, *args)

    async def _ask(self, what: str, ask: Callable[..., Awaitable[object]], *args: Any) -> None:
        life = self._life
        if life.is_cut or life.over.is_set() or life.runtime is None:
            return
        with trio.CancelScope() as scope:
            life.pending[what] = scope
            try:
                answer = await ask(*args)
            except _EXPECTED as error:
                self.say(f"  {what}: {type(error).__name__}: {error}")
            except Exception as error:  # noqa: BLE001  (whatever else is raised is a finding)
                self.fail(f"{what} raised {error!r}")
            else:
                self.say(f"  {what}: {_shown(answer)}")
                if isinstance(answer, Outcome):
                    self.auditor.answered(answer)
            finally:
                life.pending.pop(what, None)

    def _session(self, pick: int) -> str | None:
        sessions = list(self.auditor.sessions)
        return sessions[pick % len(sessions)] if sessions else None

    def _runtime(self) -> Runtime:
        runtime = self._life.runtime
        assert runtime is not None  # requests are made while one runs
        return runtime

    async def _do(self, event: Event) -> None:
        life = self._life
        match event:
            case Hear():
                self._hear(event)
            case Redeliver():
                self._redeliver(event)
            case Say() | Mirror() | Clear() | Aim():
                self._program(event)
            case Link() | Unlink() | Pair() | Unpair() | Move() | Undo():
                self._request(_shown(event), self._act, event)
            case Retry():
                self._retry(event)
            case Fail():
                self.platforms.fail(event)
            case HoldWire():
                self.nursery.start_soon(self._hold_wire, event)
            case HoldDisk():
                self.nursery.start_soon(self._hold_disk, life, event)
            case CutPower():
                self._fuse = event
            case Stop():
                await self._stop()
            case Pass():
                pass

    async def _hold_wire(self, event: HoldWire) -> None:
        self.platforms.hold(event.instance)
        await trio.sleep(event.for_s)
        self.platforms.release(event.instance)

    async def _hold_disk(self, life: Life, event: HoldDisk) -> None:
        assert life.store is not None
        life.store.hold()
        self.counts["held"] += 1
        await trio.sleep(event.for_s)
        if not life.closed.is_set():
            life.store.release()

    # -- humans ------------------------------------------------------------------------------------

    def _hear(self, event: Hear) -> None:
        quotes: str | None = None
        if event.quotes is not None:
            here = [one for one in self.platforms.arrived if one.place == event.place]
            quotes = here[event.quotes % len(here)].message_id if here else None
        message = self.messages[event.message_id] = Message(event, quotes)
        self._request(event.message_id, self._write, message)

    def _redeliver(self, event: Redeliver) -> None:
        if not self.messages:
            return
        message = list(self.messages.values())[event.pick % len(self.messages)]
        what = f"{message.event.message_id} redelivered"
        if event.other_body:
            self._request(f"{what}, another body", self._write_otherwise, message)
        else:
            self._request(what, self._write, message)

    async def _write(self, message: Message, text: str | None = None) -> object:
        event, life = message.event, self._life
        place = event.place
        self.auditor.called.add(place)
        began, held = trio.current_time(), self.counts["held"]
        accepted = await life.wires[place.instance].receive(
            event.text if text is None else text,
            conversation=place.conversation,
            thread=place.thread,
            user_id=event.who.user_id,
            message_id=event.message_id,
            direct=place.conversation.startswith("dm"),
            reply_to=message.quotes,
        )
        took_s = trio.current_time() - began
        if took_s > _MOST_PATIENCE_S and not held and not self.counts["held"]:
            self.fail(f"9: {event.message_id} was acknowledged after {took_s:g} s")
        if message.acknowledged not in (None, accepted.turn_id):
            self.fail(
                f"4: {event.message_id} was {message.acknowledged}, and is {accepted.turn_id}"
            )
        if message.was_new and not accepted.duplicate:
            self.fail(f"4: {event.message_id} is a duplicate, and is taken for a new one")
        message.was_new |= not accepted.duplicate
        message.acknowledged = accepted.turn_id
        self.auditor.acknowledged((place.instance, place.conversation, event.message_id), accepted)
        return accepted.turn_id + (" (duplicate)" if accepted.duplicate else "")

    async def _write_otherwise(self, message: Message) -> object:
        """Another message under the same id."""
        if message.acknowledged is None:
            return "not accepted yet"
        try:
            await self._write(message, "m0: another body")
        except MessageIdReused:
            return "refused, as it should be"
        self.fail(f"4: another body of {message.event.message_id} was accepted")
        return "accepted"

    # -- program and operator ----------------------------------------------------------------------

    def _program(self, event: Say | Mirror | Clear | Aim) -> None:
        session_id = self._session(event.session)
        if session_id is None:
            return
        match event:
            case Say(number=number, to=to, user=user):
                text = f"p{number} by {session_id}"
                if to is not None:
                    text = f"p{number} to {show(to)}"
                elif user is not None:
                    text = f"p{number} for {user}"
                self._request(f"p{number} in {session_id}", self._say, session_id, text, to, user)
            case Mirror(number=number):
                self._request(f"mirror {number}", self._mirror, session_id, f"seen {number}")
            case Clear():
                self._request(f"clear {session_id}", self._clear, session_id)
            case Aim(instance=instance):
                self.auditor.aimed.add(session_id)
                self._request(f"aim {session_id}", self._aim, session_id, instance)

    async def _say(
        self, session_id: str, text: str, to: Address | None, user: str | None
    ) -> object:
        self.auditor.asks(text)
        return await self._runtime().send_message(session_id, text, to, user=user)

    async def _mirror(self, session_id: str, text: str) -> object:
        mirrored = await self._runtime().mirror_to_session(session_id, text, source="web")
        return f"{mirrored.status} {mirrored.session_id}/{mirrored.seq}"

    async def _clear(self, session_id: str) -> object:
        return await self._runtime().clear(session_id)

    async def _aim(self, session_id: str, instance: str) -> object:
        return await self._runtime().set_active_channel_to_default(session_id, instance)

    async def _act(self, event: Link | Unlink | Pair | Unpair | Move | Undo) -> object:
        runtime = self._runtime()
        match event:
            case Link(who=who, user=user):
                change = await runtime.link(*who, user)
            case Unlink(who=who):
                change = await runtime.unlink(*who)
            case Pair(who=who, session_id=session_id):
                change = await runtime.pair(*who, session_id)
            case Unpair(who=who):
                change = await runtime.unpair(*who)
            case Move(place=place, session=pick):
                target = self._session(pick) if pick is not None else None
                change = await runtime.move_binding(*place, session_id=target)
            case Undo():
                change = await runtime.undo()
        return change.text

    def _retry(self, event: Retry) -> None:
        over = [d for d in self.auditor.deliveries.values() if d.status in ("failed", "unknown")]
        if over:
            delivery = over[event.pick % len(over)]
            what = f"retry {delivery.id}" + (" marked" if event.mark_duplicate else "")
            self._request(what, self._open_again, delivery.id, event.mark_duplicate)

    async def _open_again(self, delivery_id: str, mark: bool) -> object:
        return await self._runtime().retry_delivery(delivery_id, mark_duplicate=mark)

    # -- what comes back ---------------------------------------------------------------------------

    def _handed_over(self, turn: InboundTurn) -> None:
        self._life.handed_over.setdefault(turn.message_id, turn.address)

    def _arrived(self, arrival: Arrival) -> None:
        self.say(f"  {describe(arrival)}")
        self.auditor.arriving(arrival)

    async def _agent(self, turn: Turn) -> str | Reply | None:
        life = self._life
        if life.is_cut:
            await trio.sleep_forever()
        session_id, _, seq = turn.id.rpartition("/")
        self.say(f"  {turn.id} is given to its agent, attempt {turn.attempt}")
        if session_id in life.running:
            self.fail(f"3: {turn.id} is begun while another turn of {session_id} runs")
        if int(seq) < life.begun.get(session_id, 0):
            self.fail(f"3: {turn.id} is begun after turn {life.begun[session_id]}")
        life.running.add(session_id)
        life.begun[session_id] = int(seq)
        try:
            return await self._behave(life, turn)
        finally:
            life.running.discard(session_id)

    async def _behave(self, life: Life, turn: Turn) -> str | Reply | None:
        message_id, behaviour = turn.text.split(": ", 1)
        message = self.messages[message_id]
        self._check_turn(turn, message)
        answer = f"re {message_id} to {show(message.event.place)}"
        match behaviour.split():
            case ["silence"]:
                return None
            case ["raise", times]:
                if turn.attempt <= int(times):
                    raise RuntimeError("the agent is confused (a schedule asked for it)")
            case ["think", seconds]:
                await trio.sleep(float(seconds))
            case ["hang"]:
                await life.wake_agents.wait()
            case ["say", instance, conversation, *thread]:
                place = Address(Instance(instance), conversation.replace("-", " "), *thread)
                await self._say_in(turn, f"{message_id}.{turn.attempt} to {show(place)}", place)
            case ["tell", user]:
                await self._say_in(turn, f"{message_id}.{turn.attempt} for {user}", None, user)
            case ["here"]:
                text = f"{message_id}.{turn.attempt} by {turn.session.id}"
                await self._say_in(turn, text, None)
            case ["work"]:
                calls = (ToolCall(name="look", arguments="{}", result="nothing"),)
                return Reply(text=answer, tools=calls)
            case _:
                pass
        return answer

    async def _say_in(
        self, turn: Turn, text: str, to: Address | None, user: str | None = None
    ) -> None:
        self.auditor.asks(text)
        outcome = await turn.send_message(text, to, user=user)
        self.say(f"  {turn.id} is told of {text!r}: {_shown(outcome)}")
        self.auditor.answered(outcome)

    def _check_turn(self, turn: Turn, message: Message) -> None:
        place = message.event.place
        context = turn.context
        if (context.instance, context.chat_id, context.thread_id) != place:
            self.fail(f"12: {turn.id} is said to be from {context}, not from {show(place)}")
        if turn.messages[-1].text != message.event.text:
            self.fail(f"the window of {turn.id} ends with {turn.messages[-1]!r}")
        quoted, quotes = turn.quoted, message.quotes
        if quotes is None:
            return
        arrival = self.platforms.by_id[place, quotes]
        if quoted is not None and quoted.delivery_id != arrival.outbound.delivery_id:
            self.fail(f"{turn.id} quotes {arrival.outbound.delivery_id}, and is shown {quoted}")
        delivery = self.auditor.deliveries[arrival.outbound.delivery_id]
        if quoted is None and quotes in delivery.held and not delivery.record.turn_seq:
            self.fail(f"{turn.id} quotes {delivery.id} as {quotes}, and is shown nothing")


def _shown(value: object) -> str:
    """An event or an answer, in one line."""
    match value:
        case None:
            return "nothing"
        case Outcome():
            noted = f", noted in {value.noted_in}" if value.noted_in is not None else ""
            reason = f" ({value.reason})" if value.reason is not None else ""
            return f"{value.status}{reason} {value.delivery_id}{noted}"
        case Address():
            return show(value)
        case Person():
            return str(value)
        case _ if type(value).__module__ == Hear.__module__:
            names = [name for name in vars(value) if name != "after_s"]
            told = (f"{name}={_shown(getattr(value, name))}" for name in names)
            return f"{type(value).__name__} " + " ".join(told)
        case _:
            return str(value)


# -- running ---------------------------------------------------------------------------------------


class _Errors(logging.Handler):
    """Keeps what the runtime logs as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(f"{record.getMessage()} {record.exc_info and record.exc_info[1]!r}")


@contextmanager
def _errors_of_the_runtime() -> Generator[list[str]]:
    """Collect what the runtime logs as an error, and let nothing else be logged."""
    logger, handler = logging.getLogger("turnkeeper"), _Errors()
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    try:
        yield handler.texts
    finally:
        logger.removeHandler(handler)
        logger.level, logger.propagate = before


@contextmanager
def _order_of(seed: int) -> Generator[None]:
    """Draw from `seed` which of trio's tasks comes first."""
    loop: Any = import_module("trio._core._run")
    before, state = loop._ALLOW_DETERMINISTIC_SCHEDULING, loop._r.getstate()
    loop._ALLOW_DETERMINISTIC_SCHEDULING = True
    loop._r.seed(seed)
    try:
        yield
    finally:
        loop._ALLOW_DETERMINISTIC_SCHEDULING = before
        loop._r.setstate(state)


def run_schedule(seed: int, schedule: Sequence[Event], cut: CutPower | None = None) -> Run:
    """Live through a schedule.

    Args:
        seed: of the order of tasks, and of the lines' latencies.
        schedule: what happens.
        cut: when the power goes first, whatever the schedule says.
    """

    async def main() -> Run:
        return await World(seed, schedule, cut).run()

    with _order_of(seed), _errors_of_the_runtime() as errors:
        run = trio.run(main, clock=MockClock(autojump_threshold=0))
    run.problems.extend(f"logged: {text}" for text in errors if "a schedule asked" not in text)
    return run


def run_seed(seed: int) -> Run:
    """Live through the schedule of a seed."""
    return run_schedule(seed, make_schedule(seed))
