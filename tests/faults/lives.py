"""The processes of a fault run, one after the other, over one disk and the same platforms."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import blake2b
from typing import Any, Final, cast

import trio
from trio.testing import wait_all_tasks_blocked

from turnkeeper import (
    ActRefused,
    Channel,
    MissionRefused,
    Reply,
    Runtime,
    RuntimeFailed,
    Turn,
    TurnRefused,
    UnknownMission,
    UnknownSession,
    open_runtime,
)
from turnkeeper.actors.deliveries import Outcome
from turnkeeper.actors.kernel import ActorDeadError
from turnkeeper.actors.messages import Address, InboundTurn
from turnkeeper.storage.batch import Group
from turnkeeper.storage.memory import MemoryReads, MemoryStore, open_memory
from turnkeeper.verify import Verification

from ..actors.stage import START
from .disks import AuditedDisk
from .events import CutPower
from .invariants import Auditor
from .people import CONFIG, PLATFORMS, show
from .platforms import Arrival, Platforms, Wire, describe

__all__ = ["Life", "Lives", "shown"]

_EXPECTED: Final = (ActRefused, TurnRefused, UnknownSession, MissionRefused, UnknownMission)
"""What a request may be answered with in a run."""


@dataclass
class Life:
    """One process."""

    number: int
    wires: dict[str, Wire]
    accepted_before: int
    """How many turns had been accepted before it began."""
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    ready: trio.Event = field(default_factory=trio.Event)
    over: trio.Event = field(default_factory=trio.Event)
    closed: trio.Event = field(default_factory=trio.Event)
    wake_agents: trio.Event = field(default_factory=trio.Event)
    """Ends the turns of agents that hang."""
    is_cut: bool = False
    is_stopped: bool = False
    fails: bool = False
    """Whether its disk was told to fail."""
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


class Lives(ABC):
    """Begins and ends processes; looks at what each leaves."""

    nursery: trio.Nursery

    def __init__(self, seed: int, cut: CutPower | None = None) -> None:
        self.trace: list[str] = []
        self.counts: Counter[str] = Counter()
        self.platforms = Platforms(seed)
        self.auditor = Auditor(self.platforms, self.say)
        self.disk = AuditedDisk(self)
        self.images: list[AuditedDisk] = []
        """What each crash has left."""
        self.fuse = cut
        """When the power goes next."""
        self._seed = seed
        self._digest = blake2b(digest_size=16)
        self._began = trio.current_time()
        self.life = self._new_life(1)

    # -- telling -----------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """One line of the trace."""
        line = f"{trio.current_time() - self._began:9.3f}  {text}"
        self.trace.append(line)
        self._digest.update(line.encode())

    @property
    def digest(self) -> str:
        """Of the trace, and of every record that became durable."""
        return self._digest.hexdigest()

    def fail(self, text: str) -> None:
        """A promise is broken."""
        self.auditor.findings.fail(text)

    # -- the disk ----------------------------------------------------------------------------------

    def committed(self, group: Group) -> None:
        """A group is durable."""
        self.counts["commits"] += 1
        for key, data in group.log:
            self._digest.update(key + data)
        self.auditor.commit(group)

    def cut_of_next_commit(self) -> CutPower | None:
        """Whether the power goes with the commit that comes now."""
        fuse = self.fuse
        if fuse is None:
            return None
        if fuse.commits > 0:
            self.fuse = CutPower(0.0, fuse.commits - 1, fuse.stored)
            return None
        self.fuse = None
        return fuse

    def cut_power(self, when: str) -> None:
        """The process is gone; what is on the disk stays."""
        life = self.life
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

    # -- lives -------------------------------------------------------------------------------------

    def _new_life(self, number: int) -> Life:
        wires = {
            name: Wire(
                name,
                self.platforms,
                number,
                before_sending=self.auditor.deliveries.sending,
                on_arrival=self._arrived,
                on_hand_over=self._handed_over,
            )
            for name in PLATFORMS
        }
        return Life(number, wires, len(self.auditor.accepted))

    def _arrived(self, arrival: Arrival) -> None:
        self.say(f"  {describe(arrival)}")
        self.auditor.deliveries.arriving(arrival)

    def _handed_over(self, turn: InboundTurn) -> None:
        self.life.handed_over.setdefault(turn.message_id, turn.address)

    async def begin(self) -> None:
        """Start the process; the platforms deliver again what was not acknowledged."""
        self.say(f"-- life {self.life.number} begins")
        self.nursery.start_soon(self._live, self.life)
        await self.life.ready.wait()
        self.write_again()

    async def _live(self, life: Life) -> None:
        try:
            with life.scope:
                await self._run(life)
        finally:
            life.ready.set()
            life.closed.set()

    async def _run(self, life: Life) -> None:
        try:
            async with (
                open_memory(self.disk) as life.store,
                open_runtime(
                    None,
                    agents={"main": self.agent, "ops": self.agent},
                    channels=cast("list[Channel]", list(life.wires.values())),
                    store=life.store,
                    config=CONFIG,
                    clock=lambda: START + timedelta(seconds=trio.current_time() - self._began),
                    seed=self._seed,
                ) as life.runtime,
            ):
                life.ready.set()
                await life.over.wait()
        except RuntimeFailed as error:
            self.say(f"-- life {life.number} ends: {error}")
            if not life.fails:
                self.fail(f"11: the runtime has failed on a disk that works: {error}")
            if self.life is life and not life.is_cut:
                self.cut_power("with the failed commit")

    async def come_back(self) -> None:
        """Start again, if the process has died or stopped."""
        while self.life.is_cut or self.life.is_stopped:
            if self.life.is_cut:
                await self.life.closed.wait()
                self._check_what_is_left("after a crash")
            self.life = self._new_life(self.life.number + 1)
            await self.begin()

    async def stop(self) -> bool:
        """Stop the runtime in order; False if the power went meanwhile."""
        life = self.life
        life.over.set()
        await life.closed.wait()
        await wait_all_tasks_blocked()
        if life.is_cut:
            return False
        for what in life.pending:
            if what.split()[0] in life.handed_over or not self.is_message(what):
                self.fail(f"{what} was never answered, and the runtime has stopped")
        for scope in list(life.pending.values()):
            scope.cancel()
        life.is_stopped = True
        self._check_what_is_left("after a stop")
        return True

    def _check_what_is_left(self, when: str) -> None:
        self._check_order()
        now_us = int((START.timestamp() + trio.current_time() - self._began) * 1e6)
        for problem in Verification(MemoryReads(self.disk), now_us).problems():
            self.fail(f"verify, {when}: {problem}")

    def _check_order(self) -> None:
        """The turns of a place were accepted in the order in which they came."""
        accepted: dict[Address, list[str]] = {}
        for place, message_id in self.auditor.accepted[self.life.accepted_before :]:
            accepted.setdefault(place, []).append(message_id)
        for place, stored in accepted.items():
            came = [one for one in self.life.handed_over if one in stored]
            if came != stored:
                self.fail(f"3: {show(place)} heard {came}, and stored {stored}")

    def check_kept(self) -> None:
        """What any crash has left is still there."""
        for image in self.images:
            for key, data in image.log.range(b"", b"\xff" * 17, reverse=False):
                if self.disk.log.get(key) != data:
                    self.fail(f"8: record {key.hex()} of a crashed disk is not what it was")

    # -- requests ----------------------------------------------------------------------------------

    def request(self, what: str, ask: Callable[..., Awaitable[object]], *args: Any) -> None:
        """Ask the running process for something, and go on meanwhile."""
        self.nursery.start_soon(self._ask, what, ask, *args)

    async def _ask(self, what: str, ask: Callable[..., Awaitable[object]], *args: Any) -> None:
        life = self.life
        if life.is_cut or life.over.is_set() or life.runtime is None:
            return
        with trio.CancelScope() as scope:
            life.pending[what] = scope
            try:
                answer = await ask(*args)
            except ActorDeadError:  # its text holds a random id
                self.say(f"  {what}: the actor is dead")
            except _EXPECTED as error:
                self.say(f"  {what}: {type(error).__name__}: {error}")
            except Exception as error:  # noqa: BLE001  (whatever else is raised is a finding)
                self.fail(f"{what} raised {error!r}")
            else:
                self.say(f"  {what}: {shown(answer)}")
                if isinstance(answer, Outcome):
                    self.auditor.answered(answer)
            finally:
                life.pending.pop(what, None)

    @property
    def runtime(self) -> Runtime:
        """The one that runs."""
        assert self.life.runtime is not None  # requests are made while one runs
        return self.life.runtime

    def session(self, pick: int) -> str | None:
        """A session by number, counted round."""
        sessions = list(self.auditor.sessions)
        return sessions[pick % len(sessions)] if sessions else None

    @abstractmethod
    def write_again(self) -> None:
        """Let the platforms deliver again what was not acknowledged."""

    @abstractmethod
    def is_message(self, what: str) -> bool:
        """Whether a request is a human's message."""

    @abstractmethod
    async def agent(self, turn: Turn) -> str | Reply | None:
        """Answer a turn."""


def shown(value: object) -> str:
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
        case _:
            return str(value)
